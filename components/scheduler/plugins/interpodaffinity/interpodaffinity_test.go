package interpodaffinity

import (
	"context"
	"maps"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/runtime"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func newPlugin(t *testing.T, cluster *Cluster, args string) *InterPodAffinity {
	t.Helper()
	plugin, err := New(context.Background(), Args[configv1.InterPodAffinityArgs](t, args), cluster)
	if err != nil {
		t.Fatal(err)
	}
	return plugin.(*InterPodAffinity)
}

func to(app, key string, edits ...func(*v1.PodAffinityTerm)) v1.PodAffinityTerm {
	term := v1.PodAffinityTerm{LabelSelector: Selects("app", app), TopologyKey: key}
	for _, edit := range edits {
		edit(&term)
	}
	return term
}

func near(terms ...v1.PodAffinityTerm) func(*v1.Pod) {
	return Affinity(v1.Affinity{PodAffinity: &v1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}})
}

func far(terms ...v1.PodAffinityTerm) func(*v1.Pod) {
	return Affinity(v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}})
}

func prefersNear(weight int32, term v1.PodAffinityTerm) func(*v1.Pod) {
	return Affinity(v1.Affinity{PodAffinity: &v1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []v1.WeightedPodAffinityTerm{{Weight: weight, PodAffinityTerm: term}}}})
}

func prefersFar(weight int32, term v1.PodAffinityTerm) func(*v1.Pod) {
	return Affinity(v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []v1.WeightedPodAffinityTerm{{Weight: weight, PodAffinityTerm: term}}}})
}

func elsewhere(p *v1.Pod) { p.Namespace = "other" }

func cluster(t *testing.T, more ...apiruntime.Object) *Cluster {
	t.Helper()
	return NewCluster(t, append([]apiruntime.Object{
		Node("a1", Labelled("zone", "a")), Node("a2", Labelled("zone", "a")), Node("b1", Labelled("zone", "b")),
		&v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{"team": "x"}}},
		&v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "y"}}},
	}, more...)...)
}

func TestFilter(t *testing.T) {
	affinity := ReasonAffinity + " (unresolvable)"
	db, web := Labels("app", "db"), Labels("app", "web")
	inOther := func(term *v1.PodAffinityTerm) { term.Namespaces = []string{"other"} }
	ofTeam := func(team string) func(*v1.PodAffinityTerm) {
		return func(term *v1.PodAffinityTerm) { term.NamespaceSelector = Selects("team", team) }
	}
	nowhere := map[string]string{"a1": affinity, "a2": affinity, "b1": affinity}
	anywhere := map[string]string{"a1": "", "a2": "", "b1": ""}
	tests := []struct {
		name    string
		running []apiruntime.Object
		pod     *v1.Pod
		want    map[string]string
	}{
		{"no terms", []apiruntime.Object{Pod("db", On("a1"), db)}, Pod("p"), anywhere},
		{"near, in the zone", []apiruntime.Object{Pod("db", On("a1"), db)}, Pod("p", near(to("db", "zone"))), map[string]string{"a1": "", "a2": "", "b1": affinity}},
		{"near, on the node", []apiruntime.Object{Pod("db", On("a1"), db)}, Pod("p", near(to("db", v1.LabelHostname))), map[string]string{"a1": "", "a2": affinity, "b1": affinity}},
		{"near nobody", nil, Pod("p", near(to("db", "zone"))), nowhere},
		{"the first of a group", nil, Pod("p", db, near(to("db", "zone"))), anywhere},
		{"not the first of a group", []apiruntime.Object{Pod("db", On("b1"), db)}, Pod("p", db, near(to("db", "zone"))), map[string]string{"a1": affinity, "a2": affinity, "b1": ""}},
		{"all terms by one pod", []apiruntime.Object{Pod("db", On("a1"), db), Pod("web", On("a1"), web)}, Pod("p", near(to("db", "zone"), to("web", "zone"))), nowhere},
		{"no such label on nodes", []apiruntime.Object{Pod("db", On("a1"), db)}, Pod("p", near(to("db", "rack"))), nowhere},
		{"far, in the zone", []apiruntime.Object{Pod("db", On("a1"), db)}, Pod("p", far(to("db", "zone"))), map[string]string{"a1": ReasonAntiAffinity, "a2": ReasonAntiAffinity, "b1": ""}},
		{"far by any term", []apiruntime.Object{Pod("db", On("a1"), db), Pod("web", On("b1"), web)}, Pod("p", far(to("db", v1.LabelHostname), to("web", v1.LabelHostname))),
			map[string]string{"a1": ReasonAntiAffinity, "a2": "", "b1": ReasonAntiAffinity}},
		{"a running pod keeps us far", []apiruntime.Object{Pod("db", On("a1"), far(to("web", "zone")))}, Pod("p", web),
			map[string]string{"a1": ReasonExistingAntiAffinity, "a2": ReasonExistingAntiAffinity, "b1": ""}},
		{"another namespace", []apiruntime.Object{Pod("db", On("a1"), db, elsewhere)}, Pod("p", near(to("db", "zone"))), nowhere},
		{"a named namespace", []apiruntime.Object{Pod("db", On("a1"), db, elsewhere)}, Pod("p", near(to("db", "zone", inOther))), map[string]string{"a1": "", "a2": "", "b1": affinity}},
		{"a selected namespace", []apiruntime.Object{Pod("db", On("a1"), db, elsewhere)}, Pod("p", near(to("db", "zone", ofTeam("x")))), map[string]string{"a1": "", "a2": "", "b1": affinity}},
		{"a namespace not selected", []apiruntime.Object{Pod("db", On("a1"), db, elsewhere)}, Pod("p", near(to("db", "zone", ofTeam("z")))), nowhere},
		{"a running pod that selects our namespace", []apiruntime.Object{Pod("db", On("a1"), elsewhere, far(to("web", v1.LabelHostname, ofTeam("y"))))}, Pod("p", web),
			map[string]string{"a1": ReasonExistingAntiAffinity, "a2": "", "b1": ""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := cluster(t, test.running...)
			if got := c.Filter(t, newPlugin(t, c, ""), test.pod); !maps.Equal(got, test.want) {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
		})
	}
}

func TestRemovePod(t *testing.T) {
	c := cluster(t, Pod("web", On("a1"), Labels("app", "web"), far(to("web", v1.LabelHostname))))
	plugin := newPlugin(t, c, "")
	pod := Pod("p", Labels("app", "web"), far(to("web", v1.LabelHostname)))
	state := runtime.NewCycleState(false)
	nodes, _ := c.Snapshot.List()
	if _, status := plugin.PreFilter(context.Background(), state, pod, nodes); !status.IsSuccess() {
		t.Fatal(status)
	}
	a1, _ := c.Snapshot.Get("a1")
	without := state.Clone()
	if status := plugin.RemovePod(context.Background(), without, pod, a1.GetPods()[0], a1); !status.IsSuccess() {
		t.Fatal(status)
	}
	if got := plugin.Filter(context.Background(), without, pod, a1); !got.IsSuccess() {
		t.Errorf("with the pod removed: %v", got)
	}
	if got := plugin.Filter(context.Background(), state, pod, a1); got.IsSuccess() {
		t.Error("the clone's change shows in the original")
	}
}

func TestScore(t *testing.T) {
	db := Labels("app", "db")
	running := func(edits ...func(*v1.Pod)) []apiruntime.Object {
		return []apiruntime.Object{Pod("r", append([]func(*v1.Pod){On("a1")}, edits...)...)}
	}
	tests := []struct {
		name, args string
		running    []apiruntime.Object
		pod        *v1.Pod
		want       map[string]int64
	}{
		{"nothing to say", "", running(db), Pod("p"), nil},
		{"prefers near", "", running(db), Pod("p", prefersNear(5, to("db", "zone"))), map[string]int64{"a1": 100, "a2": 100, "b1": 0}},
		{"prefers far", "", running(db), Pod("p", prefersFar(5, to("db", v1.LabelHostname))), map[string]int64{"a1": 0, "a2": 100, "b1": 100}},
		{"is preferred", "", running(prefersNear(5, to("db", v1.LabelHostname))), Pod("p", db), map[string]int64{"a1": 100, "a2": 0, "b1": 0}},
		{"is preferred, but that is ignored", "ignorePreferredTermsOfExistingPods: true", running(prefersNear(5, to("db", v1.LabelHostname))), Pod("p", db), nil},
		{"is required", "", running(near(to("db", v1.LabelHostname))), Pod("p", db), map[string]int64{"a1": 100, "a2": 0, "b1": 0}},
		{"is required, which weighs nothing", "hardPodAffinityWeight: 0", running(near(to("db", v1.LabelHostname))), Pod("p", db), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := cluster(t, test.running...)
			if got := c.Score(t, newPlugin(t, c, test.args), test.pod); !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestHints(t *testing.T) {
	db := Labels("app", "db")
	for _, test := range []struct {
		name       string
		hint       func(klog.Logger, *v1.Pod, any, any) (fwk.QueueingHint, error)
		pod        *v1.Pod
		older, now any
		want       fwk.QueueingHint
	}{
		{"company comes", podChanged, Pod("p", near(to("db", "zone"))), nil, Pod("x", On("n"), db), fwk.Queue},
		{"a stranger comes", podChanged, Pod("p", near(to("db", "zone"))), nil, Pod("x", On("n")), fwk.QueueSkip},
		{"an enemy goes", podChanged, Pod("p", far(to("db", "zone"))), Pod("x", On("n"), db), nil, fwk.Queue},
		{"one goes whose enemy we are", podChanged, Pod("p", db), Pod("x", On("n"), far(to("db", "zone"))), nil, fwk.Queue},
		{"a pod becomes company", podChanged, Pod("p", near(to("db", "zone"))), Pod("x", On("n")), Pod("x", On("n"), db), fwk.Queue},
		{"a node comes for affinity", nodeChanged, Pod("p", near(to("db", "zone"))), nil, Node("n", Labelled("zone", "a")), fwk.Queue},
		{"a node without the label comes", nodeChanged, Pod("p", near(to("db", "zone"))), nil, Node("n"), fwk.QueueSkip},
		{"a node comes for anti-affinity", nodeChanged, Pod("p", far(to("db", "zone"))), nil, Node("n"), fwk.Queue},
		{"a node moves", nodeChanged, Pod("p", far(to("db", "zone"))), Node("n", Labelled("zone", "a")), Node("n", Labelled("zone", "b")), fwk.Queue},
	} {
		if got, err := test.hint(klog.Background(), test.pod, test.older, test.now); got != test.want || err != nil {
			t.Errorf("%s: got %v, %v", test.name, got, err)
		}
	}
}
