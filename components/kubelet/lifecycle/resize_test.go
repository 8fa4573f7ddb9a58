package lifecycle

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/plumbline/plumbline/components/kubelet/allocation"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

func TestNextResizes(t *testing.T) {
	memoryRestarts := []v1.ContainerResizePolicy{
		{ResourceName: v1.ResourceCPU, RestartPolicy: v1.NotRequired}, {ResourceName: v1.ResourceMemory, RestartPolicy: v1.RestartContainer},
	}
	tests := []struct {
		name   string
		policy []v1.ContainerResizePolicy
		has    allocation.Amounts
		want   string
	}{
		{"as promised", memoryRestarts, allocation.Amounts{CPURequest: 100, MemoryRequest: 1 << 20}, ""},
		{"CPU differs", memoryRestarts, allocation.Amounts{CPURequest: 50, MemoryRequest: 1 << 20}, "resize:a"},
		{"memory differs", memoryRestarts, allocation.Amounts{CPURequest: 100, MemoryRequest: 2 << 20}, "stop:a"},
		{"memory differs, no policy", nil, allocation.Amounts{CPURequest: 100, MemoryRequest: 2 << 20}, "resize:a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pod := podOf(v1.RestartPolicyOnFailure)
			a := &pod.Spec.Containers[0]
			a.ResizePolicy = test.policy
			a.Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse("100m"), v1.ResourceMemory: resource.MustParse("1Mi")}
			plan := Next(Input{
				Pod: pod, Now: noon, BackOff: NewBackOff(time.Minute),
				State:  stateOf(pod, true, made{name: "a", state: running}, made{name: "b", state: running}),
				Health: func(*runtime.Container) Health { return Health{Started: true} },
				Actuated: func(name string) (allocation.Amounts, bool) {
					return test.has, name == "a"
				},
			})
			got := describe(plan)
			for _, r := range plan.Resize {
				got = strings.TrimSpace(got + " resize:" + r.Spec.Name)
			}
			if got != test.want {
				t.Errorf("plan %q, want %q", got, test.want)
			}
		})
	}
}

// A container that was stopped to be resized is started again whatever its policy is,
// and without waiting.
func TestStoppedForResizeIsStarted(t *testing.T) {
	pod := podOf(v1.RestartPolicyOnFailure)
	state := stateOf(pod, true, made{name: "a", state: exited, restarts: "2"}, made{name: "b", state: exited})
	backOff := NewBackOff(time.Minute)
	backOff.Grow(BackOffKey(&pod.Spec.Containers[0]), noon)
	resized := func(id string) bool { return id == "a" }
	plan := Next(Input{
		Pod: pod, Now: noon, BackOff: backOff, State: state, Restarting: resized,
		Health: func(*runtime.Container) Health { return Health{Started: true} },
	})
	if got := describe(plan); got != "start:a#3" {
		t.Errorf("plan %q, want start:a#3", got)
	}
	if Finished(pod, state, resized) {
		t.Error("a pod whose container is about to be started again is taken for finished")
	}
}
