package podstate

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

type option func(*corev1.Pod)

func pod(name string, options ...option) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))}}
	p.Spec.NodeName, p.Status.Phase = "node", corev1.PodRunning
	readyFor(time.Minute)(p)
	for _, o := range options {
		o(p)
	}
	return p
}

func readyFor(age time.Duration) option {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-age))}}
	}
}

func unready(p *corev1.Pod)  { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func unplaced(p *corev1.Pod) { p.Spec.NodeName = "" }
func pending(p *corev1.Pod)  { p.Status.Phase = corev1.PodPending; unready(p) }
func on(node string) option  { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
func cost(text string) option {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: text} }
}
func restarted(n int32) option {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}} }
}
func aged(age time.Duration) option {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-age)) }
}

func TestSortByLoss(t *testing.T) {
	crowd := func(p *corev1.Pod) int { return map[string]int{"crowded": 5, "node": 1}[p.Spec.NodeName] }
	for _, c := range []struct {
		name        string
		first, then *corev1.Pod
	}{
		{"unplaced before placed", pod("b", unplaced), pod("a", pending)},
		{"pending before running", pod("b", pending), pod("a", unready)},
		{"unready before ready", pod("b", unready), pod("a")},
		{"unready beats cost", pod("b", unready, cost("100")), pod("a", cost("-100"))},
		{"cheap before dear", pod("b", cost("-1")), pod("a")},
		{"cost that does not parse is none", pod("b", cost("-1")), pod("a", cost("1e3"))},
		{"crowded node before lonely", pod("b", on("crowded")), pod("a")},
		{"cost beats crowd", pod("b", cost("-1")), pod("a", on("crowded"))},
		{"ready for short before ready for long", pod("b", readyFor(2*time.Second)), pod("a", readyFor(time.Hour))},
		{"often restarted before seldom", pod("b", restarted(3)), pod("a", restarted(1))},
		{"young before old", pod("b", unready, aged(2*time.Second)), pod("a", unready, aged(time.Hour))},
		{"of one order of magnitude, by UID", pod("a", unready, aged(50*time.Minute)), pod("b", unready, aged(40*time.Minute))},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, pods := range [][]*corev1.Pod{{c.first, c.then}, {c.then, c.first}} {
				SortByLoss(pods, crowd, now)
				if pods[0] != c.first {
					t.Errorf("got %s first", pods[0].Name)
				}
			}
		})
	}
}

func TestAvailableIn(t *testing.T) {
	for _, c := range []struct {
		name     string
		pod      *corev1.Pod
		minReady time.Duration
		wait     time.Duration
		ok       bool
	}{
		{"unready", pod("a", unready), 0, 0, false},
		{"ready at once", pod("a", readyFor(0)), 0, 0, true},
		{"ready, not long enough", pod("a", readyFor(4*time.Second)), 10 * time.Second, 6 * time.Second, true},
		{"ready for long enough", pod("a", readyFor(10*time.Second)), 10 * time.Second, 0, true},
	} {
		if wait, ok := AvailableIn(c.pod, c.minReady, now); wait != c.wait || ok != c.ok {
			t.Errorf("%s: got %s, %v, want %s, %v", c.name, wait, ok, c.wait, c.ok)
		}
	}
}
