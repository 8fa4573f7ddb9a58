package equivalence

import (
	v1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Rivals returns those of the pods nominated to a node that the pod must leave room for: others, no less important. The
// caller must not change the list.
func Rivals(pod *v1.Pod, nominated []fwk.PodInfo) []fwk.PodInfo {
	priority := corev1helpers.PodPriority(pod)
	rivals := func(info fwk.PodInfo) bool {
		return info.GetPod().UID != pod.UID && corev1helpers.PodPriority(info.GetPod()) >= priority
	}
	for i, info := range nominated {
		if rivals(info) {
			continue
		}
		list := nominated[:i:i]
		for _, other := range nominated[i+1:] {
			if rivals(other) {
				list = append(list, other)
			}
		}
		return list
	}
	return nominated
}
