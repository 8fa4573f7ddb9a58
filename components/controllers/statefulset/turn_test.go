package statefulset

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// replicas makes the pods of a set: an upper-case letter is a ready pod, a lower-case one a broken pod, N a new one and O
// an old one, and a dot is a slot without a pod.
func replicas(states string) []*corev1.Pod {
	pods := make([]*corev1.Pod, len(states))
	for slot, state := range states {
		if state == '.' {
			continue
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web-%d", slot), Labels: map[string]string{appsv1.StatefulSetRevisionLabel: "old"}}}
		if state == 'N' || state == 'n' {
			pod.Labels[appsv1.StatefulSetRevisionLabel] = "new"
		}
		pod.Status.Phase = corev1.PodRunning
		ready := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse}
		if state == 'N' || state == 'O' {
			ready.Status = corev1.ConditionTrue
		}
		pod.Status.Conditions = []corev1.PodCondition{ready}
		pods[slot] = pod
	}
	return pods
}

func TestOutdated(t *testing.T) {
	const ordered, parallel = appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement
	for _, c := range []struct {
		name             string
		policy           appsv1.PodManagementPolicyType
		pods             string
		partition, limit int
		want             []int
	}{
		{"the highest first", ordered, "OOO", 0, 1, []int{2}},
		{"one at a time", ordered, "OOn", 0, 1, nil},
		{"the next once the new one is ready", ordered, "OON", 0, 1, []int{1}},
		{"as many as the limit leaves", ordered, "OOO.", 0, 3, []int{2, 1}},
		{"none below the partition", ordered, "OON", 2, 1, nil},
		{"none when all are new", parallel, "NNN", 0, 3, nil},
		{"broken ones of a set without order at once", parallel, "oOo", 0, 1, []int{2, 0}},
		{"broken ones do not raise the limit", parallel, "oOO", 0, 2, []int{0, 2}},
		{"broken ones below the partition stay", parallel, "oOO", 1, 2, []int{2}},
	} {
		s := set()
		s.Spec.PodManagementPolicy = c.policy
		turn := &turn{set: s, update: version{name: "new"}, slots: replicas(c.pods), now: time.Now()}
		var got []int
		for _, pod := range turn.outdated(c.partition, c.limit) {
			ordinal, _ := ordinalOf(s, pod)
			got = append(got, ordinal)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: of %s got %v, want %v", c.name, c.pods, got, c.want)
		}
	}
}
