package dynamicresources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

var (
	errDeviceTimeout = errors.New("device binding timeout")
	errDeviceFailed  = errors.New("device binding failed")
)

var _ fwk.ScoreExtensions = &DynamicResources{}

// prepared tells whether all conditions that the claim's devices set for a pod's binding are met. An error means that
// one of them never will be.
func prepared(claim *resourcev1.ResourceClaim) (bool, error) {
	results := claim.Status.Allocation.Devices.Results
	for i := range results {
		if len(results[i].BindingConditions) == 0 {
			continue
		}
		status := statusOf(claim, &results[i])
		if status == nil {
			return false, nil
		}
		for _, name := range results[i].BindingFailureConditions {
			if failed := meta.FindStatusCondition(status.Conditions, name); failed != nil && meta.IsStatusConditionTrue(status.Conditions, name) {
				return false, fmt.Errorf("%w: claim=%s, reason=%s, message=%q", errDeviceFailed, claim.Name, failed.Reason, failed.Message)
			}
		}
		for _, name := range results[i].BindingConditions {
			if !meta.IsStatusConditionTrue(status.Conditions, name) {
				return false, nil
			}
		}
	}
	return true, nil
}

func statusOf(claim *resourcev1.ResourceClaim, result *resourcev1.DeviceRequestAllocationResult) *resourcev1.AllocatedDeviceStatus {
	i := slices.IndexFunc(claim.Status.Devices, func(s resourcev1.AllocatedDeviceStatus) bool {
		return s.Driver == result.Driver && s.Pool == result.Pool && s.Device == result.Device
	})
	if i < 0 {
		return nil
	}
	return &claim.Status.Devices[i]
}

// conditional tells whether some device sets conditions for binding.
func conditional(claim *resourcev1.ResourceClaim) bool {
	return claim.Status.Allocation != nil && slices.ContainsFunc(claim.Status.Allocation.Devices.Results,
		func(r resourcev1.DeviceRequestAllocationResult) bool { return len(r.BindingConditions) > 0 })
}

// overdue tells whether conditions for binding have been awaited for too long since the allocation.
func (p *DynamicResources) overdue(claim *resourcev1.ResourceClaim) bool {
	since := claim.Status.Allocation.AllocationTimestamp
	return since != nil && conditional(claim) && time.Since(since.Time) > p.bindingTimeout
}

// awaitDevices returns once all devices that have to be made ready for the node are.
func (p *DynamicResources) awaitDevices(ctx context.Context, own *podState, pod *v1.Pod, node string) error {
	if !slices.ContainsFunc(own.claims, func(c *podClaim) bool { return conditional(c.claim) }) {
		return nil
	}
	p.handle.EventRecorder().WithLogger(klog.FromContext(ctx)).Eventf(pod, nil, v1.EventTypeNormal, "BindingConditionsPending", "Scheduling",
		"waiting for binding conditions for device on node %s", node)
	ctx, cancel := context.WithTimeout(ctx, p.bindingTimeout)
	defer cancel()
	for {
		changed := p.dra.Changed()
		ready, err := p.allPrepared(own)
		if err != nil || ready {
			return err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return errDeviceTimeout
			}
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

func (p *DynamicResources) allPrepared(own *podState) (bool, error) {
	for _, c := range own.claims {
		if c.claim.Status.Allocation == nil {
			continue
		}
		newest, err := p.dra.ResourceClaims().Get(c.claim.Namespace, c.claim.Name)
		if err != nil {
			return false, err
		}
		c.claim = newest
		if newest.Status.Allocation == nil {
			return false, fmt.Errorf("claim %s got deallocated elsewhere in the meantime", klog.KObj(newest))
		}
		ready, err := prepared(newest)
		switch {
		case err != nil:
			return false, err
		case !ready && p.overdue(newest):
			return false, fmt.Errorf("%w: claim=%s", errDeviceTimeout, newest.Name)
		case !ready:
			return false, nil
		}
	}
	return true, nil
}
