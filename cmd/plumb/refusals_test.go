package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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

// TestMissingPrivilegesAreNamed takes from root, one at a time, what a container or
// a kernel may lack.
func TestMissingPrivilegesAreNamed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root has what is taken away here")
	}
	plumb := plumbProgram(t)
	state := filepath.Join(t.TempDir(), "state")
	env := []string{"PLUMB_STATE=" + state}
	tests := []struct {
		name   string
		prefix []string
		up     []string
		doctor string
	}{
		{"not root", []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, []string{"needs root", "sudo"}, "root"},
		{"no namespaces", []string{"setpriv", "--bounding-set=-sys_admin"}, []string{"namespace", "not permitted", "plumb doctor"}, "machine"},
		{"no network", []string{"setpriv", "--bounding-set=-net_admin"}, []string{"fabric", "not permitted", "plumb doctor"}, "packet filter"},
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
			run := func(args ...string) string {
				cmd := exec.CommandContext(t.Context(), test.prefix[0], append(append(test.prefix[1:], program), args...)...)
				cmd.Env = append(os.Environ(), env...)
				cmd.Dir, cmd.ExtraFiles = "/", []*os.File{file}
				out, err := cmd.CombinedOutput()
				if err == nil {
					t.Errorf("%s was not refused:\n%s", cmd, out)
				}
				return string(out)
			}
			out := run("up", "--nodes=1")
			for _, word := range test.up {
				if !strings.Contains(out, word) {
					t.Errorf("plumb up says\n%s\nand nothing of %q", out, word)
				}
			}
			if out := run("doctor"); !strings.Contains(out, test.doctor) {
				t.Errorf("plumb doctor says\n%s\nand nothing of %q", out, test.doctor)
			}
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
