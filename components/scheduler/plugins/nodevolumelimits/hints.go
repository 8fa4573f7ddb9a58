package nodevolumelimits

import (
	"context"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/podclaims"
)

// EventsToRegister waits for drivers with more room, pods and attachments that go, and claims that are made.
func (*NodeVolumeLimits) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.CSINode, fwk.Add)},
		{Event: clusterevent.Event(fwk.CSINode, fwk.Update), QueueingHintFn: limitChanged},
		{Event: clusterevent.Event(fwk.AssignedPod, fwk.Delete), QueueingHintFn: podDeleted},
		{Event: clusterevent.Event(fwk.PersistentVolumeClaim, fwk.Add), QueueingHintFn: claimAdded},
		{Event: clusterevent.Event(fwk.VolumeAttachment, fwk.Delete), QueueingHintFn: detached},
	}, nil
}

func limitChanged(_ klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*storagev1.CSINode](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	before := limitsOf(was)
	for driver, limit := range limitsOf(is) {
		if limit > before[driver] {
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}

func podDeleted(_ klog.Logger, _ *v1.Pod, older, _ any) (fwk.QueueingHint, error) {
	gone, _, err := clusterevent.Objects[*v1.Pod](older, nil)
	if err != nil {
		return fwk.Queue, err
	}
	placed := gone.Spec.NodeName != "" || gone.Status.NominatedNodeName != ""
	if placed && len(podclaims.Of(gone)) > 0 {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

func claimAdded(_ klog.Logger, pod *v1.Pod, _, newer any) (fwk.QueueingHint, error) {
	_, claim, err := clusterevent.Objects[*v1.PersistentVolumeClaim](nil, newer)
	if err != nil || podclaims.Uses(pod, claim) {
		return fwk.Queue, err
	}
	return fwk.QueueSkip, nil
}

func detached(_ klog.Logger, pod *v1.Pod, _, _ any) (fwk.QueueingHint, error) {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].PersistentVolumeClaim != nil {
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}
