package dynamicresources

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	claimrules "k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// Reserve promises what Filter planned for the node, so that no later cycle gives the same devices away.
func (p *DynamicResources) Reserve(_ context.Context, state fwk.CycleState, _ *v1.Pod, node string) *fwk.Status {
	own := stateOf(state)
	if own == nil || own.allocator == nil {
		return nil
	}
	plan := own.plan(node)
	if plan == nil {
		return fwk.AsStatus(errors.New("claim allocation not found for node"))
	}
	for i, c := range own.allocatedBy(plan) {
		allocated := c.claim
		if c.special {
			allocated = plan.special
		}
		allocated = allocated.DeepCopy()
		if !slices.Contains(allocated.Finalizers, resourcev1.Finalizer) {
			allocated.Finalizers = append(allocated.Finalizers, resourcev1.Finalizer)
		}
		allocated.Status.Allocation = &plan.allocations[i]
		if err := p.dra.ResourceClaims().SignalClaimPendingAllocation(c.promised, allocated); err != nil {
			return fwk.AsStatus(fmt.Errorf("internal error, couldn't signal allocation for claim %s: %w", c.claim.Name, err))
		}
		c.allocation = &plan.allocations[i]
	}
	return nil
}

// Unreserve takes back what was promised and what was written: the pod's reservations, and the claim for extended
// resources. An allocation that was written stays; PostFilter frees it if it stands in the way.
func (p *DynamicResources) Unreserve(ctx context.Context, state fwk.CycleState, pod *v1.Pod, _ string) {
	own := stateOf(state)
	if own == nil {
		return
	}
	logger := klog.FromContext(ctx)
	for _, c := range own.claims {
		if c.allocation != nil && p.dra.ResourceClaims().MaybeRemoveClaimPendingAllocation(c.promised, false) {
			p.dra.ResourceClaims().AssumedClaimRestore(c.claim.Namespace, c.claim.Name)
		}
		c.allocation = nil
		switch {
		case c.special && !inMemory(c.claim):
			if err := p.deleteSpecial(ctx, c.claim); err != nil {
				logger.Error(err, "The claim for a pod's extended resources could not be deleted", "pod", klog.KObj(pod), "claim", klog.KObj(c.claim))
			}
		case c.claim.Status.Allocation != nil && claimrules.IsReservedForPod(pod, c.claim, false):
			// A patch takes one entry away whatever else has changed.
			patch := fmt.Sprintf(`{"metadata":{"uid":%q},"status":{"reservedFor":[{"$patch":"delete","uid":%q}]}}`, c.claim.UID, pod.UID)
			_, err := p.client.ResourceV1().ResourceClaims(c.claim.Namespace).Patch(ctx, c.claim.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
			if err != nil {
				logger.Error(err, "A claim's reservation could not be removed", "pod", klog.KObj(pod), "claim", klog.KObj(c.claim))
			}
		}
	}
}

// deallocate frees the claim's devices.
func (p *DynamicResources) deallocate(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	freed := claim.DeepCopy()
	freed.Status.ReservedFor, freed.Status.Allocation, freed.Status.Devices = nil, nil, nil
	_, err := p.client.ResourceV1().ResourceClaims(claim.Namespace).UpdateStatus(ctx, freed, metav1.UpdateOptions{})
	return err
}
