package dra

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/structured"
)

// ledger is what claims hold: whole devices, and shares of devices with the capacity that they consume.
type ledger struct {
	whole    sets.Set[structured.DeviceID]
	shares   sets.Set[structured.SharedDeviceID]
	capacity structured.ConsumedCapacityCollection
}

func newLedger() *ledger {
	return &ledger{whole: sets.New[structured.DeviceID](), shares: sets.New[structured.SharedDeviceID](), capacity: structured.NewConsumedCapacityCollection()}
}

func (l *ledger) clone() *ledger {
	return &ledger{whole: l.whole.Clone(), shares: l.shares.Clone(), capacity: l.capacity.Clone()}
}

// take enters what the claim holds, if it is allocated.
func (l *ledger) take(claim *resourcev1.ResourceClaim) {
	each(claim, func(device structured.DeviceID, result *resourcev1.DeviceRequestAllocationResult) {
		if result.ShareID == nil {
			l.whole.Insert(device)
			return
		}
		l.shares.Insert(structured.MakeSharedDeviceID(device, result.ShareID))
		if result.ConsumedCapacity != nil {
			l.capacity.Insert(structured.NewDeviceConsumedCapacity(device, result.ConsumedCapacity))
		}
	})
}

// release strikes out what the claim held.
func (l *ledger) release(claim *resourcev1.ResourceClaim) {
	each(claim, func(device structured.DeviceID, result *resourcev1.DeviceRequestAllocationResult) {
		if result.ShareID == nil {
			l.whole.Delete(device)
			return
		}
		l.shares.Delete(structured.MakeSharedDeviceID(device, result.ShareID))
		if result.ConsumedCapacity != nil {
			l.capacity.Remove(structured.NewDeviceConsumedCapacity(device, result.ConsumedCapacity))
		}
	})
}

// each visits the devices that the claim keeps from others; access for administrators does not.
func each(claim *resourcev1.ResourceClaim, visit func(structured.DeviceID, *resourcev1.DeviceRequestAllocationResult)) {
	if claim == nil || claim.Status.Allocation == nil {
		return
	}
	results := claim.Status.Allocation.Devices.Results
	for i := range results {
		if admin := results[i].AdminAccess; admin == nil || !*admin {
			visit(structured.MakeDeviceID(results[i].Driver, results[i].Pool, results[i].Device), &results[i])
		}
	}
}
