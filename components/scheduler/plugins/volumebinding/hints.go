package volumebinding

import (
	"context"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/podclaims"
)

// EventsToRegister waits for claims, volumes, classes, nodes and storage that come or change.
func (*VolumeBinding) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	const addOrUpdate = fwk.Add | fwk.Update
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.StorageClass, addOrUpdate), QueueingHintFn: classChanged},
		{Event: clusterevent.Event(fwk.PersistentVolumeClaim, addOrUpdate), QueueingHintFn: claimChanged},
		{Event: clusterevent.Event(fwk.PersistentVolume, addOrUpdate)},
		{Event: clusterevent.Event(fwk.Node, fwk.Add|fwk.UpdateNodeLabel)},
		{Event: clusterevent.Event(fwk.CSIDriver, fwk.Update), QueueingHintFn: driverChanged},
		{Event: clusterevent.Event(fwk.CSIStorageCapacity, addOrUpdate), QueueingHintFn: capacityChanged},
	}, nil
}

func classChanged(_ klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*storagev1.StorageClass](older, newer)
	if err != nil || was == nil || !equality.Semantic.DeepEqual(was.AllowedTopologies, is.AllowedTopologies) {
		return fwk.Queue, err
	}
	return fwk.QueueSkip, nil
}

func claimChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	_, claim, err := clusterevent.Objects[*v1.PersistentVolumeClaim](older, newer)
	if err != nil || podclaims.Uses(pod, claim) {
		return fwk.Queue, err
	}
	return fwk.QueueSkip, nil
}

// driverChanged: a driver that stops reporting its capacity is trusted from then on.
func driverChanged(_ klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*storagev1.CSIDriver](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	reports := func(driver *storagev1.CSIDriver) bool {
		return driver.Spec.StorageCapacity != nil && *driver.Spec.StorageCapacity
	}
	if reports(was) && !reports(is) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

func capacityChanged(_ klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*storagev1.CSIStorageCapacity](older, newer)
	if err != nil || was == nil {
		return fwk.Queue, err
	}
	before, after := largest(was), largest(is)
	if after != nil && (before == nil || after.Cmp(*before) > 0) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}
