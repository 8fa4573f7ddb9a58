// Package nodeunschedulable is the NodeUnschedulable plugin: cordoned nodes take only pods that tolerate it.
// https://kubernetes.io/docs/concepts/architecture/nodes/#manual-node-administration
package nodeunschedulable

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/equivalence"
)

// Name of the plugin.
const Name = "NodeUnschedulable"

// Reason given for a rejected node.
const Reason = "node(s) were unschedulable"

// NodeUnschedulable filters by the node's spec.unschedulable.
type NodeUnschedulable struct{}

var (
	_ fwk.FilterPlugin      = NodeUnschedulable{}
	_ fwk.EnqueueExtensions = NodeUnschedulable{}
)

// New makes the plugin.
func New(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
	return NodeUnschedulable{}, nil
}

// Name returns the plugin's name.
func (NodeUnschedulable) Name() string { return Name }

// Covers says that a class tells the plugin all about a pod.
func (NodeUnschedulable) Covers(*v1.Pod) bool { return true }

// Scale says that it does not score.
func (NodeUnschedulable) Scale() equivalence.Scale { return equivalence.AsIs }

// Filter rejects cordoned nodes.
func (NodeUnschedulable) Filter(ctx context.Context, _ fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	if node.Node().Spec.Unschedulable && !tolerates(klog.FromContext(ctx), pod) {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, Reason)
	}
	return nil
}

// EventsToRegister waits for a node to come or be uncordoned, or for the pod to become tolerant.
func (NodeUnschedulable) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.Node, fwk.Add|fwk.UpdateNodeTaint), QueueingHintFn: nodeOpened},
		{Event: clusterevent.Event(fwk.TargetPod, fwk.UpdatePodToleration), QueueingHintFn: podTolerates},
	}, nil
}

func nodeOpened(_ klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Node](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	if !is.Spec.Unschedulable && (was == nil || was.Spec.Unschedulable) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

func podTolerates(logger klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	_, is, err := clusterevent.Objects[*v1.Pod](older, newer)
	if err != nil || tolerates(logger, is) {
		return fwk.Queue, err
	}
	return fwk.QueueSkip, nil
}

func tolerates(logger klog.Logger, pod *v1.Pod) bool {
	cordon := v1.Taint{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule}
	return corev1helpers.TolerationsTolerateTaint(logger, pod.Spec.Tolerations, &cordon, false)
}
