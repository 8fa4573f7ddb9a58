package supervisor

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	hollow "github.com/plumbline/plumbline/framework/hollow/v1alpha1"
)

func TestHollowNodesAreCounted(t *testing.T) {
	node := func(name string, status corev1.ConditionStatus, labels map[string]string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}},
		}}
	}
	simulated := map[string]string{hollow.Label: ""}
	nodes := []corev1.Node{
		node("node-1", corev1.ConditionTrue, nil), node("node-2", corev1.ConditionUnknown, nil),
		node("hollow-1", corev1.ConditionTrue, simulated), node("hollow-2", corev1.ConditionFalse, simulated),
	}
	ready, count := readinessOf(nodes)
	if ready["node-1"] != "Ready" || ready["node-2"] != "NotReady" {
		t.Errorf("readiness is %v", ready)
	}
	if count == nil || *count != (HollowStatus{Ready: 1, Nodes: 2}) {
		t.Errorf("counted %+v, want 1 of 2", count)
	}
	if _, count := readinessOf(nodes[:2]); count != nil {
		t.Errorf("of no hollow nodes counted %+v", count)
	}
}
