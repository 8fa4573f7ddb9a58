package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/machine/cgroup"
)

// ownerVariable makes this test binary the owner of a cluster of that name, which it
// keeps until it is killed.
const ownerVariable = "PLUMB_TEST_OWNER"

const booted = "booted"

// TestOwner is not a test but the process that TestKilledOwnerLeavesNothing kills.
func TestOwner(t *testing.T) {
	name := os.Getenv(ownerVariable)
	if name == "" {
		t.Skip("run by TestKilledOwnerLeavesNothing")
	}
	description := v1alpha1.New(name, 1)
	off := false
	description.Spec.Addons.DNS = &off
	if _, err := New(t.Context(), description); err != nil {
		t.Fatal(err)
	}
	fmt.Println(booted)
	select {}
}

// traces are what a cluster shows of itself on its host.
type traces struct {
	processes  map[int]bool
	namespaces map[string]bool
	// links are the virtual ones that the host had before.
	links map[string]bool
}

// tracesOf finds a cluster's processes by their control groups, and the network and
// mount namespaces they are in.
func tracesOf(t *testing.T, name string) traces {
	t.Helper()
	found := traces{processes: map[int]bool{}, namespaces: map[string]bool{}}
	group := (&state{name: name, dir: StateDirectory(name)}).cgroup()
	eachProcess(t, func(pid int) {
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || !strings.Contains(string(groups), "/"+group+"/") {
			return
		}
		found.processes[pid] = true
		for _, kind := range []string{"net", "mnt", "pid"} {
			if link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)); err == nil {
				found.namespaces[link] = true
			}
		}
	})
	return found
}

func eachProcess(t *testing.T, look func(pid int)) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			look(pid)
		}
	}
}

// remains lists what is left of a cluster: processes in its control groups or
// namespaces, open files and mounts that keep a namespace, mounts of its directory,
// links.
func (was traces) remains(t *testing.T, name string) []string {
	t.Helper()
	var left []string
	for pid := range tracesOf(t, name).processes {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	eachProcess(t, func(pid int) {
		for _, pattern := range []string{"/proc/%d/ns/*", "/proc/%d/fd/*"} {
			paths, _ := filepath.Glob(fmt.Sprintf(pattern, pid))
			for _, path := range paths {
				if link, err := os.Readlink(path); err == nil && was.namespaces[link] {
					left = append(left, fmt.Sprintf("%s is %s", path, link))
				}
			}
		}
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, StateDirectory(name)) {
			left = append(left, "mount "+line)
		}
	}
	for link := range veths(t) {
		if !was.links[link] {
			left = append(left, "link "+link)
		}
	}
	return left
}

// filesOf lists the directories of a cluster, its own and those of its control groups. They
// are left when the owner is killed, and only then.
func filesOf(t *testing.T, name string) []string {
	t.Helper()
	hierarchies, err := cgroup.Mounted()
	if err != nil {
		t.Fatal(err)
	}
	places := []string{StateDirectory(name)}
	for _, h := range hierarchies {
		places = append(places, filepath.Join(h.Mount, (&state{name: name, dir: StateDirectory(name)}).cgroup()))
	}
	return slices.DeleteFunc(places, func(place string) bool {
		_, err := os.Stat(place)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// veths are the virtual links in this process's network.
func veths(t *testing.T) map[string]bool {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, link := range links {
		if link.Type() == "veth" {
			names[link.Attrs().Name] = true
		}
	}
	return names
}

// TestKilledOwnerLeavesNothing kills the process that owns a cluster, and looks for
// what is left of it. The kernel ends machines with their owner; only files stay, for
// the next boot to sweep.
func TestKilledOwnerLeavesNothing(t *testing.T) {
	needClusters(t)
	if testing.Short() {
		t.Skip("builds what nodes run where the cache lacks it")
	}
	root := filepath.Join(t.TempDir(), "plumb")
	t.Setenv(StateVariable, root)
	const name = "owned"
	before := veths(t)
	owner := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestOwner$")
	owner.Env = append(os.Environ(), ownerVariable+"="+name)
	output, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(output)
	var words []string
	for said.Scan() && said.Text() != booted {
		words = append(words, said.Text())
	}
	was := tracesOf(t, name)
	was.links = before
	// The control plane's init and five components, the node's init and four.
	if len(was.processes) < 11 || len(was.namespaces) < 6 {
		_ = owner.Process.Kill()
		_, _ = io.Copy(io.Discard, output)
		t.Fatalf("the cluster has %d processes in %d namespaces; its owner said:\n%s", len(was.processes), len(was.namespaces), strings.Join(words, "\n"))
	}
	if err := owner.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // killed, as it should be

	soon := scaled(2 * time.Second)
	deadline := time.Now().Add(soon)
	left := was.remains(t, name)
	for ; len(left) > 0 && time.Now().Before(deadline); left = was.remains(t, name) {
		time.Sleep(10 * time.Millisecond) // nothing tells, and whoever looks all the time keeps the kernel from its work
	}
	if len(left) > 0 {
		t.Errorf("%s after its owner was killed these are left:\n  %s", soon, strings.Join(left, "\n  "))
	}
	if _, err := os.Stat(StateDirectory(name)); err != nil {
		t.Fatalf("the dead cluster's directory, which the next boot is to sweep: %v", err)
	}
	description := v1alpha1.New("next", 0)
	off := false
	description.Spec.Addons.DNS = &off
	next, err := New(t.Context(), description)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(StateDirectory(name)); !os.IsNotExist(err) {
		t.Errorf("the next boot did not sweep the dead cluster's directory: %v", err)
	}
	if err := next.Down(); err != nil {
		t.Error(err)
	}
}
