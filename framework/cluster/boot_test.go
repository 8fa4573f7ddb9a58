package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

// openFiles counts this process's open files by what they are.
func openFiles(t *testing.T) map[string]int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]int{}
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
			kind, _, _ := strings.Cut(target, ":[")
			files[kind]++
		}
	}
	return files
}

// TestControlPlanesComeAndGo boots real control planes, two at a time with the same
// addresses, and looks for what their ends leave behind.
func TestControlPlanesComeAndGo(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("clusters need root")
	}
	if _, err := findBinary(); err != nil {
		t.Skip(err)
	}
	t.Setenv(StateVariable, filepath.Join(t.TempDir(), "plumb"))
	cycle := func() {
		var pair []*Cluster
		for _, name := range []string{"one", "two"} {
			description := v1alpha1.New(name, 0)
			off := false
			description.Spec.Addons.DNS = &off
			c, err := New(t.Context(), description)
			if err != nil {
				t.Fatal(err)
			}
			pair = append(pair, c)
		}
		for _, c := range pair {
			if _, err := c.Client().CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceDefault, metav1.GetOptions{}); err != nil {
				t.Error(err)
			}
			if err := c.Down(); err != nil {
				t.Error(err)
			}
		}
	}
	cycle() // what is made once for all is made now
	before := openFiles(t)
	for range 3 {
		cycle()
	}
	for kind, after := range openFiles(t) {
		// Go keeps pipes for splicing in a pool until a collection finds them idle.
		if kind != "pipe" && after > before[kind] {
			t.Errorf("%d files of kind %s are open, %d were", after, kind, before[kind])
		}
	}
	if _, err := os.Stat(StateRoot()); !os.IsNotExist(err) {
		t.Errorf("the state directory is left: %v", err)
	}
}
