package eviction

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/klog/v2"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// enforceLocalLimits ends pods that use more of the node's disk than they said they
// would, whether or not the node runs short: emptyDir size limits and limits of
// ephemeral storage
// (https://kubernetes.io/docs/concepts/storage/ephemeral-storage/#resource-emphemeralstorage-consumption).
// It reports whether it ended one.
func (m *Manager) enforceLocalLimits(ctx context.Context) bool {
	var limited []*corev1.Pod
	for _, pod := range m.config.Pods() {
		if hasLocalLimits(pod) {
			limited = append(limited, pod)
		}
	}
	if len(limited) == 0 {
		return false // the usual case: nothing to measure
	}
	figures, err := m.podFigures(ctx)
	if err != nil {
		klog.ErrorS(err, "Measuring the pods")
		return false
	}
	for _, pod := range limited {
		stats := figures[string(pod.UID)]
		if stats == nil {
			continue
		}
		if message := exceeded(pod, stats); message != "" {
			return m.evict(ctx, pod, message, 1, nil)
		}
	}
	return false
}

func hasLocalLimits(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if dir := pod.Spec.Volumes[i].EmptyDir; dir != nil && dir.SizeLimit != nil && dir.SizeLimit.Sign() > 0 {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if _, ok := pod.Spec.Containers[i].Resources.Limits[corev1.ResourceEphemeralStorage]; ok {
			return true
		}
	}
	return false
}

// exceeded says which limit a pod exceeds; empty if none.
func exceeded(pod *corev1.Pod, stats *statsapi.PodStats) string {
	used := map[string]int64{}
	for i := range stats.VolumeStats {
		used[stats.VolumeStats[i].Name] = value(stats.VolumeStats[i].UsedBytes)
	}
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if dir := volume.EmptyDir; dir != nil && dir.SizeLimit != nil && dir.SizeLimit.Sign() > 0 && used[volume.Name] > dir.SizeLimit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", volume.Name, dir.SizeLimit)
		}
	}
	whole := resource.NewQuantity(0, resource.BinarySI)
	all := true
	for i := range pod.Spec.Containers {
		limit, ok := pod.Spec.Containers[i].Resources.Limits[corev1.ResourceEphemeralStorage]
		all = all && ok
		whole.Add(limit)
	}
	if all && stats.EphemeralStorage != nil && value(stats.EphemeralStorage.UsedBytes) > whole.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", whole)
	}
	for i := range stats.Containers {
		for j := range pod.Spec.Containers {
			container := &pod.Spec.Containers[j]
			limit, ok := container.Resources.Limits[corev1.ResourceEphemeralStorage]
			if container.Name != stats.Containers[i].Name || !ok {
				continue
			}
			if usage, _ := containerUse(NodeFsAvailable, pod, &stats.Containers[i]); usage.Cmp(limit) > 0 {
				return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", container.Name, &limit)
			}
		}
	}
	return ""
}
