package disruption

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestHealthyNeeded(t *testing.T) {
	for _, c := range []struct {
		minAvailable, maxUnavailable string
		expected, needed             int32
		scale                        bool
	}{
		{"3", "", 10, 3, false},
		{"50%", "", 7, 4, true}, // Rounded up: more stay.
		{"", "1", 7, 6, true},
		{"", "30%", 7, 4, true}, // Rounded up: more may go.
		{"", "10", 7, 0, true},
		{"100%", "", 7, 7, true},
	} {
		var spec policyv1.PodDisruptionBudgetSpec
		if c.minAvailable != "" {
			spec.MinAvailable = ptr.To(intstr.Parse(c.minAvailable))
		} else {
			spec.MaxUnavailable = ptr.To(intstr.Parse(c.maxUnavailable))
		}
		needed, err := healthyNeeded(&spec, c.expected)
		if err != nil || needed != c.needed || needsScale(&spec) != c.scale {
			t.Errorf("min %q max %q of %d: got %d, %v, %v, want %d, %v", c.minAvailable, c.maxUnavailable, c.expected, needed, needsScale(&spec), err, c.needed, c.scale)
		}
	}
}

func TestCount(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	pod := func(name string, ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}}
	}
	going := pod("going", corev1.ConditionTrue)
	going.DeletionTimestamp = ptr.To(metav1.NewTime(now))
	found := count([]*corev1.Pod{pod("a", corev1.ConditionTrue), pod("b", corev1.ConditionFalse), going, pod("granted", corev1.ConditionTrue), pod("late", corev1.ConditionTrue)},
		map[string]metav1.Time{"granted": metav1.NewTime(now.Add(-time.Minute)), "late": metav1.NewTime(now.Add(-time.Hour)), "going": metav1.NewTime(now), "gone": metav1.NewTime(now)}, now)
	if found.healthy != 2 { // a, and the late one: nobody took it away.
		t.Errorf("%d healthy, want 2", found.healthy)
	}
	if _, ok := found.disrupted["granted"]; !ok || len(found.disrupted) != 1 {
		t.Errorf("disrupted: %v", found.disrupted)
	}
	if len(found.late) != 1 || found.late[0].Name != "late" || found.recheck != time.Minute {
		t.Errorf("late: %v, recheck after %s", found.late, found.recheck)
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range [][4]int32{{5, 3, 5, 2}, {3, 3, 5, 0}, {2, 3, 5, 0}, {1, 0, 0, 0}} {
		if got := allowed(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("healthy %d, needed %d, expected %d: got %d, want %d", c[0], c[1], c[2], got, c[3])
		}
	}
}
