// Package nodeports is the NodePorts plugin: two pods cannot hold the same host port of a node.
package nodeports

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/equivalence"
	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// Name of the plugin.
const Name = "NodePorts"

// Reason given for a rejected node.
const Reason = "node(s) didn't have free ports for the requested pod ports"

const stateKey fwk.StateKey = "PreFilter" + Name

// NodePorts filters by host ports.
type NodePorts struct{}

var (
	_ fwk.PreFilterPlugin   = NodePorts{}
	_ fwk.FilterPlugin      = NodePorts{}
	_ fwk.EnqueueExtensions = NodePorts{}
)

// New makes the plugin.
func New(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) { return NodePorts{}, nil }

// Name returns the plugin's name.
func (NodePorts) Name() string { return Name }

// Covers says that a class tells the plugin all about a pod.
func (NodePorts) Covers(*v1.Pod) bool { return true }

// Scale says that it does not score.
func (NodePorts) Scale() equivalence.Scale { return equivalence.AsIs }

type wantedPorts []v1.ContainerPort

// Clone returns the value itself: it does not change.
func (w wantedPorts) Clone() fwk.StateData { return w }

// PreFilter collects the ports that the pod wants.
func (NodePorts) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	ports := nodeinfo.HostPorts(pod)
	if len(ports) == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	state.Write(stateKey, wantedPorts(ports))
	return nil, nil
}

// PreFilterExtensions is nil: Filter reads the node's pods itself.
func (NodePorts) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter rejects nodes where a wanted port is taken.
func (NodePorts) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	data, err := state.Read(stateKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	if conflict(data.(wantedPorts), node.GetUsedPorts()) {
		return fwk.NewStatus(fwk.Unschedulable, Reason)
	}
	return nil
}

func conflict(wanted []v1.ContainerPort, used fwk.HostPortInfo) bool {
	for i := range wanted {
		if used.CheckConflict(wanted[i].HostIP, string(wanted[i].Protocol), wanted[i].HostPort) {
			return true
		}
	}
	return false
}

// EventsToRegister waits for a port to become free or a node to come.
func (NodePorts) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.AssignedPod, fwk.Delete), QueueingHintFn: podDeleted},
		{Event: clusterevent.Event(fwk.Node, fwk.Add)},
	}, nil
}

func podDeleted(_ klog.Logger, pod *v1.Pod, older, _ any) (fwk.QueueingHint, error) {
	gone, _, err := clusterevent.Objects[*v1.Pod](older, nil)
	if err != nil {
		return fwk.Queue, err
	}
	if gone.Spec.NodeName == "" && gone.Status.NominatedNodeName == "" {
		return fwk.QueueSkip, nil
	}
	freed := fwk.HostPortInfo{}
	for _, port := range nodeinfo.HostPorts(gone) {
		freed.Add(port.HostIP, string(port.Protocol), port.HostPort)
	}
	if conflict(nodeinfo.HostPorts(pod), freed) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}
