package podtopologyspread

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
)

// EventsToRegister waits for the skew to change: pods or nodes that come, go or change labels.
func (p *PodTopologySpread) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.AssignedPod, fwk.Add|fwk.UpdatePodLabel|fwk.Delete), QueueingHintFn: p.podChanged},
		{Event: clusterevent.Event(fwk.TargetPod, fwk.UpdatePodToleration|fwk.UpdatePodLabel), QueueingHintFn: p.selfChanged},
		{Event: clusterevent.Event(fwk.Node, fwk.Add|fwk.Delete|fwk.UpdateNodeLabel|fwk.UpdateNodeTaint), QueueingHintFn: p.nodeChanged},
	}, nil
}

func hint(queue bool) (fwk.QueueingHint, error) {
	if queue {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

func (p *PodTopologySpread) podChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Pod](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	for _, other := range [...]*v1.Pod{was, is} {
		if other != nil && (other.Namespace != pod.Namespace || other.Spec.NodeName == "" && other.Status.NominatedNodeName == "") {
			return fwk.QueueSkip, nil
		}
	}
	constraints, err := p.constraintsOf(pod, v1.DoNotSchedule)
	if err != nil {
		return fwk.Queue, err
	}
	if was != nil && is != nil {
		return hint(relabelled(constraints, was, is))
	}
	if is == nil {
		is = was
	}
	for i := range constraints {
		if constraints[i].selector.Matches(labels.Set(is.Labels)) {
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}

// relabelled says whether the change makes the pod match, or no longer match, some constraint.
func relabelled(constraints []constraint, was, is *v1.Pod) bool {
	for i := range constraints {
		selector := constraints[i].selector
		if selector.Matches(labels.Set(was.Labels)) != selector.Matches(labels.Set(is.Labels)) {
			return true
		}
	}
	return false
}

func (p *PodTopologySpread) selfChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Pod](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	constraints, err := p.constraintsOf(pod, v1.DoNotSchedule)
	if err != nil {
		return fwk.Queue, err
	}
	if !equality.Semantic.DeepEqual(was.Spec.Tolerations, is.Spec.Tolerations) {
		for i := range constraints {
			if constraints[i].taints == v1.NodeInclusionPolicyHonor {
				return fwk.Queue, nil
			}
		}
	}
	return hint(relabelled(constraints, was, is))
}

func (p *PodTopologySpread) nodeChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Node](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	constraints, err := p.constraintsOf(pod, v1.DoNotSchedule)
	if err != nil {
		return fwk.Queue, err
	}
	counted := func(node *v1.Node) bool { return node != nil && hasAll(constraints, node.Labels) }
	if !counted(was) || !counted(is) {
		return hint(counted(was) || counted(is))
	}
	for i := range constraints {
		if was.Labels[constraints[i].key] != is.Labels[constraints[i].key] {
			return fwk.Queue, nil
		}
	}
	return hint(!equality.Semantic.DeepEqual(was.Spec.Taints, is.Spec.Taints))
}
