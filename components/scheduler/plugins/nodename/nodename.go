// Package nodename is the NodeName plugin: a pod that names its node fits no other.
package nodename

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/equivalence"
)

// Name of the plugin.
const Name = "NodeName"

// Reason given for a rejected node.
const Reason = "node(s) didn't match the requested node name"

// NodeName filters by spec.nodeName.
type NodeName struct{}

var (
	_ fwk.PreFilterPlugin   = NodeName{}
	_ fwk.FilterPlugin      = NodeName{}
	_ fwk.EnqueueExtensions = NodeName{}
)

// New makes the plugin.
func New(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) { return NodeName{}, nil }

// Name returns the plugin's name.
func (NodeName) Name() string { return Name }

// Covers says that a class tells the plugin all about a pod.
func (NodeName) Covers(*v1.Pod) bool { return true }

// Scale says that it does not score.
func (NodeName) Scale() equivalence.Scale { return equivalence.AsIs }

// EventsToRegister waits for the node to appear.
func (NodeName) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add}}}, nil
}

// PreFilter narrows the search to the named node.
func (NodeName) PreFilter(_ context.Context, _ fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	if pod.Spec.NodeName == "" {
		return nil, nil
	}
	return &fwk.PreFilterResult{NodeNames: sets.New(pod.Spec.NodeName)}, nil
}

// PreFilterExtensions is nil: other pods do not matter.
func (NodeName) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter rejects every other node.
func (NodeName) Filter(_ context.Context, _ fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	if wanted := pod.Spec.NodeName; wanted != "" && wanted != node.Node().Name {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, Reason)
	}
	return nil
}
