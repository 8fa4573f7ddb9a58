package dynamicresources

import (
	"context"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
)

// EventsToRegister waits for claims to come, to be allocated or to be freed, for the pod to be told its claims, and for
// classes, devices and nodes.
func (p *DynamicResources) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.Node, fwk.Add|fwk.UpdateNodeLabel|fwk.UpdateNodeAllocatable)},
		{Event: clusterevent.Event(fwk.ResourceClaim, fwk.Add|fwk.Update|fwk.Delete), QueueingHintFn: p.claimChanged},
		{Event: clusterevent.Event(fwk.TargetPod, fwk.UpdatePodGeneratedResourceClaim), QueueingHintFn: p.podChanged},
		{Event: clusterevent.Event(fwk.DeviceClass, fwk.Add|fwk.Update)},
		{Event: clusterevent.Event(fwk.ResourceSlice, fwk.Add|fwk.Update)},
	}, nil
}

func (p *DynamicResources) claimChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*resourcev1.ResourceClaim](older, newer)
	if err != nil || was == nil && is == nil {
		return fwk.Queue, err
	}
	freed := was != nil && was.Status.Allocation != nil && (is == nil || is.Status.Allocation == nil)
	if is == nil {
		return when(freed), nil
	}
	claims, err := p.claimsOf(pod)
	// A pod that still lacks a claim gains nothing, whatever became of this one.
	complete := err == nil
	return when(complete && (freed || uses(claims, is.UID) && (was == nil || !equality.Semantic.DeepEqual(was.Status, is.Status)))), nil
}

// podChanged tells whether all claims are there now that the pod's status names them.
func (p *DynamicResources) podChanged(_ klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	_, is, err := clusterevent.Objects[*v1.Pod](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	_, missing := p.claimsOf(is)
	return when(missing == nil), nil
}

func uses(claims []*resourcev1.ResourceClaim, uid types.UID) bool {
	for _, claim := range claims {
		if claim.UID == uid {
			return true
		}
	}
	return false
}

func when(helps bool) fwk.QueueingHint {
	if helps {
		return fwk.Queue
	}
	return fwk.QueueSkip
}
