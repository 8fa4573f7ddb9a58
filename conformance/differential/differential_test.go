package differential

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/framework/cache"
)

// fake is a scheduler to which every node is as good, but for what lie makes of it.
type fake struct {
	heard bytes.Buffer
	nodes map[string]bool
	lie   func(pods int, v *Verdict)
	pods  int
}

func (f *fake) Tell(r Request) error {
	if r.Reset {
		f.nodes = map[string]bool{}
	}
	for _, object := range r.Set {
		if node, ok := object.(*v1.Node); ok {
			f.nodes[node.Name] = true
		}
	}
	for _, object := range r.Delete {
		if node, ok := object.(*v1.Node); ok {
			delete(f.nodes, node.Name)
		}
	}
	return json.NewEncoder(&f.heard).Encode(r)
}

func (f *fake) Judge(pod *v1.Pod) (Verdict, error) {
	v := Verdict{Feasible: map[string]Scores{}}
	for name := range f.nodes {
		v.Feasible[name] = Scores{Total: 1, Plugin: map[string]int64{"Fake": 1}}
	}
	if f.pods++; f.lie != nil {
		f.lie(f.pods, &v)
	}
	return v, json.NewEncoder(&f.heard).Encode(pod)
}

func TestASeedRepeatsItself(t *testing.T) {
	heard := func(seed uint64) string {
		ours, theirs := &fake{}, &fake{}
		result, err := Run(t.Context(), ours, theirs, seed, 60)
		if err != nil || len(result.Differences) > 0 || result.Pods != 60 || result.Cases != 3 || result.Placed != 60 {
			t.Fatalf("result %+v, error %v", result, err)
		}
		if ours.heard.String() != theirs.heard.String() {
			t.Error("the two contenders were told different things")
		}
		return ours.heard.String()
	}
	once := heard(1)
	if again := heard(1); again != once {
		t.Error("one seed made two different cases")
	}
	if heard(100) == once {
		t.Error("two seeds made the same cases")
	}
}

func TestALieIsFound(t *testing.T) {
	first := func(v *Verdict) string { return v.best() }
	for words, lie := range map[string]func(*Verdict){
		"is feasible: ours false, theirs true":      func(v *Verdict) { delete(v.Feasible, first(v)) },
		"score of node":                             func(v *Verdict) { v.Feasible[first(v)] = Scores{Total: 2} },
		"node elsewhere: ours Unschedulable by Fit": func(v *Verdict) { v.Nodes = map[string]Status{"elsewhere": {Code: "Unschedulable", Plugin: "Fit"}} },
		"rejection of the pod: ours Error":          func(v *Verdict) { v.Rejected = &Status{Code: "Error"} },
		"error: ours oh, theirs":                    func(v *Verdict) { v.Error = "oh" },
	} {
		liar := &fake{lie: func(pods int, v *Verdict) {
			if pods == 7 {
				lie(v)
			}
		}}
		result, err := Run(t.Context(), liar, &fake{}, 5, 30)
		if err != nil || len(result.Differences) != 1 {
			t.Fatalf("%s: %d differences, error %v", words, len(result.Differences), err)
		}
		if d := result.Differences[0]; d.Seed != 5 || d.Step != 6 || !strings.Contains(d.String(), words) {
			t.Errorf("want %q at seed 5, pod 6, not %s", words, d)
		}
	}
}

// TestOursAgainstKubernetes compares some pods afresh, where Kubernetes' side was built before: that takes long, so it
// is not done for this test. What it said of other pods is part of our scheduler's own tests.
func TestOursAgainstKubernetes(t *testing.T) {
	store, err := cache.Default()
	if err != nil {
		t.Fatal(err)
	}
	source, err := cache.Source()
	if err != nil {
		t.Fatal(err)
	}
	entry, err := reference.Verdict().Entry(source)
	if err != nil {
		t.Fatal(err)
	}
	if !store.Has(entry) {
		t.Skip("Kubernetes' scheduler is not in the cache: make differential builds it, then this test compares with it")
	}
	plumb := filepath.Join(source, "bin/plumb")
	if _, err := os.Stat(plumb); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("bin/plumb was not built: make build")
	}
	start := func(argv ...string) *Program {
		p, err := Start(t.Context(), argv...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		})
		return p
	}
	seed := uint64(time.Now().UnixNano())
	result, err := Run(t.Context(), start(plumb, "scheduler-verdicts"), start(filepath.Join(store.Path(entry), reference.VerdictProgram)), seed, 500)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d: %d pods in %d clusters, %d placed", seed, result.Pods, result.Cases, result.Placed)
	for _, difference := range result.Differences {
		t.Error(difference)
	}
}
