package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/machine/cgroup"
)

// Directories of a machine's state on the host. Each of privateDirectories is
// bound over the path beside it; the layers are the writable side of an overlay,
// which gives the machine its own files and mount points in directories that it
// otherwise shares with the host.
const (
	etcLayer = "layers/etc"
	optLayer = "layers/opt"
)

type place struct{ state, path string }

func privateDirectories() []place {
	return []place{
		{"lib", "/var/lib"},
		{"log", "/var/log"},
		{"tmp", "/tmp"},
		{"kubernetes", "/etc/kubernetes"},
		{"cni", "/etc/cni"},
		{"cni-bin", "/opt/cni"},
	}
}

// systemCgroup holds the machine's own processes on version 2, where a group with
// processes in it cannot share out controllers to groups below it.
const systemCgroup = "system"

// furnish makes the inside of the machine. It runs in PID 1, on the thread that
// will fork every process.
func furnish(plan *setup) error {
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("enter a control group namespace: %w", err)
	}
	if err := unix.Sethostname([]byte(plan.Hostname)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("detach mounts from the host's: %w", err)
	}
	steps := []func(*setup) error{mountDisk, mountLayers, mountBinds, mountKernel, mountCgroups, setSysctls}
	for _, step := range steps {
		if err := step(plan); err != nil {
			return err
		}
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	// Pods' volumes and network namespaces propagate between the processes of the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts inside the machine: %w", err)
	}
	return nil
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}

// mountDisk mounts a bounded disk over the directory that becomes /var/lib.
func mountDisk(plan *setup) error {
	if plan.Disk == "" {
		return nil
	}
	return mountImage(plan.Disk, filepath.Join(plan.Directory, "lib"))
}

func mountLayers(plan *setup) error {
	for _, layer := range []place{{etcLayer, "/etc"}, {optLayer, "/opt"}} {
		upper := filepath.Join(plan.Directory, layer.state)
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", layer.path, upper, upper+".work")
		if err := mount("overlay", layer.path, "overlay", 0, options); err != nil {
			return err
		}
	}
	return nil
}

// mountBinds binds the private directories and what else is to be shown. The
// sources are taken hold of first: they may lie below a directory that gets hidden.
func mountBinds(plan *setup) error {
	var binds []Bind
	for _, private := range privateDirectories() {
		binds = append(binds, Bind{Source: filepath.Join(plan.Directory, private.state), Target: private.path})
	}
	binds = append(binds, plan.Binds...)
	trees := make([]int, len(binds))
	for i, bind := range binds {
		tree, err := unix.OpenTree(unix.AT_FDCWD, bind.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("take hold of %s: %w", bind.Source, err)
		}
		defer unix.Close(tree)
		trees[i] = tree
	}
	if err := mountScratch(); err != nil {
		return err
	}
	for i, bind := range binds {
		if err := bindTree(trees[i], bind); err != nil {
			return fmt.Errorf("bind %s over %s: %w", bind.Source, bind.Target, err)
		}
	}
	return nil
}

func bindTree(tree int, bind Bind) error {
	info, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d", tree))
	if err != nil {
		return err
	}
	if err := makeMountPoint(bind.Target, info.IsDir()); err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, bind.Target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	if bind.ReadOnly {
		return unix.Mount("", bind.Target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return nil
}

func makeMountPoint(path string, directory bool) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if directory {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o644)
}

// mountKernel mounts what shows the machine's own namespaces.
func mountKernel(*setup) error {
	const flags = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	if err := mount("proc", "/proc", "proc", flags, ""); err != nil {
		return err
	}
	if err := mount("sysfs", "/sys", "sysfs", flags, ""); err != nil {
		return err
	}
	if _, err := os.Stat("/sys/fs/bpf"); err == nil {
		// Not every kernel has it, and nothing here depends on it.
		_ = unix.Mount("bpf", "/sys/fs/bpf", "bpf", flags, "")
	}
	return nil
}

// mountCgroups mounts the hierarchies of the host again: inside the namespace
// their root is the machine's own group.
func mountCgroups(plan *setup) error {
	const root, flags = "/sys/fs/cgroup", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	if len(plan.Hierarchies) == 1 && plan.Hierarchies[0].Unified {
		if err := mount("cgroup2", root, "cgroup2", flags, ""); err != nil {
			return err
		}
		return leaveRootGroup(root)
	}
	if err := mount("tmpfs", root, "tmpfs", flags, "mode=755,size=1m"); err != nil {
		return err
	}
	for _, h := range plan.Hierarchies {
		dir := filepath.Join(root, directoryOf(h))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		kind := "cgroup"
		if h.Unified {
			kind = "cgroup2"
		}
		if err := mount(kind, dir, kind, flags, h.Options); err != nil {
			return err
		}
	}
	return nil
}

// directoryOf is where a hierarchy is customarily mounted below /sys/fs/cgroup.
func directoryOf(h cgroup.Hierarchy) string {
	if h.Unified {
		return "unified"
	}
	return strings.TrimPrefix(h.Options, "name=")
}

func leaveRootGroup(root string) error {
	group := filepath.Join(root, systemCgroup)
	if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("1"), 0o644); err != nil {
		return fmt.Errorf("enter control group %s: %w", systemCgroup, err)
	}
	return cgroup.Delegate(root)
}

// mountScratch mounts what starts empty.
func mountScratch() error {
	for _, scratch := range []place{{"mode=755", "/run"}, {"mode=1777", "/dev/shm"}} {
		if err := mount("tmpfs", scratch.path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, scratch.state); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/run/netns", "/run/lock", "/run/containerd"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// setSysctls sets kernel parameters of the machine's own namespaces. The machine
// cannot have its own of those that are not namespaced, so none of them belong here.
func setSysctls(plan *setup) error {
	for name, value := range plan.Sysctls {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("sysctl %s: %w", name, err)
		}
	}
	return nil
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
