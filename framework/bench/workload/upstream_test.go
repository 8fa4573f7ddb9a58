package workload

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// upstreamFiles is the directory of Kubernetes' own test cases, where its module was
// fetched to build the reference.
func upstreamFiles(t *testing.T) fs.FS {
	t.Helper()
	required, err := os.ReadFile("../../../conformance/upstream/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`k8s\.io/kubernetes (v\S+)`).FindSubmatch(required)
	if version == nil {
		t.Fatal("conformance/upstream/go.mod does not say which Kubernetes it builds")
	}
	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(cache)), "k8s.io/kubernetes@"+string(version[1]), "test/integration/scheduler_perf")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the sources of Kubernetes have not been fetched: ", err)
	}
	return os.DirFS(dir)
}

func TestReadsUpstreamsFiles(t *testing.T) {
	files := upstreamFiles(t)
	var found, ready int
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "performance-config.yaml" {
			return err
		}
		suite, err := Read(files, path)
		if err != nil {
			t.Errorf("%s:\n%v", path, err)
			return nil
		}
		for _, name := range suite.Names() {
			found++
			w, err := suite.Workload(name, nil)
			if err != nil {
				// The other ones have parameters that code of upstream's reads.
				if !strings.Contains(err.Error(), "allocResourceClaims is not supported") && !strings.HasPrefix(path, "nodedeclaredfeatures/") {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			ready++
			if len(w.Operations) == 0 {
				t.Errorf("%s has no operations", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 200 || ready < found*3/4 {
		t.Errorf("%d workloads were found, and %d of them can be run", found, ready)
	}
	t.Logf("%d of %d workloads can be run", ready, found)
	basic, err := Read(files, "misc/performance-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w, err := basic.Workload("SchedulingBasic/5000Nodes_10000Pods", nil)
	if err != nil {
		t.Fatal(err)
	}
	if pods := w.Operations[2].Action.(*CreatePods); pods.Count != 10000 || !pods.CollectMetrics || w.Threshold != 680 {
		t.Errorf("threshold %v, measured pods %+v", w.Threshold, pods)
	}
	if _, err := basic.Workload("SchedulingBasic/6Nodes", nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown workload: %v", err)
	}
}
