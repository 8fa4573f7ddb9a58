package nodeinfo

import (
	"errors"
	"fmt"
	"reflect"

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

// Renew returns the information about another version of the pod. What was parsed is kept if the versions hold the very
// same parts, as those of an informer do, which change only in where the pod runs.
func (p *PodInfo) Renew(pod *v1.Pod) (*PodInfo, error) {
	if !sameParts(p.pod, pod) {
		return NewPodInfo(pod)
	}
	next := p.WithPod(pod)
	switch {
	case pod.Spec.NodeName != "":
		next.class = Class{}
	case next.class == Class{}:
		next.class = classOf(pod)
	}
	return next, nil
}

// Memo remembers what was parsed of pods, for others that hold the very same parts. Its zero value is empty.
type Memo struct{ known map[*v1.Container]*PodInfo }

// memorable is how many templates of pods are remembered.
const memorable = 256

// PodInfo parses a pod, unless it is another of those known.
func (m *Memo) PodInfo(pod *v1.Pod) (*PodInfo, error) {
	if len(pod.Spec.Containers) == 0 {
		return NewPodInfo(pod)
	}
	first := &pod.Spec.Containers[0]
	if known := m.known[first]; known != nil && sameParts(known.pod, pod) && pod.Spec.NodeName == "" {
		return known.WithPod(pod), nil
	}
	info, err := NewPodInfo(pod)
	if err == nil && info.class != (Class{}) {
		if m.known == nil || len(m.known) >= memorable {
			m.known = map[*v1.Container]*PodInfo{}
		}
		m.known[first] = info
	}
	return info, err
}

// sameParts says whether all that a PodInfo is made from is not only equal but the same: so it need not be read.
func sameParts(a, b *v1.Pod) bool {
	x, y := &a.Spec, &b.Spec
	return a.Namespace == b.Namespace && x.SchedulerName == y.SchedulerName &&
		sameMap(a.Labels, b.Labels) && sameList(a.OwnerReferences, b.OwnerReferences) &&
		sameList(x.Containers, y.Containers) && sameList(x.InitContainers, y.InitContainers) && sameList(x.Volumes, y.Volumes) &&
		x.Affinity == y.Affinity && sameMap(x.NodeSelector, y.NodeSelector) && sameList(x.Tolerations, y.Tolerations) &&
		sameList(x.TopologySpreadConstraints, y.TopologySpreadConstraints) &&
		x.Resources == y.Resources && sameMap(x.Overhead, y.Overhead) &&
		!statesResources(&a.Status) && !statesResources(&b.Status)
}

func sameList[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func sameMap[M ~map[K]V, K comparable, V any](a, b M) bool {
	return len(a) == 0 && len(b) == 0 || reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// statesResources says whether the status has a say in what the pod requests.
func statesResources(status *v1.PodStatus) bool {
	return len(status.ContainerStatuses)+len(status.InitContainerStatuses)+len(status.EphemeralContainerStatuses) > 0 ||
		status.Resources != nil || len(status.AllocatedResources) > 0
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
