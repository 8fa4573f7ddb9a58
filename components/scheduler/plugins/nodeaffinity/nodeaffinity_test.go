package nodeaffinity

import (
	"context"
	"maps"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func newPlugin(t *testing.T, args string) *NodeAffinity {
	t.Helper()
	plugin, err := New(context.Background(), Args[configv1.NodeAffinityArgs](t, args), nil)
	if err != nil {
		t.Fatal(err)
	}
	return plugin.(*NodeAffinity)
}

func term(key string, operator v1.NodeSelectorOperator, values ...string) v1.NodeSelectorTerm {
	return v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
}

func named(operator v1.NodeSelectorOperator, values ...string) v1.NodeSelectorTerm {
	return v1.NodeSelectorTerm{MatchFields: []v1.NodeSelectorRequirement{{Key: "metadata.name", Operator: operator, Values: values}}}
}

func requires(terms ...v1.NodeSelectorTerm) func(*v1.Pod) {
	return Affinity(v1.Affinity{NodeAffinity: &v1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{NodeSelectorTerms: terms}}})
}

func TestFilter(t *testing.T) {
	const mismatch, elsewhere = ReasonPod + " (unresolvable)", "not among the nodes to filter"
	enforced := `addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}}`
	selects := func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"zone": "a"} }
	tests := []struct {
		name, args string
		pod        *v1.Pod
		want       map[string]string
	}{
		{"no demand", "", Pod("p"), map[string]string{"n1": "", "n2": ""}},
		{"selector", "", Pod("p", selects), map[string]string{"n1": "", "n2": mismatch}},
		{"In", "", Pod("p", requires(term("zone", v1.NodeSelectorOpIn, "b", "c"))), map[string]string{"n1": mismatch, "n2": ""}},
		{"NotIn", "", Pod("p", requires(term("zone", v1.NodeSelectorOpNotIn, "b"))), map[string]string{"n1": "", "n2": mismatch}},
		{"Exists", "", Pod("p", requires(term("ssd", v1.NodeSelectorOpExists))), map[string]string{"n1": mismatch, "n2": ""}},
		{"Gt", "", Pod("p", requires(term("ssd", v1.NodeSelectorOpGt, "6"))), map[string]string{"n1": mismatch, "n2": ""}},
		{"any term is enough", "", Pod("p", requires(term("zone", v1.NodeSelectorOpIn, "a"), term("zone", v1.NodeSelectorOpIn, "b"))), map[string]string{"n1": "", "n2": ""}},
		{"no term matches nothing", "", Pod("p", requires()), map[string]string{"n1": mismatch, "n2": mismatch}},
		{"selector and affinity", "", Pod("p", selects, requires(term("ssd", v1.NodeSelectorOpExists))), map[string]string{"n1": mismatch, "n2": mismatch}},
		{"by name", "", Pod("p", requires(named(v1.NodeSelectorOpIn, "n1"))), map[string]string{"n1": "", "n2": elsewhere}},
		{"by either name", "", Pod("p", requires(named(v1.NodeSelectorOpIn, "n1"), named(v1.NodeSelectorOpIn, "n2"))), map[string]string{"n1": "", "n2": ""}},
		{"names that exclude each other", "", Pod("p", requires(func() v1.NodeSelectorTerm {
			t := named(v1.NodeSelectorOpIn, "n1")
			t.MatchFields = append(t.MatchFields, named(v1.NodeSelectorOpIn, "n2").MatchFields...)
			return t
		}())), map[string]string{"*": ReasonConflict + " (unresolvable)"}},
		{"a term without names", "", Pod("p", requires(named(v1.NodeSelectorOpIn, "n1"), term("zone", v1.NodeSelectorOpIn, "b"))), map[string]string{"n1": "", "n2": ""}},
		{"enforced by the profile", enforced, Pod("p"), map[string]string{"n1": "", "n2": ReasonEnforced + " (unresolvable)"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cluster := NewCluster(t, Node("n1", Labelled("zone", "a")), Node("n2", Labelled("zone", "b", "ssd", "7")))
			if got := cluster.Filter(t, newPlugin(t, test.args), test.pod); !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestScore(t *testing.T) {
	prefers := Affinity(v1.Affinity{NodeAffinity: &v1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []v1.PreferredSchedulingTerm{
		{Weight: 2, Preference: term("zone", v1.NodeSelectorOpIn, "a")},
		{Weight: 8, Preference: term("zone", v1.NodeSelectorOpIn, "b")},
	}}})
	added := `addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 6, preference: {matchExpressions: [{key: zone, operator: In, values: [a]}]}}]}`
	cluster := NewCluster(t, Node("n1", Labelled("zone", "a")), Node("n2", Labelled("zone", "b")), Node("n3"))
	if got := cluster.Score(t, newPlugin(t, ""), Pod("p")); got != nil {
		t.Errorf("no preference: %v", got)
	}
	if got, want := cluster.Score(t, newPlugin(t, ""), Pod("p", prefers)), (map[string]int64{"n1": 25, "n2": 100, "n3": 0}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := cluster.Score(t, newPlugin(t, added), Pod("p", prefers)), (map[string]int64{"n1": 100, "n2": 100, "n3": 0}); !maps.Equal(got, want) {
		t.Errorf("with the profile's preference: got %v, want %v", got, want)
	}
}

func TestHint(t *testing.T) {
	a, b := Node("n", Labelled("zone", "a")), Node("n", Labelled("zone", "b"))
	pod := Pod("p", requires(term("zone", v1.NodeSelectorOpIn, "a")))
	for _, test := range []struct {
		name       string
		older, now any
		want       fwk.QueueingHint
	}{
		{"a matching node comes", nil, a, fwk.Queue},
		{"another node comes", nil, b, fwk.QueueSkip},
		{"a node begins to match", b, a, fwk.Queue},
		{"a node matches as before", a, a, fwk.QueueSkip},
	} {
		if got, err := newPlugin(t, "").nodeChanged(klog.Background(), pod, test.older, test.now); got != test.want || err != nil {
			t.Errorf("%s: got %v, %v", test.name, got, err)
		}
	}
}
