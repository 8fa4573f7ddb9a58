package dynamicresources

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	claimrules "k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// PreBindPreFlight passes for pods without claims.
func (p *DynamicResources) PreBindPreFlight(_ context.Context, state fwk.CycleState, _ *v1.Pod, _ string) (*fwk.PreBindPreFlightResult, *fwk.Status) {
	result := &fwk.PreBindPreFlightResult{AllowParallel: true}
	if stateOf(state) == nil {
		return result, fwk.NewStatus(fwk.Skip)
	}
	return result, nil
}

// PreBind writes allocations and reservations, then waits for devices that have to be made ready for the node.
func (p *DynamicResources) PreBind(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) *fwk.Status {
	own := stateOf(state)
	if own == nil {
		return nil
	}
	plan := own.plan(node)
	for _, c := range own.claims {
		if c.special && (plan == nil || plan.special == nil) || claimrules.IsReservedForPod(pod, c.claim, false) {
			continue
		}
		if c.special && inMemory(c.claim) {
			created, err := p.createSpecial(ctx, plan.special)
			if err != nil {
				return fwk.AsStatus(err)
			}
			// Unreserve is to know of it from now on.
			c.claim = created
		}
		written, err := p.write(ctx, c, pod)
		if err != nil {
			return fwk.AsStatus(err)
		}
		c.claim = written
		if c.special {
			if err := p.recordSpecial(ctx, pod, written, plan.mappings); err != nil {
				return fwk.AsStatus(err)
			}
		}
	}
	if err := p.awaitDevices(ctx, own, pod, node); err != nil {
		return fwk.AsStatus(err)
	}
	for _, c := range own.claims {
		if c.allocation != nil {
			// Written and taken in: nobody needs the promise any more.
			p.dra.ResourceClaims().MaybeRemoveClaimPendingAllocation(c.promised, true)
		}
	}
	return nil
}

// write puts allocation (if Reserve promised one) and reservation into the claim, in its newest state if it has changed.
func (p *DynamicResources) write(ctx context.Context, c *podClaim, pod *v1.Pod) (*resourcev1.ResourceClaim, error) {
	client := p.client.ResourceV1().ResourceClaims(c.claim.Namespace)
	claim, first := c.claim.DeepCopy(), true
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if !first {
			newest, err := client.Get(ctx, claim.Name, metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("get updated claim %s after conflict: %w", klog.KObj(claim), err)
			}
			claim = newest
		}
		first = false
		if claim.DeletionTimestamp != nil {
			return fmt.Errorf("claim %s got deleted in the meantime", klog.KObj(claim))
		}
		what := "reservation"
		if c.allocation != nil {
			what = "allocation and reservation"
			if claim.Status.Allocation != nil {
				return fmt.Errorf("claim %s got allocated elsewhere in the meantime", klog.KObj(claim))
			}
			if !slices.Contains(claim.Finalizers, resourcev1.Finalizer) {
				claim.Finalizers = append(claim.Finalizers, resourcev1.Finalizer)
				marked, err := client.Update(ctx, claim, metav1.UpdateOptions{})
				if err != nil {
					return fmt.Errorf("add finalizer to claim %s: %w", klog.KObj(claim), err)
				}
				claim = marked
			}
			claim.Status.Allocation = c.allocation.DeepCopy()
		}
		if claim.Status.Allocation == nil {
			return fmt.Errorf("claim %s got deallocated elsewhere in the meantime", klog.KObj(claim))
		}
		if claim.Status.Allocation.AllocationTimestamp == nil {
			now := metav1.Now()
			claim.Status.Allocation.AllocationTimestamp = &now
		}
		claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
		written, err := client.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("add %s to claim %s: %w", what, klog.KObj(claim), err)
		}
		claim = written
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := p.dra.ResourceClaims().AssumeClaimAfterAPICall(claim); err != nil {
		// Somebody has written a later state already, which is known.
		klog.FromContext(ctx).V(5).Info("Claim not assumed", "claim", klog.KObj(claim), "err", err)
	}
	return claim, nil
}
