package daemonset

import (
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func setWith(surge, unavailable string) *appsv1.DaemonSet {
	maxSurge, maxUnavailable := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
		Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: &maxSurge, MaxUnavailable: &maxUnavailable},
	}}}
}

func nodes(names ...string) []*corev1.Node {
	var all []*corev1.Node
	for _, name := range names {
		all = append(all, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return all
}

func podOn(node, hash string, ready bool) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: node + "-" + hash, Labels: map[string]string{appsv1.DefaultDaemonSetUniqueLabelKey: hash}}}
	pod.Spec.NodeName, pod.Status.Phase = node, corev1.PodRunning
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(now.Add(-time.Minute))}}
	return pod
}

func names(pods []*corev1.Pod) []string {
	var all []string
	for _, pod := range pods {
		all = append(all, pod.Name)
	}
	slices.Sort(all)
	return all
}

func TestPlace(t *testing.T) {
	ended := podOn("c", "new", false)
	ended.Status.Phase = corev1.PodFailed
	meant := podOn("", "new", false) // Created, not scheduled yet.
	meant.Name, meant.Spec.Affinity = "meant", onlyOn(nil, "d")
	stray := podOn("", "new", false)
	stray.Name, stray.Spec.Affinity = "stray", onlyOn(nil, "gone")
	double := podOn("b", "new", true)
	double.Name, double.CreationTimestamp = "double", metav1.NewTime(now)
	p := survey(setWith("0", "1"), "new", nodes("a", "b", "c", "d"), []*corev1.Pod{podOn("b", "new", true), double, ended, meant, stray}, now).place()
	if !slices.Equal(p.create, []string{"a"}) {
		t.Errorf("create on %v, want a", p.create)
	}
	if got := names(p.delete); !slices.Equal(got, []string{"double", "stray"}) {
		t.Errorf("delete %v, want the second pod of b and the stray", got)
	}
	if got := names(p.ended); !slices.Equal(got, []string{"c-new"}) {
		t.Errorf("ended %v", got)
	}
}

func TestFits(t *testing.T) {
	tainted := func(key string, effect corev1.TaintEffect) *corev1.Node {
		node := nodes("n")[0]
		node.Spec.Taints = []corev1.Taint{{Key: key, Effect: effect}}
		return node
	}
	set := setWith("0", "1")
	selective := setWith("0", "1")
	selective.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	for _, c := range []struct {
		name string
		set  *appsv1.DaemonSet
		node *corev1.Node
		want fit
	}{
		{"plain", set, nodes("n")[0], fit{true, true}},
		{"not ready is tolerated", set, tainted(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute), fit{true, true}},
		{"cordoned is tolerated", set, tainted(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule), fit{true, true}},
		{"NoSchedule: may stay", set, tainted("own", corev1.TaintEffectNoSchedule), fit{false, true}},
		{"NoExecute: must go", set, tainted("own", corev1.TaintEffectNoExecute), fit{}},
		{"selector does not match", selective, nodes("n")[0], fit{}},
	} {
		if got := fits(c.set, c.node); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestRoll(t *testing.T) {
	going := podOn("c", "old", true)
	going.DeletionTimestamp = ptr.To(metav1.NewTime(now))
	for _, c := range []struct {
		name        string
		unavailable string
		pods        []*corev1.Pod
		deletes     int
	}{
		{"one at a time", "1", []*corev1.Pod{podOn("a", "old", true), podOn("b", "old", true), podOn("c", "old", true)}, 1},
		{"not while one is on its way", "1", []*corev1.Pod{podOn("a", "old", true), podOn("b", "old", true), going}, 0},
		{"not while a new one is unready", "1", []*corev1.Pod{podOn("a", "old", true), podOn("b", "new", false), podOn("c", "new", true)}, 0},
		{"an old one that is unready at once", "1", []*corev1.Pod{podOn("a", "old", false), podOn("b", "old", false), podOn("c", "old", true)}, 2},
		{"a percentage rounds up", "34%", []*corev1.Pod{podOn("a", "old", true), podOn("b", "old", true), podOn("c", "old", true)}, 2},
		{"nothing to do", "1", []*corev1.Pod{podOn("a", "new", true), podOn("b", "new", true), podOn("c", "new", true)}, 0},
	} {
		p := survey(setWith("0", c.unavailable), "new", nodes("a", "b", "c"), c.pods, now).roll()
		if len(p.delete) != c.deletes || len(p.create) > 0 {
			t.Errorf("%s: delete %v, create %v, want %d deletions", c.name, names(p.delete), p.create, c.deletes)
		}
	}
}

func TestRollWithSurge(t *testing.T) {
	old := []*corev1.Pod{podOn("a", "old", true), podOn("b", "old", true), podOn("c", "old", true)}
	p := survey(setWith("1", "0"), "new", nodes("a", "b", "c"), old, now).roll()
	if len(p.create) != 1 || len(p.delete) != 0 {
		t.Fatalf("create %v, delete %v, want one new pod beside an old", p.create, names(p.delete))
	}
	s := survey(setWith("1", "0"), "new", nodes("a", "b", "c"), append(old, podOn("a", "new", false)), now)
	if p := s.roll(); len(p.create) != 0 {
		t.Errorf("a second surge on %v before the first is available", p.create)
	}
	if p := s.place(); len(p.delete) != 0 {
		t.Errorf("%v goes before its replacement is available", names(p.delete))
	}
	p = survey(setWith("1", "0"), "new", nodes("a", "b", "c"), append(old, podOn("a", "new", true)), now).place()
	if got := names(p.delete); !slices.Equal(got, []string{"a-old"}) {
		t.Errorf("delete %v, want the pod that has been replaced", got)
	}
}

func TestPodFor(t *testing.T) {
	set := setWith("0", "1")
	set.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: corev1.NodeSelectorOpExists}}}},
	}}}
	pod := podFor(set, "n", "hash")
	if nodeOf(pod) != "n" || pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] != "hash" || len(pod.Spec.Tolerations) != 6 {
		t.Errorf("node %q, labels %v, %d tolerations", nodeOf(pod), pod.Labels, len(pod.Spec.Tolerations))
	}
	if set.Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields != nil {
		t.Error("the template was changed")
	}
}
