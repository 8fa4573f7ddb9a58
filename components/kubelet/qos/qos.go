// Package qos says which quality-of-service class a pod is in and what the kernel is
// told about it.
// See https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/.
package qos

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// guaranteedOOMScore protects guaranteed and node-critical pods.
	guaranteedOOMScore = -997
	bestEffortOOMScore = 1000

	minShares    = 2
	maxShares    = 262144
	sharesPerCPU = 1024
	minQuota     = 1000

	// systemCritical is the lowest priority of system-cluster-critical and above.
	systemCritical = 2000000000
	// nodeCritical is the priority of system-node-critical.
	nodeCritical = systemCritical + 1000
)

// Class is a pod's class: what the API server settled, else what its resources make it.
func Class(pod *v1.Pod) v1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	return Compute(pod)
}

// Compute derives the class from the pod's requests and limits of CPU and memory.
func Compute(pod *v1.Pod) v1.PodQOSClass {
	if pod.Spec.Resources != nil && (len(pod.Spec.Resources.Requests) > 0 || len(pod.Spec.Resources.Limits) > 0) {
		return classOf([]v1.ResourceRequirements{*pod.Spec.Resources})
	}
	var all []v1.ResourceRequirements
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			all = append(all, list[i].Resources)
		}
	}
	return classOf(all)
}

func classOf(all []v1.ResourceRequirements) v1.PodQOSClass {
	anything, guaranteed := false, true
	for _, r := range all {
		for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
			request, limit := r.Requests[name], r.Limits[name]
			if !request.IsZero() || !limit.IsZero() {
				anything = true
			}
			if limit.IsZero() || (!request.IsZero() && request.Cmp(limit) != 0) {
				guaranteed = false
			}
		}
	}
	switch {
	case !anything:
		return v1.PodQOSBestEffort
	case guaranteed:
		return v1.PodQOSGuaranteed
	}
	return v1.PodQOSBurstable
}

// Critical says whether a pod must be kept when others must go: static pods and
// those of the system priority classes.
func Critical(pod *v1.Pod) bool {
	if source := pod.Annotations["kubernetes.io/config.source"]; source != "" && source != "api" {
		return true
	}
	return pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCritical
}

// OOMScoreAdjust is what the kernel's out-of-memory killer is told about a
// container: the more memory it asked for, the safer it is.
func OOMScoreAdjust(pod *v1.Pod, container *v1.Container, memoryCapacity int64) int64 {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= nodeCritical {
		return guaranteedOOMScore
	}
	switch Class(pod) {
	case v1.PodQOSGuaranteed:
		return guaranteedOOMScore
	case v1.PodQOSBestEffort:
		return bestEffortOOMScore
	}
	score := burstableOOMScore(container.Resources.Requests.Memory().Value(), memoryCapacity)
	if isSidecar(pod, container) {
		// A sidecar must not be killed before the containers it serves.
		for i := range pod.Spec.Containers {
			score = min(score, burstableOOMScore(pod.Spec.Containers[i].Resources.Requests.Memory().Value(), memoryCapacity))
		}
	}
	return score
}

func burstableOOMScore(request, capacity int64) int64 {
	if capacity <= 0 {
		return bestEffortOOMScore - 1
	}
	score := 1000 - 1000*request/capacity
	return min(max(score, 1000+guaranteedOOMScore), bestEffortOOMScore-1)
}

func isSidecar(pod *v1.Pod, container *v1.Container) bool {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.Name == container.Name {
			return c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
		}
	}
	return false
}

// Shares is a CPU request in the kernel's cpu.shares.
func Shares(milliCPU int64) uint64 {
	return uint64(min(max(milliCPU*sharesPerCPU/1000, minShares), maxShares))
}

// Quota is a CPU limit in microseconds a period; 0 means none.
func Quota(milliCPU, periodMicros int64) int64 {
	if milliCPU == 0 {
		return 0
	}
	return max(milliCPU*periodMicros/1000, minQuota)
}

// Or returns the first quantity that is not zero.
func Or(quantities ...*resource.Quantity) *resource.Quantity {
	for _, q := range quantities {
		if q != nil && !q.IsZero() {
			return q
		}
	}
	return &resource.Quantity{}
}
