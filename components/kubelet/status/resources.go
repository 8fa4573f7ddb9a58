package status

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/plumbline/plumbline/components/kubelet/allocation"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

// containerResources fills in what a container was promised, and what it has.
func (g *generator) containerResources(c *v1.Container, have *runtime.Container, out *v1.ContainerStatus) {
	out.AllocatedResources = c.Resources.Requests.DeepCopy()
	out.Resources = c.Resources.DeepCopy()
	if !have.Running() || g.Actuated == nil {
		return
	}
	given, known := g.Actuated(c.Name)
	promised := allocation.AmountsOf(g.Pod, c)
	if !known || given == promised {
		return
	}
	// What was not asked for is not shown either: it is the pod's, or the kernel's least.
	show := func(list v1.ResourceList, name v1.ResourceName, has, was int64) {
		if _, asked := list[name]; !asked || has == was {
			return
		}
		if name == v1.ResourceCPU {
			list[name] = *resource.NewMilliQuantity(has, resource.DecimalSI)
		} else {
			list[name] = *resource.NewQuantity(has, resource.BinarySI)
		}
	}
	show(out.Resources.Requests, v1.ResourceCPU, given.CPURequest, promised.CPURequest)
	show(out.Resources.Requests, v1.ResourceMemory, given.MemoryRequest, promised.MemoryRequest)
	show(out.Resources.Limits, v1.ResourceCPU, given.CPULimit, promised.CPULimit)
	show(out.Resources.Limits, v1.ResourceMemory, given.MemoryLimit, promised.MemoryLimit)
}

// resources fills in what the pod as a whole was promised and has.
func (g *generator) resources() {
	if terminal(g.out.Phase) {
		g.out.AllocatedResources, g.out.Resources = g.Previous.AllocatedResources, g.Previous.Resources
		return
	}
	// The overhead is no part of it: whoever adds up pods adds that.
	options := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
	g.out.AllocatedResources = resourcehelper.PodRequests(g.Pod, options)
	g.out.Resources = &v1.ResourceRequirements{Requests: g.out.AllocatedResources.DeepCopy(), Limits: resourcehelper.PodLimits(g.Pod, options)}
	for _, c := range g.Resize {
		if c != nil && c.Type == v1.PodResizeInProgress && g.Previous.Resources != nil {
			g.out.Resources = g.Previous.Resources.DeepCopy()
		}
	}
}

// restarting says whether a container was stopped only to be started anew.
func (g *generator) restarting(name string) bool {
	newest := g.State.Container(name)
	return newest != nil && newest.Exited() && g.Restarting != nil && g.Restarting(newest.Id)
}
