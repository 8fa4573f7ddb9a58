package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
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

// needClusters skips a test where clusters cannot be made. In continuous integration they
// can: what is missing there is a mistake.
func needClusters(t *testing.T) {
	t.Helper()
	refuse := t.Skip
	if os.Getenv("CI") != "" {
		refuse = t.Fatal
	}
	if os.Getuid() != 0 {
		refuse("clusters need root")
	}
	if _, err := findBinary(); err != nil {
		refuse(err)
	}
}

// cyclesVariable says how often clusters come and go in the tests of what they leave behind.
// The usual few show what every cluster leaves; what only some do takes more.
const cyclesVariable = "PLUMB_TEST_CYCLES"

func cycles(t *testing.T) int {
	t.Helper()
	text := os.Getenv(cyclesVariable)
	if text == "" {
		return 3
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 2 {
		t.Fatalf("%s: %q is not a number from 2 on", cyclesVariable, text)
	}
	return count
}

// TestClustersComeAndGo boots real clusters with nodes, two at a time with the same
// addresses, and looks for what their ends leave behind in this process and on the host.
func TestClustersComeAndGo(t *testing.T) {
	needClusters(t)
	count := cycles(t)
	t.Setenv(StateVariable, filepath.Join(t.TempDir(), "plumb"))
	links := veths(t)
	cycle := func() {
		pair := make([]*Cluster, 2)
		var group errgroup.Group
		for i := range pair {
			group.Go(func() (err error) {
				description := v1alpha1.New(fmt.Sprintf("pair-%d", i), 1)
				off := false
				description.Spec.Addons.DNS = &off
				pair[i], err = New(t.Context(), description)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			for _, c := range pair {
				if c != nil {
					err = errors.Join(err, c.Down())
				}
			}
			t.Fatal(err)
		}
		for _, c := range pair {
			was := tracesOf(t, c.Name())
			// The number of a namespace that is gone serves whatever cluster boots next on this host.
			was.namespaces, was.links = nil, links
			if _, err := c.Client().CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceDefault, metav1.GetOptions{}); err != nil {
				t.Error(err)
			}
			if err := c.Down(); err != nil {
				t.Error(err)
			}
			if left := append(was.remains(t, c.Name()), filesOf(t, c.Name())...); len(left) > 0 {
				t.Errorf("%s left behind:\n  %s", c.Name(), strings.Join(left, "\n  "))
			}
		}
	}
	before := runtime.NumGoroutine()
	cycle() // what is made once for all is made now
	files, memory, routines := openFiles(t), heap(), goroutines(before)
	for i := range count - 1 {
		cycle()
		t.Logf("after %d clusters: %d open files, %d goroutines, %d KiB on the heap", 2*(i+2), total(openFiles(t)), goroutines(routines), heap()>>10)
	}
	for kind, after := range openFiles(t) {
		// Go keeps pipes for splicing in a pool until a collection finds them idle.
		if kind != "pipe" && after > files[kind] {
			t.Errorf("%d files of kind %s are open, %d were", after, kind, files[kind])
		}
	}
	if after := goroutines(routines); after > routines {
		var all strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
		t.Errorf("%d goroutines run, %d did after two clusters:\n%s", after, routines, all.String())
	}
	// A boot takes some 30 MB while it lasts: were one kept, this would be passed at once.
	const slack = 2 << 20
	if after := heap(); after > memory+slack {
		t.Errorf("%d bytes are on the heap after %d clusters, %d were after two", after, 2*count, memory)
	}
	if _, err := os.Stat(StateRoot()); !os.IsNotExist(err) {
		t.Errorf("the state directory is left: %v", err)
	}
}

func total(files map[string]int) (sum int) {
	for _, count := range files {
		sum += count
	}
	return sum
}

// goroutines counts this process's goroutines. Those of connections that were closed take
// a moment to end, which is waited for while there are more than expected.
func goroutines(expected int) int {
	deadline := time.Now().Add(scaled(2 * time.Second))
	for runtime.NumGoroutine() > expected && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) // nothing tells of a goroutine's end
	}
	return runtime.NumGoroutine()
}

// heap is the number of bytes that are still in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one only put aside
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
