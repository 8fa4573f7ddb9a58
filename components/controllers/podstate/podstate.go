// Package podstate answers what controllers ask about a pod: does it count, is it ready, since when, and which of
// several pods is the least loss.
package podstate

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"
)

// byNode is the index of pods by the node they are bound to.
const byNode = "byNode"

// IndexByNode lets OnNode look up an informer's pods. It must be called before the informer starts and may be called by
// several controllers.
func IndexByNode(informer cache.SharedIndexInformer) error {
	if _, there := informer.GetIndexer().GetIndexers()[byNode]; there {
		return nil
	}
	return informer.AddIndexers(cache.Indexers{byNode: func(obj any) ([]string, error) {
		if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			return []string{pod.Spec.NodeName}, nil
		}
		return nil, nil
	}})
}

// OnNode returns the pods bound to the node.
func OnNode(indexer cache.Indexer, node string) ([]*corev1.Pod, error) {
	objects, err := indexer.ByIndex(byNode, node)
	if err != nil {
		return nil, err
	}
	pods := make([]*corev1.Pod, 0, len(objects))
	for _, obj := range objects {
		if pod, ok := obj.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// Ended tells whether all containers of the pod have ended for good.
func Ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Claims are the names of the claims that the pod mounts.
func Claims(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.PersistentVolumeClaim != nil {
			names = append(names, volume.PersistentVolumeClaim.ClaimName)
		} else if volume.Ephemeral != nil {
			names = append(names, ephemeral.VolumeClaimName(pod, volume))
		}
	}
	return names
}

// Active tells whether the pod counts as a replica: it has not ended and is not on its way out.
func Active(pod *corev1.Pod) bool { return !Ended(pod) && pod.DeletionTimestamp == nil }

// Terminating tells whether the pod is on its way out and has not ended yet.
func Terminating(pod *corev1.Pod) bool { return !Ended(pod) && pod.DeletionTimestamp != nil }

// Condition returns the pod's condition of that type, nil if it has none.
func Condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// SetCondition puts condition in place of the one of its type; it returns false if nothing changed but times.
func SetCondition(status *corev1.PodStatus, condition corev1.PodCondition) bool {
	for i := range status.Conditions {
		old := &status.Conditions[i]
		if old.Type != condition.Type {
			continue
		}
		if old.Status == condition.Status {
			condition.LastTransitionTime = old.LastTransitionTime
		}
		changed := old.Status != condition.Status || old.Reason != condition.Reason || old.Message != condition.Message
		*old = condition
		return changed
	}
	status.Conditions = append(status.Conditions, condition)
	return true
}

// Ready tells whether the pod is ready to serve.
func Ready(pod *corev1.Pod) bool {
	ready := Condition(pod, corev1.PodReady)
	return ready != nil && ready.Status == corev1.ConditionTrue
}

// AvailableIn is how long a ready pod must still stay ready to count as available, zero if it does already.
// ok is false if the pod is not ready.
func AvailableIn(pod *corev1.Pod, minReady time.Duration, now time.Time) (wait time.Duration, ok bool) {
	if !Ready(pod) {
		return 0, false
	}
	since := Condition(pod, corev1.PodReady).LastTransitionTime
	if minReady == 0 {
		return 0, true
	}
	if since.IsZero() {
		return minReady, true
	}
	return max(0, since.Add(minReady).Sub(now)), true
}

// Available tells whether the pod has been ready for minReady.
func Available(pod *corev1.Pod, minReady time.Duration, now time.Time) bool {
	wait, ok := AvailableIn(pod, minReady, now)
	return ok && wait == 0
}

// DeletionCost is the pod's controller.kubernetes.io/pod-deletion-cost, 0 if there is none that parses.
func DeletionCost(pod *corev1.Pod) int32 {
	cost, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int32(cost)
}

// Crowd tells how many related pods run on a pod's node.
type Crowd func(pod *corev1.Pod) int

// SortByLoss sorts pods so that those whose deletion loses least come first: not yet placed, not yet running, not
// ready, cheap by annotation, on a crowded node, ready for a short time, often restarted, young.
// Times are compared by order of magnitude, so that the choice among peers of an age is arbitrary rather than always
// the youngest. https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset
func SortByLoss(pods []*corev1.Pod, crowd Crowd, now time.Time) {
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		if order := cmp.Or(
			falseFirst(a.Spec.NodeName != "", b.Spec.NodeName != ""),
			cmp.Compare(phaseLoss(a), phaseLoss(b)),
			falseFirst(Ready(a), Ready(b)),
			cmp.Compare(DeletionCost(a), DeletionCost(b)),
		); order != 0 {
			return order
		}
		if crowd != nil && a.Spec.NodeName != "" {
			if order := cmp.Compare(crowd(b), crowd(a)); order != 0 {
				return order
			}
		}
		if Ready(a) {
			if order := younger(readySince(a), readySince(b), a, b, now); order != 0 {
				return order
			}
		}
		return cmp.Or(
			cmp.Compare(restarts(b, false), restarts(a, false)),
			cmp.Compare(restarts(b, true), restarts(a, true)),
			younger(a.CreationTimestamp, b.CreationTimestamp, a, b, now),
		)
	})
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func phaseLoss(pod *corev1.Pod) int {
	switch pod.Status.Phase {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	}
	return 0
}

func readySince(pod *corev1.Pod) metav1.Time {
	return Condition(pod, corev1.PodReady).LastTransitionTime
}

// restarts is the highest restart count among the pod's containers, or among its restartable init containers.
func restarts(pod *corev1.Pod, sidecars bool) int32 {
	var most int32
	if !sidecars {
		for _, status := range pod.Status.ContainerStatuses {
			most = max(most, status.RestartCount)
		}
		return most
	}
	for _, container := range pod.Spec.InitContainers {
		if container.RestartPolicy == nil || *container.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		for _, status := range pod.Status.InitContainerStatuses {
			if status.Name == container.Name {
				most = max(most, status.RestartCount)
			}
		}
	}
	return most
}

// younger orders by age on a logarithmic scale; within one step of it, by UID. An unknown time is the youngest.
func younger(a, b metav1.Time, podA, podB *corev1.Pod, now time.Time) int {
	if a.Equal(&b) {
		return 0
	}
	if a.IsZero() || b.IsZero() {
		return falseFirst(!a.IsZero(), !b.IsZero())
	}
	return cmp.Or(cmp.Compare(magnitude(now.Sub(a.Time)), magnitude(now.Sub(b.Time))), cmp.Compare(podA.UID, podB.UID))
}

func magnitude(age time.Duration) int {
	if age < time.Second {
		return 0
	}
	return int(math.Log10(float64(age)))
}
