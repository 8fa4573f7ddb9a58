// Package allocation keeps what this node has promised to pods beside what they ask
// for and what they were given: the three differ while a pod is resized in place.
// See https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/.
package allocation

import (
	"encoding/json"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Resources are the resources of a pod and of its containers, by name.
type Resources struct {
	Pod        *v1.ResourceRequirements           `json:"pod,omitempty"`
	Containers map[string]v1.ResourceRequirements `json:"containers"`
}

// Of are the resources that a pod's spec names.
func Of(pod *v1.Pod) Resources {
	out := Resources{Pod: pod.Spec.Resources.DeepCopy(), Containers: map[string]v1.ResourceRequirements{}}
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			out.Containers[list[i].Name] = *list[i].Resources.DeepCopy()
		}
	}
	return out
}

// Equal compares amounts, however they are written.
func (r Resources) Equal(other Resources) bool { return equality.Semantic.DeepEqual(r, other) }

// Apply is the pod with these resources in place of those that its spec names.
func (r Resources) Apply(pod *v1.Pod) *v1.Pod {
	if r.Equal(Of(pod)) {
		return pod
	}
	pod = pod.DeepCopy()
	pod.Spec.Resources = r.Pod.DeepCopy()
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if own, ok := r.Containers[list[i].Name]; ok {
				list[i].Resources = *own.DeepCopy()
			}
		}
	}
	return pod
}

// Amounts are what a running container can be resized by: thousandths of a CPU, and bytes.
type Amounts struct {
	CPURequest    int64 `json:"cpuRequest"`
	CPULimit      int64 `json:"cpuLimit"`
	MemoryRequest int64 `json:"memoryRequest"`
	MemoryLimit   int64 `json:"memoryLimit"`
}

// AmountsOf are those of one container. One without a limit of its own has the pod's.
func AmountsOf(pod *v1.Pod, c *v1.Container) Amounts {
	out := Amounts{
		CPURequest: c.Resources.Requests.Cpu().MilliValue(), CPULimit: c.Resources.Limits.Cpu().MilliValue(),
		MemoryRequest: c.Resources.Requests.Memory().Value(), MemoryLimit: c.Resources.Limits.Memory().Value(),
	}
	if whole := pod.Spec.Resources; whole != nil {
		if out.CPULimit == 0 {
			out.CPULimit = whole.Limits.Cpu().MilliValue()
		}
		if out.MemoryLimit == 0 {
			out.MemoryLimit = whole.Limits.Memory().Value()
		}
	}
	return out
}

// NeedsRestart says whether a container must be restarted to get from one set of
// amounts to another.
func NeedsRestart(c *v1.Container, from, to Amounts) bool {
	for _, policy := range c.ResizePolicy {
		if policy.RestartPolicy != v1.RestartContainer {
			continue
		}
		switch policy.ResourceName {
		case v1.ResourceCPU:
			if from.CPURequest != to.CPURequest || from.CPULimit != to.CPULimit {
				return true
			}
		case v1.ResourceMemory:
			if from.MemoryRequest != to.MemoryRequest || from.MemoryLimit != to.MemoryLimit {
				return true
			}
		}
	}
	return false
}

// Grows says whether a resize from one pod to the other asks for more than before.
func Grows(from, to v1.ResourceList) bool {
	return to.Cpu().Cmp(*from.Cpu()) > 0 || to.Memory().Cmp(*from.Memory()) > 0
}

// Summary is what events say of a resize.
func Summary(what string, pod *v1.Pod, generation int64, problem string) string {
	type container struct {
		Name      string                  `json:"name"`
		Resources v1.ResourceRequirements `json:"resources"`
	}
	said := struct {
		InitContainers []container `json:"initContainers,omitempty"`
		Containers     []container `json:"containers,omitempty"`
		Generation     int64       `json:"generation"`
		Error          string      `json:"error,omitempty"`
	}{Generation: generation, Error: problem}
	for _, c := range pod.Spec.InitContainers {
		said.InitContainers = append(said.InitContainers, container{c.Name, c.Resources})
	}
	for _, c := range pod.Spec.Containers {
		said.Containers = append(said.Containers, container{c.Name, c.Resources})
	}
	raw, err := json.Marshal(said)
	if err != nil {
		return what
	}
	return fmt.Sprintf("%s: %s", what, raw)
}
