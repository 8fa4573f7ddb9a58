// Package tainttoleration is the TaintToleration plugin: it keeps pods off nodes with taints they do not tolerate and
// prefers nodes with fewer taints of effect PreferNoSchedule that they do not tolerate.
// https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
package tainttoleration

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/equivalence"
	"github.com/plumbline/plumbline/components/scheduler/plugins/normalize"
)

// Name of the plugin.
const Name = "TaintToleration"

// Reason given for a rejected node.
const Reason = "node(s) had untolerated taint(s)"

const stateKey fwk.StateKey = "PreScore" + Name

// TaintToleration filters and scores by taints.
type TaintToleration struct{}

var (
	_ fwk.FilterPlugin      = TaintToleration{}
	_ fwk.PreScorePlugin    = TaintToleration{}
	_ fwk.ScorePlugin       = TaintToleration{}
	_ fwk.EnqueueExtensions = TaintToleration{}
)

// New makes the plugin.
func New(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
	return TaintToleration{}, nil
}

// Name returns the plugin's name.
func (TaintToleration) Name() string { return Name }

// Covers says that a class tells the plugin all about a pod.
func (TaintToleration) Covers(*v1.Pod) bool { return true }

// Scale says that the fewest taints score highest.
func (TaintToleration) Scale() equivalence.Scale { return equivalence.FromHighest }

// Filter rejects nodes with an untolerated taint of effect NoSchedule or NoExecute.
func (TaintToleration) Filter(ctx context.Context, _ fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	if !Fits(klog.FromContext(ctx), pod, node.Node()) {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, Reason)
	}
	return nil
}

// Fits says whether the pod tolerates all taints of the node that keep pods off.
func Fits(logger klog.Logger, pod *v1.Pod, node *v1.Node) bool {
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		hard := taint.Effect == v1.TaintEffectNoSchedule || taint.Effect == v1.TaintEffectNoExecute
		if hard && !corev1helpers.TolerationsTolerateTaint(logger, pod.Spec.Tolerations, taint, false) {
			return false
		}
	}
	return true
}

// softTolerations are the pod's tolerations that apply to PreferNoSchedule.
type softTolerations []v1.Toleration

// Clone returns the value itself: it does not change.
func (s softTolerations) Clone() fwk.StateData { return s }

// PreScore picks the tolerations that matter.
func (TaintToleration) PreScore(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	var soft softTolerations
	for _, toleration := range pod.Spec.Tolerations {
		if toleration.Effect == "" || toleration.Effect == v1.TaintEffectPreferNoSchedule {
			soft = append(soft, toleration)
		}
	}
	state.Write(stateKey, soft)
	return nil
}

// Score counts untolerated soft taints.
func (TaintToleration) Score(ctx context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	data, err := state.Read(stateKey)
	if err != nil {
		return 0, fwk.AsStatus(err)
	}
	logger, soft := klog.FromContext(ctx), data.(softTolerations)
	var count int64
	for i := range node.Node().Spec.Taints {
		taint := &node.Node().Spec.Taints[i]
		if taint.Effect == v1.TaintEffectPreferNoSchedule && !corev1helpers.TolerationsTolerateTaint(logger, soft, taint, false) {
			count++
		}
	}
	return count, nil
}

// ScoreExtensions returns the plugin, which normalises.
func (t TaintToleration) ScoreExtensions() fwk.ScoreExtensions { return t }

// NormalizeScore gives the fewest taints the highest score.
func (TaintToleration) NormalizeScore(_ context.Context, _ fwk.CycleState, _ *v1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	normalize.ToMax(scores, true)
	return nil
}

// EventsToRegister waits for tolerable nodes and new tolerations.
func (TaintToleration) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.Node, fwk.Add|fwk.UpdateNodeTaint), QueueingHintFn: nodeChanged},
		{Event: clusterevent.Event(fwk.TargetPod, fwk.UpdatePodToleration)},
	}, nil
}

func nodeChanged(logger klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Node](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	if Fits(logger, pod, is) && (was == nil || !Fits(logger, pod, was)) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}
