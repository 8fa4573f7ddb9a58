package hollow

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// amounts are the resources that a kubelet looks at before it lets a pod in.
type amounts struct{ milliCPU, memory, pods int64 }

func amountsOf(list corev1.ResourceList) amounts {
	return amounts{milliCPU: list.Cpu().MilliValue(), memory: list.Memory().Value(), pods: list.Pods().Value()}
}

func requestsOf(pod *corev1.Pod) amounts {
	a := amountsOf(resource.PodRequests(pod, resource.PodResourcesOptions{}))
	a.pods = 1
	return a
}

func (a *amounts) add(b amounts) {
	a.milliCPU += b.milliCPU
	a.memory += b.memory
	a.pods += b.pods
}

func (a *amounts) subtract(b amounts) {
	a.milliCPU -= b.milliCPU
	a.memory -= b.memory
	a.pods -= b.pods
}

// hold tells whether there is room for more. What is not asked for is not short.
func (a amounts) hold(used, more amounts) bool {
	resource, _ := a.shortage(used, more)
	return resource == ""
}

// shortage names the first resource that is short, and says so as a kubelet does.
func (a amounts) shortage(used, more amounts) (name, message string) {
	for _, r := range []struct {
		name                 string
		capacity, used, more int64
	}{
		{"pods", a.pods, used.pods, more.pods},
		{"cpu", a.milliCPU, used.milliCPU, more.milliCPU},
		{"memory", a.memory, used.memory, more.memory},
	} {
		if r.more > 0 && r.used+r.more > r.capacity {
			return r.name, fmt.Sprintf("Pod was rejected: Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", r.name, r.more, r.used, r.capacity)
		}
	}
	return "", ""
}
