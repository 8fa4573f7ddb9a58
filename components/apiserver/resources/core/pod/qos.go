package pod

import (
	corev1 "k8s.io/api/core/v1"
	componentresource "k8s.io/component-helpers/resource"
)

// QOSClass is what a pod's requests and limits say of how firmly its node keeps its
// promise. https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
func QOSClass(p *corev1.Pod) corev1.PodQOSClass {
	if componentresource.IsPodLevelResourcesSet(p) {
		return classOf(p.Spec.Resources)
	}
	classes := map[corev1.PodQOSClass]bool{}
	for m := range members(&p.Spec, nil) {
		if m.role != ephemeralRole {
			classes[classOf(&m.Resources)] = true
		}
	}
	return uniform(classes)
}

// classOf is the class of one set of requirements.
func classOf(r *corev1.ResourceRequirements) corev1.PodQOSClass {
	classes := map[corev1.PodQOSClass]bool{}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := r.Requests[name], r.Limits[name]
		switch {
		case request.Cmp(limit) != 0:
			classes[corev1.PodQOSBurstable] = true
		case request.IsZero():
			classes[corev1.PodQOSBestEffort] = true
		default:
			classes[corev1.PodQOSGuaranteed] = true
		}
	}
	return uniform(classes)
}

// uniform is the class that all parts have, and Burstable where they differ.
func uniform(classes map[corev1.PodQOSClass]bool) corev1.PodQOSClass {
	if len(classes) == 0 {
		return corev1.PodQOSBestEffort
	}
	for class := range classes {
		if len(classes) == 1 {
			return class
		}
	}
	return corev1.PodQOSBurstable
}
