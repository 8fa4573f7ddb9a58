package nodelifecycle

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func nodeWith(name string, ready corev1.ConditionStatus, heartbeat time.Time) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(start)}}
	if ready != "" {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.NewTime(heartbeat)}}
	}
	return node
}

func leaseAt(at time.Time) *coordinationv1.Lease {
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: ptr.To(metav1.NewMicroTime(at))}}
}

func TestSilence(t *testing.T) {
	c := &Controller{config: Config{GracePeriod: 40 * time.Second, StartupGracePeriod: time.Minute}, heard: map[string]*signs{}}
	// The node's clock is an hour behind: only that its times change counts.
	node := nodeWith("n", corev1.ConditionTrue, start.Add(-time.Hour))
	steps := []struct {
		what  string
		node  *corev1.Node
		lease *coordinationv1.Lease
		at    time.Duration
		quiet bool
	}{
		{"first seen", node, leaseAt(start.Add(-time.Hour)), 0, false},
		{"nothing new for 30 s", node, leaseAt(start.Add(-time.Hour)), 30 * time.Second, false},
		{"its lease is renewed", node, leaseAt(start.Add(-59 * time.Minute)), 35 * time.Second, false},
		{"40 s after that", node, leaseAt(start.Add(-59 * time.Minute)), 75 * time.Second, false},
		{"41 s after that", node, leaseAt(start.Add(-59 * time.Minute)), 76 * time.Second, true},
		{"its status is posted", nodeWith("n", corev1.ConditionTrue, start.Add(-58*time.Minute)), leaseAt(start.Add(-59 * time.Minute)), 80 * time.Second, false},
	}
	for _, s := range steps {
		if quiet := c.silence(s.node, s.lease, start.Add(s.at)) > 0; quiet != s.quiet {
			t.Errorf("%s: silent is %v", s.what, quiet)
		}
	}
	fresh := nodeWith("new", "", time.Time{})
	for at, quiet := range map[time.Duration]bool{59 * time.Second: false, 61 * time.Second: true} {
		if got := c.silence(fresh, nil, start.Add(at)) > 0; got != quiet {
			t.Errorf("a node that never posted, after %s: silent is %v", at, got)
		}
	}
}

func TestDeclareUnknown(t *testing.T) {
	node := nodeWith("n", corev1.ConditionTrue, start)
	declareUnknown(node, metav1.NewTime(start.Add(time.Minute)))
	reasons := map[corev1.NodeConditionType]string{corev1.NodeReady: "NodeStatusUnknown", corev1.NodeMemoryPressure: "NodeStatusNeverUpdated"}
	for kind, reason := range reasons {
		if got := condition(node, kind); got == nil || got.Status != corev1.ConditionUnknown || got.Reason != reason {
			t.Errorf("%s: got %+v, want Unknown for %s", kind, got, reason)
		}
	}
}

func TestNoScheduleTaints(t *testing.T) {
	node := nodeWith("n", corev1.ConditionUnknown, start)
	node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue}, corev1.NodeCondition{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionUnknown})
	node.Spec.Unschedulable = true
	got := map[string]bool{}
	for _, taint := range noScheduleTaints(node) {
		got[taint.Key] = true
	}
	want := []string{corev1.TaintNodeUnreachable, corev1.TaintNodeDiskPressure, corev1.TaintNodeUnschedulable}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for _, key := range want {
		if !got[key] {
			t.Errorf("lacks %s", key)
		}
	}
}

func states(ready, notReady int) []nodeState {
	var all []nodeState
	for i := range ready + notReady {
		s := nodeState{name: string(rune('a' + i)), ready: corev1.ConditionTrue}
		if i >= ready {
			s.ready = corev1.ConditionUnknown
		}
		all = append(all, s)
	}
	return all
}

func TestEvictionRates(t *testing.T) {
	rates := EvictionRates{Normal: 0.1, Reduced: 0.01, LargeZone: 50, Threshold: 0.55}
	for _, c := range []struct {
		name            string
		ready, notReady int
		// taints after 0, 5 and 10 seconds
		want [3]int
	}{
		{"one of three: at once", 2, 1, [3]int{1, 0, 0}},
		{"two of five: ten seconds apart", 3, 2, [3]int{1, 0, 1}},
		{"most of a small zone: none", 2, 4, [3]int{0, 0, 0}},
		{"all: none", 0, 3, [3]int{0, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			z := newZones(rates)
			for i, want := range c.want {
				at := start.Add(time.Duration(i) * 5 * time.Second)
				z.assess(states(c.ready, c.notReady), at)
				if got := len(z.due(at)); got != want {
					t.Errorf("after %d s: %d nodes, want %d", i*5, got, want)
				}
			}
		})
	}
}

func TestWholeClusterSilent(t *testing.T) {
	z := newZones(EvictionRates{Normal: 10, Threshold: 0.55})
	z.assess(states(1, 1), start)
	if len(z.due(start)) != 1 {
		t.Fatal("the silent node is not evicted")
	}
	if entered, _ := z.assess(states(0, 2), start); !entered {
		t.Error("not noticed that no node is ready")
	}
	if due := z.due(start.Add(time.Minute)); len(due) > 0 {
		t.Errorf("evicting %v though no node is ready", due)
	}
	if _, left := z.assess(states(1, 1), start.Add(time.Minute)); !left {
		t.Error("not noticed that a node is ready again")
	}
	z.assess(states(1, 1), start.Add(2*time.Minute))
	if len(z.due(start.Add(2*time.Minute))) != 1 {
		t.Error("the node that stays silent is not evicted")
	}
}
