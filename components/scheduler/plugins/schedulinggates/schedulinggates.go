// Package schedulinggates is the SchedulingGates plugin: a pod with gates is not considered until all are gone.
// https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/
package schedulinggates

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
)

// Name of the plugin.
const Name = "SchedulingGates"

// SchedulingGates holds back gated pods.
type SchedulingGates struct{}

var (
	_ fwk.PreEnqueuePlugin  = SchedulingGates{}
	_ fwk.EnqueueExtensions = SchedulingGates{}
)

// New makes the plugin.
func New(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
	return SchedulingGates{}, nil
}

// Name returns the plugin's name.
func (SchedulingGates) Name() string { return Name }

// PreEnqueue admits pods without gates.
func (SchedulingGates) PreEnqueue(_ context.Context, pod *v1.Pod) *fwk.Status {
	var gates []string
	for i := range pod.Spec.SchedulingGates {
		gates = append(gates, pod.Spec.SchedulingGates[i].Name)
	}
	if gates == nil {
		return nil
	}
	return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf("waiting for scheduling gates: %v", gates))
}

// EventsToRegister waits for the last gate to go.
func (SchedulingGates) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{{Event: clusterevent.Event(fwk.TargetPod, fwk.UpdatePodSchedulingGatesEliminated)}}, nil
}
