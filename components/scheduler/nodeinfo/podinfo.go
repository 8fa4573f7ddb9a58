package nodeinfo

import (
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helper "k8s.io/component-helpers/resource"
	fwk "k8s.io/kube-scheduler/framework"
)

// PodInfo is a pod with its affinity terms parsed and its requests summed up. It never changes once made, so that
// queue, cache and snapshots can share it.
type PodInfo struct {
	pod              *v1.Pod
	affinity         []fwk.AffinityTerm
	antiAffinity     []fwk.AffinityTerm
	softAffinity     []fwk.WeightedAffinityTerm
	softAntiAffinity []fwk.WeightedAffinityTerm
	requests         fwk.PodResource
	class            Class
}

var _ fwk.PodInfo = &PodInfo{}

// NewPodInfo parses pod. With an error it still returns what could be parsed.
func NewPodInfo(pod *v1.Pod) (*PodInfo, error) {
	info := &PodInfo{pod: pod, requests: sumRequests(pod)}
	if pod.Spec.NodeName == "" {
		info.class = classOf(pod)
	}
	affinity := pod.Spec.Affinity
	if affinity == nil {
		return info, nil
	}
	var errs [4]error
	if terms := affinity.PodAffinity; terms != nil {
		info.affinity, errs[0] = fwk.GetAffinityTerms(pod, fwk.GetPodAffinityTerms(affinity))
		info.softAffinity, errs[2] = fwk.GetWeightedAffinityTerms(pod, terms.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if terms := affinity.PodAntiAffinity; terms != nil {
		info.antiAffinity, errs[1] = fwk.GetAffinityTerms(pod, fwk.GetPodAntiAffinityTerms(affinity))
		info.softAntiAffinity, errs[3] = fwk.GetWeightedAffinityTerms(pod, terms.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	for i, field := range [4]string{"requiredAffinityTerms", "requiredAntiAffinityTerms", "preferredAffinityTerms", "preferredAntiAffinityTerms"} {
		if errs[i] != nil {
			errs[i] = fmt.Errorf("%s: %w", field, errs[i])
		}
	}
	return info, errors.Join(errs[:]...)
}

// WithPod returns the same information about a copy of the pod whose scheduling properties are equal.
func (p *PodInfo) WithPod(pod *v1.Pod) *PodInfo {
	next := *p
	next.pod = pod
	return &next
}

// Class is equal for pods that plugins need not tell apart. Only pods without a node have one.
func (p *PodInfo) Class() Class { return p.class }

// GetPod returns the pod.
func (p *PodInfo) GetPod() *v1.Pod { return p.pod }

// GetRequiredAffinityTerms returns the parsed required pod affinity.
func (p *PodInfo) GetRequiredAffinityTerms() []fwk.AffinityTerm { return p.affinity }

// GetRequiredAntiAffinityTerms returns the parsed required pod anti-affinity.
func (p *PodInfo) GetRequiredAntiAffinityTerms() []fwk.AffinityTerm { return p.antiAffinity }

// GetPreferredAffinityTerms returns the parsed preferred pod affinity.
func (p *PodInfo) GetPreferredAffinityTerms() []fwk.WeightedAffinityTerm { return p.softAffinity }

// GetPreferredAntiAffinityTerms returns the parsed preferred pod anti-affinity.
func (p *PodInfo) GetPreferredAntiAffinityTerms() []fwk.WeightedAffinityTerm {
	return p.softAntiAffinity
}

// CalculateResource returns what the pod requests of its node.
func (p *PodInfo) CalculateResource() fwk.PodResource { return p.requests }

// sumRequests counts containers, sidecars, init containers, overhead, pod-level resources and, for a pod being
// resized, what its status says is allocated.
// https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/
func sumRequests(pod *v1.Pod) fwk.PodResource {
	opts := helper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}
	stated := helper.PodRequests(pod, opts)
	filled := stated
	if missing := missingRequests(pod, stated); len(missing) > 0 {
		opts.NonMissingContainerRequests = missing
		filled = helper.PodRequests(pod, opts)
	}
	return fwk.PodResource{
		Resource: NewResource(stated),
		Non0CPU:  filled.Cpu().MilliValue(),
		Non0Mem:  filled.Memory().Value(),
	}
}

// missingRequests says which defaults stand in for unstated container requests: all of them, or, when the pod states
// requests as a whole, those of a resource that neither the pod nor any container mentions.
func missingRequests(pod *v1.Pod, stated v1.ResourceList) v1.ResourceList {
	podLevel := helper.IsPodLevelRequestsSet(pod)
	missing := v1.ResourceList{}
	if _, found := stated[v1.ResourceCPU]; !podLevel || !found {
		missing[v1.ResourceCPU] = *resource.NewMilliQuantity(DefaultMilliCPURequest, resource.DecimalSI)
	}
	if _, found := stated[v1.ResourceMemory]; !podLevel || !found {
		missing[v1.ResourceMemory] = *resource.NewQuantity(DefaultMemoryRequest, resource.DecimalSI)
	}
	return missing
}

// HostPorts returns the host ports that the pod holds for its whole life: those of its containers and its sidecars.
func HostPorts(pod *v1.Pod) []v1.ContainerPort {
	var ports []v1.ContainerPort
	collect := func(c *v1.Container) {
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				ports = append(ports, port)
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		if policy := pod.Spec.InitContainers[i].RestartPolicy; policy != nil && *policy == v1.ContainerRestartPolicyAlways {
			collect(&pod.Spec.InitContainers[i])
		}
	}
	for i := range pod.Spec.Containers {
		collect(&pod.Spec.Containers[i])
	}
	return ports
}

// claimKeys returns "namespace/name" of every persistent volume claim the pod mounts.
func claimKeys(pod *v1.Pod) []string {
	var keys []string
	for i := range pod.Spec.Volumes {
		switch volume := &pod.Spec.Volumes[i]; {
		case volume.PersistentVolumeClaim != nil:
			keys = append(keys, pod.Namespace+"/"+volume.PersistentVolumeClaim.ClaimName)
		case volume.Ephemeral != nil:
			keys = append(keys, pod.Namespace+"/"+pod.Name+"-"+volume.Name)
		}
	}
	return keys
}
