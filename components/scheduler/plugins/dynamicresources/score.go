package dynamicresources

import (
	"context"
	"slices"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	claimrules "k8s.io/dynamic-resource-allocation/resourceclaim"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/plugins/normalize"
)

// PreScore passes unless some request names alternatives.
func (p *DynamicResources) PreScore(_ context.Context, state fwk.CycleState, _ *v1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	own := stateOf(state)
	if own == nil || !slices.ContainsFunc(own.claims, func(c *podClaim) bool {
		return slices.ContainsFunc(c.claim.Spec.Devices.Requests, func(r resourcev1.DeviceRequest) bool { return len(r.FirstAvailable) > 0 })
	}) {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// Score prefers nodes that can give the earlier alternatives of requests.
func (p *DynamicResources) Score(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	own := stateOf(state)
	if own == nil {
		return 0, nil
	}
	plan := own.plan(node.Node().Name)
	if plan == nil {
		return 0, nil
	}
	var score int64
	for _, c := range own.claims {
		if c.claim.Status.Allocation != nil {
			score += preference(c.claim, c.claim.Status.Allocation)
		}
	}
	for i, c := range own.allocatedBy(plan) {
		score += preference(c.claim, &plan.allocations[i])
	}
	return score, nil
}

// preference is the higher, the earlier the alternatives are that were allocated.
func preference(claim *resourcev1.ResourceClaim, allocation *resourcev1.AllocationResult) int64 {
	var sum int64
	for i := range claim.Spec.Devices.Requests {
		request := &claim.Spec.Devices.Requests[i]
		for rank := range request.FirstAvailable {
			ref := claimrules.CreateSubRequestRef(request.Name, request.FirstAvailable[rank].Name)
			if slices.ContainsFunc(allocation.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool { return r.Request == ref }) {
				sum += int64(resourcev1.FirstAvailableDeviceRequestMaxSize - rank)
			}
		}
	}
	return sum
}

// ScoreExtensions scales the scores.
func (p *DynamicResources) ScoreExtensions() fwk.ScoreExtensions { return p }

// NormalizeScore makes the best node's score the highest there is.
func (*DynamicResources) NormalizeScore(_ context.Context, _ fwk.CycleState, _ *v1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	normalize.ToMax(scores, false)
	return nil
}
