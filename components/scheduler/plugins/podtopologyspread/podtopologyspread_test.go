package podtopologyspread

import (
	"context"
	"fmt"
	"maps"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func newPlugin(t *testing.T, cluster *Cluster, args string) *PodTopologySpread {
	t.Helper()
	plugin, err := New(context.Background(), Args[configv1.PodTopologySpreadArgs](t, args), cluster)
	if err != nil {
		t.Fatal(err)
	}
	return plugin.(*PodTopologySpread)
}

func over(key string, skew int32, edits ...func(*v1.TopologySpreadConstraint)) v1.TopologySpreadConstraint {
	c := v1.TopologySpreadConstraint{TopologyKey: key, MaxSkew: skew, WhenUnsatisfiable: v1.DoNotSchedule, LabelSelector: Selects("app", "web")}
	for _, edit := range edits {
		edit(&c)
	}
	return c
}

func soft(c *v1.TopologySpreadConstraint) { c.WhenUnsatisfiable = v1.ScheduleAnyway }

// zones has nodes a1, a2 in zone a, b1 in zone b and "bare" in none, and web pods in the numbers given.
func zones(t *testing.T, pods map[string]int, more ...apiruntime.Object) *Cluster {
	t.Helper()
	objects := append([]apiruntime.Object{
		Node("a1", Labelled("zone", "a")), Node("a2", Labelled("zone", "a")), Node("b1", Labelled("zone", "b")), Node("bare"),
	}, more...)
	for node, n := range pods {
		for i := range n {
			objects = append(objects, Pod(fmt.Sprintf("%s-%d", node, i), On(node), Labels("app", "web", "version", fmt.Sprint(i))))
		}
	}
	return NewCluster(t, objects...)
}

func TestFilter(t *testing.T) {
	missing := ReasonMissingLabel + " (unresolvable)"
	web := Labels("app", "web")
	three, honor := int32(3), v1.NodeInclusionPolicyHonor
	ignore := v1.NodeInclusionPolicyIgnore
	onlyB := Affinity(v1.Affinity{NodeAffinity: &v1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{
		NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchExpressions: []v1.NodeSelectorRequirement{{Key: "zone", Operator: v1.NodeSelectorOpIn, Values: []string{"b"}}}}},
	}}})
	terminating := func(p *v1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	tests := []struct {
		name string
		on   map[string]int
		more []apiruntime.Object
		pod  *v1.Pod
		want map[string]string
	}{
		{name: "no constraint", on: map[string]int{"a1": 5}, pod: Pod("p", web), want: map[string]string{"a1": "", "a2": "", "b1": "", "bare": ""}},
		{name: "the fuller zone", on: map[string]int{"a1": 1}, pod: Pod("p", web, Spread(over("zone", 1))), want: map[string]string{"a1": Reason, "a2": Reason, "b1": "", "bare": missing}},
		{name: "larger skew", on: map[string]int{"a1": 1}, pod: Pod("p", web, Spread(over("zone", 2))), want: map[string]string{"a1": "", "a2": "", "b1": "", "bare": missing}},
		{name: "the pod does not count itself", on: map[string]int{"a1": 1}, pod: Pod("p", Spread(over("zone", 1))), want: map[string]string{"a1": "", "a2": "", "b1": "", "bare": missing}},
		{name: "soft constraints do not filter", on: map[string]int{"a1": 9}, pod: Pod("p", web, Spread(over("zone", 1, soft))), want: map[string]string{"a1": "", "a2": "", "b1": "", "bare": ""}},
		{name: "too few domains", on: map[string]int{"a1": 1, "b1": 1}, pod: Pod("p", web, Spread(over("zone", 1, func(c *v1.TopologySpreadConstraint) { c.MinDomains = &three }))),
			want: map[string]string{"a1": Reason, "a2": Reason, "b1": Reason, "bare": missing}},
		{name: "two constraints", on: map[string]int{"a1": 1}, pod: Pod("p", web, Spread(over(v1.LabelHostname, 1), over("zone", 5))), want: map[string]string{"a1": Reason, "a2": "", "b1": "", "bare": missing}},
		{name: "nodes the pod cannot go to do not count", on: map[string]int{"b1": 3}, pod: Pod("p", web, onlyB, Spread(over("zone", 1))), want: map[string]string{"a1": "", "a2": "", "b1": "", "bare": missing}},
		{name: "unless they are to", on: map[string]int{"b1": 3}, pod: Pod("p", web, onlyB, Spread(over("zone", 1, func(c *v1.TopologySpreadConstraint) { c.NodeAffinityPolicy = &ignore }))),
			want: map[string]string{"a1": "", "a2": "", "b1": Reason, "bare": missing}},
		{name: "tainted nodes count", on: map[string]int{"a1": 1, "b1": 1}, more: []apiruntime.Object{Node("c1", Labelled("zone", "c"), Tainted("x", v1.TaintEffectNoSchedule))},
			pod: Pod("p", web, Spread(over("zone", 1))), want: map[string]string{"a1": Reason, "a2": Reason, "b1": Reason, "bare": missing, "c1": ""}},
		{name: "unless they are not to", on: map[string]int{"a1": 1, "b1": 1}, more: []apiruntime.Object{Node("c1", Labelled("zone", "c"), Tainted("x", v1.TaintEffectNoSchedule))},
			pod:  Pod("p", web, Spread(over("zone", 1, func(c *v1.TopologySpreadConstraint) { c.NodeTaintsPolicy = &honor }))),
			want: map[string]string{"a1": "", "a2": "", "b1": "", "bare": missing, "c1": ""}},
		{name: "matchLabelKeys", on: map[string]int{"a1": 2}, pod: Pod("p", Labels("app", "web", "version", "7"), Spread(over("zone", 1, func(c *v1.TopologySpreadConstraint) { c.MatchLabelKeys = []string{"version", "absent"} }))),
			want: map[string]string{"a1": "", "a2": "", "b1": "", "bare": missing}},
		{name: "terminating pods and other namespaces", more: []apiruntime.Object{Pod("going", On("a1"), web, terminating), Pod("other", On("a1"), web, func(p *v1.Pod) { p.Namespace = "other" })},
			pod: Pod("p", web, Spread(over("zone", 1))), want: map[string]string{"a1": "", "a2": "", "b1": "", "bare": missing}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cluster := zones(t, test.on, test.more...)
			if got := cluster.Filter(t, newPlugin(t, cluster, ""), test.pod); !maps.Equal(got, test.want) {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
		})
	}
}

func TestCountsAreRememberedPerGeneration(t *testing.T) {
	cluster := zones(t, map[string]int{"a1": 1})
	plugin := newPlugin(t, cluster, "")
	pod := Pod("p", Labels("app", "web"), Spread(over("zone", 1)))
	if got := cluster.Filter(t, plugin, pod)["a2"]; got != Reason {
		t.Fatal(got)
	}
	if err := cluster.Cache.AddPod(Pod("b1-0", On("b1"), Labels("app", "web"))); err != nil {
		t.Fatal(err)
	}
	cluster.Cache.UpdateSnapshot(cluster.Snapshot)
	if got := cluster.Filter(t, plugin, pod)["a2"]; got != "" {
		t.Errorf("after the other zone caught up: %q", got)
	}
}

func TestAddAndRemovePod(t *testing.T) {
	cluster := zones(t, map[string]int{"a1": 1})
	plugin := newPlugin(t, cluster, "")
	pod := Pod("p", Labels("app", "web"), Spread(over("zone", 1)))
	state := runtime.NewCycleState(false)
	nodes, _ := cluster.Snapshot.List()
	if _, status := plugin.PreFilter(context.Background(), state, pod, nodes); !status.IsSuccess() {
		t.Fatal(status)
	}
	a2, _ := cluster.Snapshot.Get("a2")
	a1, _ := cluster.Snapshot.Get("a1")
	without := state.Clone()
	if status := plugin.RemovePod(context.Background(), without, pod, a1.GetPods()[0], a1); !status.IsSuccess() {
		t.Fatal(status)
	}
	if got := plugin.Filter(context.Background(), without, pod, a2); !got.IsSuccess() {
		t.Errorf("with the pod removed: %v", got)
	}
	if got := plugin.Filter(context.Background(), state, pod, a2); got.IsSuccess() {
		t.Error("the clone's change shows in the original")
	}
	info, _ := nodeinfo.NewPodInfo(Pod("again", Labels("app", "web")))
	if status := plugin.AddPod(context.Background(), without, pod, info, a2); !status.IsSuccess() {
		t.Fatal(status)
	}
	if got := plugin.Filter(context.Background(), without, pod, a2); got.Message() != Reason {
		t.Errorf("with a pod added: %v", got)
	}
}

func TestScore(t *testing.T) {
	cluster := zones(t, map[string]int{"a1": 3, "b1": 1})
	plugin := newPlugin(t, cluster, "")
	web := Labels("app", "web")
	if got := cluster.Score(t, plugin, Pod("p", web)); got != nil {
		t.Errorf("a pod that nothing owns: %v", got)
	}
	// Zones: 3 and 1 pods, weight ln(2+2): 4.16 -> 4 and 1.39 -> 1; the highest is 4, the lowest 1.
	if got, want := cluster.Score(t, plugin, Pod("p", web, Spread(over("zone", 1, soft)))), (map[string]int64{"a1": 25, "a2": 25, "b1": 100, "bare": 0}); !maps.Equal(got, want) {
		t.Errorf("by zone: got %v, want %v", got, want)
	}
	if got := cluster.Score(t, plugin, Pod("p", web, Spread(over(v1.LabelHostname, 1, soft)))); got["a1"] >= got["b1"] || got["b1"] >= got["a2"] || got["a2"] != got["bare"] {
		t.Errorf("by host: %v", got)
	}
}

func TestDefaultConstraintsFollowTheOwner(t *testing.T) {
	owner := true
	owned := func(p *v1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "rs", Controller: &owner}}
	}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "rs", Namespace: "default"}, Spec: appsv1.ReplicaSetSpec{Selector: Selects("app", "web")}}
	cluster := zones(t, map[string]int{"a1": 4}, rs)
	got := cluster.Score(t, newPlugin(t, cluster, ""), Pod("p", Labels("app", "web"), owned))
	if got["a1"] >= got["a2"] {
		t.Errorf("system defaults: %v", got)
	}
	hard := "defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]"
	verdicts := cluster.Filter(t, newPlugin(t, cluster, hard), Pod("p", Labels("app", "web"), owned))
	if verdicts["a2"] != Reason || verdicts["b1"] != "" {
		t.Errorf("hard defaults: %v", verdicts)
	}
	service := &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Spec: v1.ServiceSpec{Selector: map[string]string{"app": "web"}}}
	cluster = zones(t, map[string]int{"a1": 4}, service)
	verdicts = cluster.Filter(t, newPlugin(t, cluster, hard), Pod("p", Labels("app", "web")))
	if verdicts["a2"] != Reason || verdicts["b1"] != "" {
		t.Errorf("by service: %v", verdicts)
	}
}

func TestHints(t *testing.T) {
	cluster := zones(t, nil)
	plugin := newPlugin(t, cluster, "")
	pod := Pod("p", Labels("app", "web"), Spread(over("zone", 1)))
	web, other := Labels("app", "web"), Labels("app", "other")
	for _, test := range []struct {
		name       string
		hint       func(klog.Logger, *v1.Pod, any, any) (fwk.QueueingHint, error)
		older, now any
		want       fwk.QueueingHint
	}{
		{"a matching pod is bound", plugin.podChanged, nil, Pod("x", On("a1"), web), fwk.Queue},
		{"another pod is bound", plugin.podChanged, nil, Pod("x", On("a1"), other), fwk.QueueSkip},
		{"a pod begins to match", plugin.podChanged, Pod("x", On("a1"), other), Pod("x", On("a1"), web), fwk.Queue},
		{"a matching pod goes", plugin.podChanged, Pod("x", On("a1"), web), nil, fwk.Queue},
		{"a waiting pod goes", plugin.podChanged, Pod("x", web), nil, fwk.QueueSkip},
		{"a node with the label comes", plugin.nodeChanged, nil, Node("n", Labelled("zone", "c")), fwk.Queue},
		{"a node without it comes", plugin.nodeChanged, nil, Node("n"), fwk.QueueSkip},
		{"a node moves", plugin.nodeChanged, Node("n", Labelled("zone", "c")), Node("n", Labelled("zone", "d")), fwk.Queue},
		{"a node changes otherwise", plugin.nodeChanged, Node("n", Labelled("zone", "c")), Node("n", Labelled("zone", "c", "x", "y")), fwk.QueueSkip},
	} {
		if got, err := test.hint(klog.Background(), pod, test.older, test.now); got != test.want || err != nil {
			t.Errorf("%s: got %v, %v", test.name, got, err)
		}
	}
}
