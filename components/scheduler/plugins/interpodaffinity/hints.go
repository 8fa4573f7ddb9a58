package interpodaffinity

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
)

// EventsToRegister waits for pods that attract, for pods that repel to go, and for nodes in new domains.
func (p *InterPodAffinity) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.AssignedPod, fwk.Add|fwk.UpdatePodLabel|fwk.Delete), QueueingHintFn: podChanged},
		{Event: clusterevent.Event(fwk.TargetPod, fwk.UpdatePodLabel)},
		{Event: clusterevent.Event(fwk.Node, fwk.Add|fwk.UpdateNodeLabel), QueueingHintFn: nodeChanged},
	}, nil
}

func hint(queue bool) (fwk.QueueingHint, error) {
	if queue {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

func requiredTerms(pod *v1.Pod) (affinity, antiAffinity []fwk.AffinityTerm, err error) {
	if affinity, err = fwk.GetAffinityTerms(pod, fwk.GetPodAffinityTerms(pod.Spec.Affinity)); err != nil {
		return nil, nil, err
	}
	antiAffinity, err = fwk.GetAffinityTerms(pod, fwk.GetPodAntiAffinityTerms(pod.Spec.Affinity))
	return affinity, antiAffinity, err
}

func podChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Pod](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	if nowhere(was) || nowhere(is) {
		return fwk.QueueSkip, nil
	}
	affinity, antiAffinity, err := requiredTerms(pod)
	if err != nil {
		return fwk.Queue, err
	}
	switch {
	case was == nil:
		return hint(matchesAll(affinity, is))
	case is != nil:
		return hint(!matchesAll(affinity, was) && matchesAll(affinity, is) || matchesAny(antiAffinity, was) && !matchesAny(antiAffinity, is))
	case matchesAny(antiAffinity, was):
		return fwk.Queue, nil
	}
	_, theirs, err := requiredTerms(was)
	if err != nil {
		return fwk.Queue, err
	}
	return hint(matchesAny(theirs, pod))
}

// nowhere says that a pod neither has a node nor is about to.
func nowhere(pod *v1.Pod) bool {
	return pod != nil && pod.Spec.NodeName == "" && pod.Status.NominatedNodeName == ""
}

func nodeChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Node](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	affinity, antiAffinity, err := requiredTerms(pod)
	if err != nil {
		return fwk.Queue, err
	}
	for i := range affinity {
		value, has := is.Labels[affinity[i].TopologyKey]
		if !has {
			continue
		}
		if was == nil {
			return fwk.Queue, nil
		}
		if old, had := was.Labels[affinity[i].TopologyKey]; !had || old != value {
			return fwk.Queue, nil
		}
	}
	for i := range antiAffinity {
		if was == nil {
			return fwk.Queue, nil
		}
		old, had := was.Labels[antiAffinity[i].TopologyKey]
		if value, has := is.Labels[antiAffinity[i].TopologyKey]; had && (!has || old != value) {
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}
