package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// plumbProgram is the built program: what is refused is seen as a user sees it.
func plumbProgram(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/plumb")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("make build comes before the tests: %v", err)
		}
		t.Skipf("make build first: %v", err)
	}
	return path
}

// refused runs a command that must fail, and returns what it says.
func refused(t *testing.T, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("%s was not refused:\n%s", cmd, out)
	}
	return string(out)
}

// nothingLeft reports what a refused boot left in its state directory.
func nothingLeft(t *testing.T, state string) {
	t.Helper()
	if entries, err := os.ReadDir(state); err == nil {
		t.Errorf("%d entries are left in %s, the first is %s", len(entries), state, entries[0].Name())
	}
}

func TestBadFlagsAndDescriptionsAreRefused(t *testing.T) {
	plumb := plumbProgram(t)
	file := func(spec string) string {
		path := filepath.Join(t.TempDir(), "cluster.yaml")
		if err := os.WriteFile(path, []byte("apiVersion: plumbline.dev/v1alpha1\nkind: Cluster\nspec: "+spec+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name string
		args []string
		says string
	}{
		{"unknown flag", []string{"up", "--nodess=2"}, "unknown flag: --nodess"},
		{"negative number", []string{"up", "--nodes=-1"}, "--nodes: -1 is negative"},
		{"two nodes of one name", []string{"up", "--config", file("{nodes: [{name: a}, {name: a}]}")}, `spec.nodes[1].name: Duplicate value: "a"`},
		{"unknown field", []string{"up", "--config", file("{node: []}")}, `unknown field "spec.node"`},
		{"overlapping ranges", []string{"up", "--config", file("{network: {podCIDR: 10.96.0.0/16}}")}, "must not overlap podCIDR"},
		{"no such component", []string{"up", "--component", "kube-schedular=/bin/true"}, `Unsupported value: "kube-schedular"`},
		{"no such program", []string{"up", "--component", "kube-scheduler=/does/not/exist"}, "no such file or directory"},
		{"shards of nothing", []string{"conformance", "--shards=3"}, "--shards and --image are about --in-cluster"},
		{"within no cluster", []string{"conformance", "--in-cluster"}, "--in-cluster needs --kubeconfig or --name"},
		{"no such set of images", []string{"images", "save", "nothing", "nothing.tar"}, "no set of images"},
		{"no such cluster", []string{"status", "--name", "nowhere"}, "nowhere"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			if out := refused(t, []string{"PLUMB_STATE=" + state}, append([]string{plumb}, test.args...)...); !strings.Contains(out, test.says) {
				t.Errorf("it says\n%s\nand not %q", out, test.says)
			}
			nothingLeft(t, state)
		})
	}
}

// netfilterVariable makes this test binary run its arguments as on a kernel that has no
// packet filter.
const netfilterVariable = "PLUMB_TEST_WITHOUT_NETFILTER"

func TestMain(m *testing.M) {
	if os.Getenv(netfilterVariable) != "" {
		fmt.Fprintln(os.Stderr, withoutNetfilter(os.Args[1:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// withoutNetfilter becomes another program, to which, and to all that it starts, the kernel
// answers as one without the module nfnetlink does.
func withoutNetfilter(argv []string) error {
	const number, domain, protocol = 0, 16, 32 // offsets in struct seccomp_data
	is := func(offset, value uint32, otherwise uint8) []unix.SockFilter {
		return []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: otherwise},
		}
	}
	filter := slices.Concat(
		is(number, unix.SYS_SOCKET, 5), is(domain, unix.AF_NETLINK, 3), is(protocol, unix.NETLINK_NETFILTER, 1),
		[]unix.SockFilter{
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return unix.Exec(argv[0], argv, slices.DeleteFunc(os.Environ(), func(setting string) bool {
		return strings.HasPrefix(setting, netfilterVariable+"=")
	}))
}

// within runs a command in a mount namespace of its own, after a script.
func within(script string) []string {
	return []string{"unshare", "--mount", "--propagation=private", "sh", "-c", script + ` && exec "$0" "$@"`}
}

// TestWhatTheHostLacksIsNamed takes from root and from the kernel, one at a time, what a
// container or a kernel may lack.
func TestWhatTheHostLacksIsNamed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has what is taken away here")
	}
	plumb := plumbProgram(t)
	state := filepath.Join(t.TempDir(), "state")
	hidden := filepath.Join(t.TempDir(), "hidden")
	tests := []struct {
		name   string
		prefix []string
		env    string
		// up and doctor are words that the commands must say; no words: up can do without.
		up, doctor []string
	}{
		{"not root", []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, "", []string{"needs root", "sudo"}, []string{"root"}},
		{"no namespaces", []string{"setpriv", "--bounding-set=-sys_admin"}, "", []string{"namespace", "not permitted", "plumb doctor"}, []string{"machine", "--privileged"}},
		{"no network", []string{"setpriv", "--bounding-set=-net_admin"}, "", []string{"fabric", "not permitted", "plumb doctor"}, []string{"packet filter"}},
		{"no packet filter", []string{"/proc/self/exe"}, netfilterVariable + "=1", []string{"packet filter", "protocol not supported", "modprobe nf_tables"}, []string{"packet filter", "modprobe nf_tables"}},
		{"no control groups", within("mount -t tmpfs none /sys/fs/cgroup"), "", []string{"control group", "/sys/fs/cgroup"}, []string{"control groups", "/sys/fs/cgroup"}},
		{"no overlay", within("grep -v overlay /proc/filesystems >" + hidden + " && mount --bind " + hidden + " /proc/filesystems"), "", nil, []string{"overlay file system", "modprobe overlay"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := exec.LookPath(test.prefix[0]); err != nil {
				t.Skip(err)
			}
			// Another user may not enter the directory that the test lies in.
			program := filepath.Join("/proc/self/fd", "3")
			file, err := os.Open(plumb)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			says := func(words []string, args ...string) {
				cmd := exec.CommandContext(t.Context(), test.prefix[0], append(append(test.prefix[1:], program), args...)...)
				cmd.Env = append(os.Environ(), "PLUMB_STATE="+state, test.env)
				cmd.Dir, cmd.ExtraFiles = "/", []*os.File{file}
				out, err := cmd.CombinedOutput()
				if err == nil {
					t.Errorf("%s was not refused:\n%s", cmd, out)
				}
				for _, word := range words {
					if !strings.Contains(string(out), word) {
						t.Errorf("plumb %s says\n%s\nand nothing of %q", args[0], out, word)
					}
				}
			}
			if test.up != nil {
				says(test.up, "up", "--nodes=1")
			}
			says(test.doctor, "doctor")
			nothingLeft(t, state)
		})
	}
}

func TestAFullDiskIsNamed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	plumb := plumbProgram(t)
	dir := t.TempDir()
	if err := unix.Mount("plumb-test", dir, "tmpfs", 0, "size=400k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	state := filepath.Join(dir, "state")
	out := refused(t, []string{"PLUMB_STATE=" + state}, plumb, "up", "--nodes=1")
	for _, word := range []string{"no space left on device", state, "PLUMB_STATE"} {
		if !strings.Contains(out, word) {
			t.Errorf("plumb up says\n%s\nand nothing of %q", out, word)
		}
	}
	nothingLeft(t, state)
}
