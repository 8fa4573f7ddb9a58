package equivalence

import (
	"context"
	"errors"
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// local rejects nodes by name and scores by a table, and counts how often it is asked.
type local struct {
	rejects map[string]bool
	scores  map[string]int64
	scale   Scale
	asked   int
	err     error
	alien   string // a pod that classes tell it too little of
	crowd   int    // how many pods are too many, if any are
	narrow  *fwk.PreFilterResult
}

func (*local) Name() string                                 { return "Local" }
func (l *local) Covers(pod *v1.Pod) bool                    { return l.alien == "" || pod.Name != l.alien }
func (l *local) Scale() Scale                               { return l.scale }
func (*local) PreFilterExtensions() fwk.PreFilterExtensions { return nil }
func (*local) ScoreExtensions() fwk.ScoreExtensions         { return nil }
func (l *local) PreFilter(context.Context, fwk.CycleState, *v1.Pod, []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	return l.narrow, nil
}

func (l *local) Filter(_ context.Context, _ fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	l.asked++
	if l.err != nil {
		return fwk.AsStatus(l.err)
	}
	if l.rejects[node.Node().Name] {
		return fwk.NewStatus(fwk.Unschedulable, "no")
	}
	if l.crowd > 0 && len(node.GetPods()) > l.crowd {
		return fwk.NewStatus(fwk.Unschedulable, "crowded")
	}
	return nil
}

func (l *local) Score(_ context.Context, _ fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	return l.scores[node.Node().Name], nil
}

// tracking rejects the places in full.
type tracking struct {
	full     map[int]bool
	outdated bool
	made     int
	updates  []int
}

func (*tracking) Name() string { return "Tracking" }
func (*tracking) Filter(context.Context, fwk.CycleState, *v1.Pod, fwk.NodeInfo) *fwk.Status {
	panic("not while a tracker knows")
}

func (t *tracking) Track(*v1.Pod, []fwk.NodeInfo) (Tracker, error) {
	t.made++
	t.outdated = false
	return tracker{t}, nil
}

type tracker struct{ *tracking }

func (t tracker) Current() bool                 { return !t.outdated }
func (t tracker) Update(at int, _ fwk.NodeInfo) { t.updates = append(t.updates, at) }
func (tracker) Score([]int32, []int64) bool     { return false }
func (t tracker) Filter(at int) *fwk.Status {
	if t.full[at] {
		return fwk.NewStatus(fwk.Unschedulable, "full")
	}
	return nil
}

// FilterWith rejects any place where there are further pods of the name "guest".
func (t tracker) FilterWith(at int, further []fwk.PodInfo) *fwk.Status {
	for _, info := range further {
		if info.GetPod().Name == "guest" {
			return fwk.NewStatus(fwk.Unschedulable, "guest")
		}
	}
	return t.Filter(at)
}

// stranger is neither. It says whether it has to do with a pod, and how to score.
type stranger struct {
	fwk.FilterPlugin
	filters, scores bool
}

func (stranger) Name() string                                 { return "Stranger" }
func (stranger) PreFilterExtensions() fwk.PreFilterExtensions { return nil }
func (s stranger) PreFilter(context.Context, fwk.CycleState, *v1.Pod, []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	return nil, s.unless(s.filters)
}

func (s stranger) PreScore(context.Context, fwk.CycleState, *v1.Pod, []fwk.NodeInfo) *fwk.Status {
	return s.unless(s.scores)
}

func (stranger) unless(concerned bool) *fwk.Status {
	if concerned {
		return nil
	}
	return fwk.NewStatus(fwk.Skip)
}

// view is a list of nodes and the changes to them.
type view struct {
	nodes   []fwk.NodeInfo
	layout  int64
	changes []int32
	forgot  bool
	// nominated are the pods nominated to nodes.
	nominated map[int][]fwk.PodInfo
}

func (v *view) Layout() int64                  { return v.layout }
func (v *view) All() []fwk.NodeInfo            { return v.nodes }
func (v *view) Nominated(at int) []fwk.PodInfo { return v.nominated[at] }
func (v *view) Changes(since int64) ([]int32, int64, bool) {
	return v.changes[since:], int64(len(v.changes)), v.forgot
}

func nodes(n int) *view {
	v := &view{}
	for i := range n {
		v.nodes = append(v.nodes, nodeinfo.NewNodeInfo(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i)}}))
	}
	return v
}

func pod(t *testing.T, name string, edits ...func(*v1.Pod)) *nodeinfo.PodInfo {
	t.Helper()
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}, Spec: v1.PodSpec{Containers: []v1.Container{{Name: "main"}}}}
	for _, edit := range edits {
		edit(p)
	}
	info, err := nodeinfo.NewPodInfo(p)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func labelled(value string) func(*v1.Pod) {
	return func(p *v1.Pod) { p.Labels["app"] = value }
}

func classes(l *local, k *tracking) *Classes {
	return New(Plugins{
		PreFilter: []fwk.PreFilterPlugin{l}, Filter: []fwk.FilterPlugin{k, l}, Score: []fwk.ScorePlugin{l},
		Weights: map[string]int64{"Local": 2}, NewState: func() fwk.CycleState { return nil },
	})
}

// second returns the class of pods like these once two of them were seen.
func second(t *testing.T, c *Classes, v View, edits ...func(*v1.Pod)) *Class {
	t.Helper()
	if c.Of(t.Context(), nil, pod(t, "first", edits...), v) != nil {
		t.Error("the first pod of a class has nobody to share with")
	}
	return c.Of(t.Context(), nil, pod(t, "second", edits...), v)
}

func TestOnlyWhatChangedIsAskedAgain(t *testing.T) {
	l, k, v := &local{rejects: map[string]bool{"n3": true}}, &tracking{full: map[int]bool{1: true}}, nodes(10)
	c := classes(l, k)
	class := second(t, c, v)
	looked, err := class.Search(t.Context(), 0, 10)
	if err != nil || looked != 10 || class.Candidates() != 8 || l.asked != 10 {
		t.Fatalf("looked at %d, found %d, asked %d times, error %v", looked, class.Candidates(), l.asked, err)
	}
	l.rejects, v.changes, k.full = map[string]bool{"n5": true, "n6": true}, []int32{5}, map[int]bool{9: true}
	if again := c.Of(t.Context(), nil, pod(t, "third"), v); again != class {
		t.Fatal("not the same class")
	}
	if _, err := class.Search(t.Context(), 0, 10); err != nil || l.asked != 11 || len(k.updates) != 1 || k.updates[0] != 5 {
		t.Errorf("asked %d times, tracker was told of %v, error %v", l.asked, k.updates, err)
	}
	for at, want := range map[int]string{1: "", 3: "no", 5: "no", 6: "", 9: "full"} {
		status, err := class.Status(t.Context(), at)
		if err != nil || status.Message() != want {
			t.Errorf("node %d: %q, want %q, error %v", at, status.Message(), want, err)
		}
	}
}

func TestNominatedPods(t *testing.T) {
	l, k, v := &local{crowd: 1}, &tracking{}, nodes(4)
	c := classes(l, k)
	class := second(t, c, v)
	judge := func(priority int32, name string) (rejections [4]string) {
		t.Helper()
		asking := pod(t, name, func(p *v1.Pod) { p.UID, p.Spec.Priority = types.UID(name), &priority })
		if c.Of(t.Context(), nil, asking, v) != class {
			t.Fatal("another class")
		}
		for at := range rejections {
			status, err := class.Status(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			rejections[at] = status.Message()
		}
		return rejections
	}
	if got := judge(5, "p"); got != [4]string{} {
		t.Errorf("without nominations: %q", got)
	}
	nominated := func(name string, priority int32) fwk.PodInfo {
		return pod(t, name, func(p *v1.Pod) { p.UID, p.Spec.Priority = types.UID(name), &priority })
	}
	asked := l.asked
	v.nominated = map[int][]fwk.PodInfo{0: {nominated("low", 1)}, 1: {nominated("a", 5), nominated("low", 1), nominated("b", 7)}, 2: {nominated("guest", 9)}}
	if got := judge(5, "p"); got != [4]string{"", "crowded", "guest", ""} {
		t.Errorf("of priority 5: %q", got)
	}
	if l.asked != asked+2 {
		t.Errorf("asked %d times about the two nodes with rivals", l.asked-asked)
	}
	if judge(5, "q"); l.asked != asked+2 {
		t.Error("asked again about what is known")
	}
	if got := judge(6, "p"); got != [4]string{"", "", "guest", ""} {
		t.Errorf("of priority 6: %q", got)
	}
	if got := judge(9, "guest"); got != [4]string{} {
		t.Errorf("a pod is not its own rival: %q", got)
	}
	asked, v.changes = l.asked, append(v.changes, 1)
	if got := judge(6, "p"); got[1] != "" || l.asked != asked+2 {
		t.Errorf("of a changed node: %q, asked %d times", got, l.asked-asked)
	}
	v.nominated = nil
	if got := judge(5, "p"); got != [4]string{} {
		t.Errorf("after the nominations: %q", got)
	}
}

func TestOneNodeAlone(t *testing.T) {
	l, v := &local{rejects: map[string]bool{"n1": true}}, nodes(3)
	class := second(t, classes(l, &tracking{}), v)
	if suits, err := class.Only(t.Context(), 1); suits || err != nil || class.Candidates() != 0 {
		t.Errorf("n1 suits: %t, %v", suits, err)
	}
	if suits, err := class.Only(t.Context(), 2); !suits || err != nil || class.First().Node().Name != "n2" || l.asked != 2 {
		t.Errorf("n2 suits: %t, %v; asked %d times", suits, err, l.asked)
	}
}

func TestASearchEndsWithEnough(t *testing.T) {
	l, v := &local{rejects: map[string]bool{"n9": true}}, nodes(10)
	class := second(t, classes(l, &tracking{}), v)
	looked, err := class.Search(t.Context(), 8, 3)
	if err != nil || looked != 4 || l.asked != 4 || class.Candidates() != 3 || class.First().Node().Name != "n8" {
		t.Errorf("looked at %d, asked %d times, found %d from %s, error %v", looked, l.asked, class.Candidates(), class.First(), err)
	}
}

func TestScores(t *testing.T) {
	l, v := &local{scores: map[string]int64{"n0": 10, "n1": 40, "n2": 0}}, nodes(3)
	for scale, want := range map[Scale][]int64{AsIs: {20, 80, 0}, ToHighest: {50, 200, 0}, FromHighest: {150, 0, 200}} {
		l.scale = scale
		class := second(t, classes(l, &tracking{}), v)
		if _, err := class.Search(t.Context(), 0, 3); err != nil {
			t.Fatal(err)
		}
		best := 0
		for i, scored := range class.Scores() {
			if scored.TotalScore != want[i] || scored.Scores[0].Score != want[i] {
				t.Errorf("scale %d: %s has %d, want %d", scale, scored.Name, scored.TotalScore, want[i])
			}
			if want[i] > want[best] {
				best = i
			}
		}
		if got := class.Best(); got != v.nodes[best] {
			t.Errorf("scale %d: best is %s", scale, got.Node().Name)
		}
	}
}

func TestWhenAClassIsBuiltAnew(t *testing.T) {
	for name, change := range map[string]func(*view, *tracking){
		"the list of nodes changed":        func(v *view, _ *tracking) { v.layout++ },
		"changes were forgotten":           func(v *view, _ *tracking) { v.forgot = true },
		"a tracker's sources have changed": func(_ *view, k *tracking) { k.outdated = true },
	} {
		k, v := &tracking{}, nodes(2)
		c := classes(&local{}, k)
		class := second(t, c, v)
		if c.Of(t.Context(), nil, pod(t, "third"), v) != class || k.made != 1 {
			t.Fatal("the class was built anew for nothing")
		}
		change(v, k)
		if again := c.Of(t.Context(), nil, pod(t, "fourth"), v); again == nil || again == class || k.made != 2 {
			t.Errorf("%s: the class was not built anew", name)
		}
	}
}

func TestWhoHasNoClass(t *testing.T) {
	v := nodes(2)
	if New(Plugins{Filter: []fwk.FilterPlugin{stranger{}}}) != nil {
		t.Error("a plugin that nothing is known of allows no sharing")
	}
	for _, s := range []stranger{{}, {filters: true}, {scores: true}} {
		class := second(t, New(Plugins{PreFilter: []fwk.PreFilterPlugin{s}, Filter: []fwk.FilterPlugin{s}, PreScore: []fwk.PreScorePlugin{s},
			NewState: func() fwk.CycleState { return nil }}), v)
		if shared := class != nil && class.Agreed(t.Context(), nil, &v1.Pod{}); shared == (s.filters || s.scores) {
			t.Errorf("%+v: shared is %t", s, shared)
		}
	}
	if (*Classes)(nil).Of(t.Context(), nil, pod(t, "any"), v) != nil {
		t.Error("no classes, no class")
	}
	if c := classes(&local{alien: "second"}, &tracking{}); second(t, c, v) != nil {
		t.Error("a plugin that reads more of the pod than its class tells was not heeded")
	}
	if c := classes(&local{narrow: &fwk.PreFilterResult{NodeNames: sets.New("n1")}}, &tracking{}); second(t, c, v) != nil {
		t.Error("pods that name their nodes are looked at one by one")
	}
	if c := classes(&local{}, &tracking{}); second(t, c, v, func(p *v1.Pod) { p.Spec.NodeName = "n1" }) != nil {
		t.Error("a bound pod has no class")
	}
	resized := func(p *v1.Pod) { p.Status.ContainerStatuses = []v1.ContainerStatus{{Name: "main"}} }
	if c := classes(&local{}, &tracking{}); second(t, c, v, resized) != nil {
		t.Error("a pod whose status has a say has no class")
	}
}

func TestAnErrorIsNotRemembered(t *testing.T) {
	l := &local{err: errors.New("out of order")}
	class := second(t, classes(l, &tracking{}), nodes(1))
	if _, err := class.Search(t.Context(), 0, 1); !errors.Is(err, l.err) {
		t.Errorf("error %v", err)
	}
	l.err = nil
	if _, err := class.Search(t.Context(), 0, 1); err != nil || class.Candidates() != 1 {
		t.Errorf("error %v, %d candidates", err, class.Candidates())
	}
}

func TestClassesAreForgotten(t *testing.T) {
	c, v := classes(&local{}, &tracking{}), nodes(1)
	first := second(t, c, v)
	for i := range maxClasses {
		second(t, c, v, labelled(fmt.Sprint(i)))
	}
	if len(c.known) != maxClasses {
		t.Errorf("%d classes are known", len(c.known))
	}
	if c.Of(t.Context(), nil, pod(t, "third"), v) == first {
		t.Error("the class longest unused was kept")
	}
	for i := range 2 * maxStrangers {
		c.Of(t.Context(), nil, pod(t, "stranger", labelled(fmt.Sprint("s", i))), v)
	}
	if len(c.strangers) > maxStrangers {
		t.Errorf("%d classes met once", len(c.strangers))
	}
}
