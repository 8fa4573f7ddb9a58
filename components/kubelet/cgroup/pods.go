package cgroup

import (
	"path"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/plumbline/plumbline/components/kubelet/qos"
)

// PodsConfig is what the pods' groups are made by.
type PodsConfig struct {
	Hierarchy *Hierarchy
	// Root is the group below which "kubepods" is made; empty is the machine's root.
	Root string
	// PerQOS puts pods into groups of their own; without it they share the runtime's.
	PerQOS bool
	// CFSQuota and CFSPeriodMicros say whether and how CPU limits are enforced.
	CFSQuota        bool
	CFSPeriodMicros int64
	// PIDsPerPod limits the tasks of each pod; -1 does not.
	PIDsPerPod int64
}

// Pods keeps the groups of all pods.
type Pods struct {
	c    PodsConfig
	mu   sync.Mutex
	pods map[types.UID]*v1.Pod
}

// NewPods returns the keeper of the pods' groups.
func NewPods(c PodsConfig) *Pods { return &Pods{c: c, pods: map[types.UID]*v1.Pod{}} }

// Top is the group of all pods.
func (p *Pods) Top() string { return path.Join("/", p.c.Root, "kubepods") }

func (p *Pods) class(class v1.PodQOSClass) string {
	switch class {
	case v1.PodQOSBurstable:
		return path.Join(p.Top(), "burstable")
	case v1.PodQOSBestEffort:
		return path.Join(p.Top(), "besteffort")
	}
	return p.Top()
}

// Group is the group of a pod, to be told to the runtime; empty if pods have none.
func (p *Pods) Group(pod *v1.Pod) string {
	if !p.c.PerQOS {
		return ""
	}
	return path.Join(p.class(qos.Class(pod)), "pod"+string(pod.UID))
}

// Init makes the groups of all pods and of the classes. limits hold the pods
// together to what the node can allocate.
func (p *Pods) Init(limits Limits) error {
	if !p.c.PerQOS {
		return nil
	}
	for _, class := range []v1.PodQOSClass{v1.PodQOSGuaranteed, v1.PodQOSBurstable, v1.PodQOSBestEffort} {
		if err := p.c.Hierarchy.Make(p.class(class)); err != nil {
			return err
		}
	}
	if err := p.c.Hierarchy.Apply(p.Top(), limits); err != nil {
		return err
	}
	return p.weigh()
}

// Ensure makes the group of a pod, or adapts it to what the pod may use now.
func (p *Pods) Ensure(pod *v1.Pod) error {
	if !p.c.PerQOS {
		return nil
	}
	group := p.Group(pod)
	if err := p.c.Hierarchy.Make(group); err != nil {
		return err
	}
	if err := p.c.Hierarchy.Apply(group, p.LimitsOf(pod)); err != nil {
		return err
	}
	p.mu.Lock()
	p.pods[pod.UID] = pod
	p.mu.Unlock()
	return p.weigh()
}

// Widen lets a pod use what limits allow besides what it may use already.
func (p *Pods) Widen(pod *v1.Pod, had, gets Limits) error {
	if wide := had.Or(gets); p.c.PerQOS && wide != had {
		return p.c.Hierarchy.Apply(p.Group(pod), wide)
	}
	return nil
}

// MemoryUsage is what a pod, or a container of it that is named by its id, uses.
func (p *Pods) MemoryUsage(pod *v1.Pod, containerID string) (bytes int64, ok bool) {
	if !p.c.PerQOS {
		return 0, false
	}
	return p.c.Hierarchy.MemoryUsage(path.Join(p.Group(pod), containerID))
}

// LimitsOf is what a pod as a whole may use: a sum of limits only counts if each of
// its containers has one.
func (p *Pods) LimitsOf(pod *v1.Pod) Limits {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	allLimited := func(name v1.ResourceName) bool {
		if pod.Spec.Resources != nil {
			if q, ok := pod.Spec.Resources.Limits[name]; ok && !q.IsZero() {
				return true
			}
		}
		for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				if q := list[i].Resources.Limits[name]; q.IsZero() {
					return false
				}
			}
		}
		return true
	}
	out := Limits{
		CPUShares: qos.Shares(qos.Or(requests.Cpu(), limits.Cpu()).MilliValue()),
		CPUQuota:  -1, CPUPeriod: p.c.CFSPeriodMicros,
		Memory: -1,
		PIDs:   p.c.PIDsPerPod,
	}
	if qos.Class(pod) == v1.PodQOSBestEffort {
		out.CPUShares = qos.Shares(0)
	}
	if p.c.CFSQuota && allLimited(v1.ResourceCPU) {
		out.CPUQuota = qos.Quota(limits.Cpu().MilliValue(), p.c.CFSPeriodMicros)
	}
	if allLimited(v1.ResourceMemory) {
		out.Memory = limits.Memory().Value()
	}
	return out
}

// Remove removes the group of a pod, whatever its class was.
func (p *Pods) Remove(uid types.UID) error {
	if !p.c.PerQOS {
		return nil
	}
	p.mu.Lock()
	delete(p.pods, uid)
	p.mu.Unlock()
	for _, class := range []v1.PodQOSClass{v1.PodQOSGuaranteed, v1.PodQOSBurstable, v1.PodQOSBestEffort} {
		if err := p.c.Hierarchy.Remove(path.Join(p.class(class), "pod"+string(uid))); err != nil {
			return err
		}
	}
	return p.weigh()
}

// Existing are the pods that have a group.
func (p *Pods) Existing() []types.UID {
	if !p.c.PerQOS {
		return nil
	}
	var out []types.UID
	for _, class := range []v1.PodQOSClass{v1.PodQOSGuaranteed, v1.PodQOSBurstable, v1.PodQOSBestEffort} {
		for _, name := range p.c.Hierarchy.Children(p.class(class)) {
			if uid, ok := strings.CutPrefix(name, "pod"); ok {
				out = append(out, types.UID(uid))
			}
		}
	}
	return out
}

// weigh gives each class its share of the CPU: burstable pods the sum of what they
// asked for, best-effort pods the least there is.
func (p *Pods) weigh() error {
	p.mu.Lock()
	var burstable int64
	for _, pod := range p.pods {
		if qos.Class(pod) == v1.PodQOSBurstable {
			requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
			burstable += requests.Cpu().MilliValue()
		}
	}
	p.mu.Unlock()
	if err := p.c.Hierarchy.Apply(p.class(v1.PodQOSBestEffort), Limits{CPUShares: qos.Shares(0)}); err != nil {
		return err
	}
	return p.c.Hierarchy.Apply(p.class(v1.PodQOSBurstable), Limits{CPUShares: qos.Shares(burstable)})
}
