package dynamicresources

import (
	"context"
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/dynamic-resource-allocation/structured"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// PreFilter looks at the pod's claims and, if any is to be allocated, at what is left of all devices.
func (p *DynamicResources) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	extended := p.extendedRequests(pod)
	if len(pod.Spec.ResourceClaims) == 0 && extended == nil {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	claims, err := p.claimsOf(pod)
	if err != nil {
		return nil, rejected(err.Error())
	}
	own := &podState{extended: extended, nodes: map[string]*nodePlan{}, unavailable: map[*podClaim]bool{}}
	for _, claim := range claims {
		own.claims = append(own.claims, &podClaim{claim: claim, promised: claim.UID})
	}
	if extended != nil {
		special, err := p.specialClaim(pod)
		if err != nil {
			return nil, fwk.AsStatus(err)
		}
		own.claims = append(own.claims, &podClaim{claim: special, promised: special.UID, special: true})
	}
	if len(own.claims) == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	for _, c := range own.claims {
		if status := p.examine(c); !status.IsSuccess() {
			return nil, status
		}
	}
	if len(own.unallocated()) > 0 {
		if own.allocator, err = p.newAllocator(ctx); err != nil {
			return nil, fwk.AsStatus(err)
		}
	}
	state.Write(stateKey, own)
	return nil, nil
}

// examine finds what keeps a claim from being used or allocated anywhere.
func (p *DynamicResources) examine(c *podClaim) *fwk.Status {
	if allocation := c.claim.Status.Allocation; allocation != nil {
		if allocation.NodeSelector != nil {
			where, err := nodeaffinity.NewNodeSelector(allocation.NodeSelector)
			if err != nil {
				return fwk.AsStatus(err)
			}
			c.where = where
		}
		return nil
	}
	if p.dra.ResourceClaims().GetPendingAllocation(c.claim.UID) != nil {
		// Another pod that shares the claim is being bound; its end wakes this one.
		return rejected(fmt.Sprintf("resource claim %s is in the process of being allocated", klog.KObj(c.claim)))
	}
	if c.special {
		return nil
	}
	for i := range c.claim.Spec.Devices.Requests {
		request := &c.claim.Spec.Devices.Requests[i]
		switch {
		case request.Exactly != nil:
			if status := p.classExists(request.Exactly.DeviceClassName, request.Name); !status.IsSuccess() {
				return status
			}
		case len(request.FirstAvailable) > 0:
			for _, alternative := range request.FirstAvailable {
				if status := p.classExists(alternative.DeviceClassName, request.Name+"/"+alternative.Name); !status.IsSuccess() {
					return status
				}
			}
		default:
			return rejected(fmt.Sprintf("resource claim %s, request %s: unknown request type", klog.KObj(c.claim), request.Name))
		}
	}
	return nil
}

func (p *DynamicResources) classExists(class, request string) *fwk.Status {
	if class == "" {
		return fwk.AsStatus(fmt.Errorf("request %s: unsupported request type", request))
	}
	if _, err := p.dra.DeviceClasses().Get(class); apierrors.IsNotFound(err) {
		return rejected(fmt.Sprintf("request %s: device class %s does not exist", request, class))
	}
	return nil
}

func (p *DynamicResources) newAllocator(ctx context.Context) (structured.Allocator, error) {
	held, err := p.dra.ResourceClaims().GatherAllocatedState()
	if err != nil {
		return nil, fmt.Errorf("gather allocation state: %w", err)
	}
	slices, err := p.dra.ResourceSlices().ListWithDeviceTaintRules()
	if err != nil {
		return nil, err
	}
	return structured.NewAllocator(ctx, features, *held, p.dra.DeviceClasses(), slices, p.selectors())
}

// PreFilterExtensions is nil: pods hold devices by claims, not by where they run.
func (*DynamicResources) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter rejects nodes to which an allocated claim does not reach and those on which the others cannot be allocated.
func (p *DynamicResources) Filter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	own := stateOf(state)
	if own == nil {
		return nil
	}
	plan, status := p.planExtended(own, pod, node)
	if !status.IsSuccess() {
		return status
	}
	if unfit := p.unfit(own, node.Node()); len(unfit) > 0 {
		own.mu.Lock()
		defer own.mu.Unlock()
		for _, c := range unfit {
			own.unavailable[c] = true
		}
		return rejected("resourceclaim not available on the node")
	}
	if own.allocator == nil {
		return nil
	}
	if status := p.allocate(ctx, own, plan, node.Node()); !status.IsSuccess() {
		return status
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	own.nodes[node.Node().Name] = plan
	return nil
}

// unfit are the allocated claims that are of no use on the node, or of no use at all: PostFilter may free them.
func (p *DynamicResources) unfit(own *podState, node *v1.Node) []*podClaim {
	var list []*podClaim
	for _, c := range own.claims {
		if c.claim.Status.Allocation == nil {
			continue
		}
		ready, err := prepared(c.claim)
		if c.where != nil && !c.where.Match(node) || err != nil || !ready && p.overdue(c.claim) {
			list = append(list, c)
		}
	}
	return list
}

// allocate completes the node's plan.
func (p *DynamicResources) allocate(ctx context.Context, own *podState, plan *nodePlan, node *v1.Node) *fwk.Status {
	wanted := own.allocatedBy(plan)
	claims := make([]*resourcev1.ResourceClaim, len(wanted))
	for i, c := range wanted {
		if claims[i] = c.claim; c.special {
			claims[i] = plan.special
		}
	}
	searching := ctx
	if p.filterTimeout > 0 {
		limited, cancel := context.WithTimeout(ctx, p.filterTimeout)
		defer cancel()
		searching = limited
	}
	allocations, err := own.allocator.Allocate(searching, node, claims)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		// An error, so that the pod is tried again later: no event would tell that there is more time.
		return fwk.AsStatus(fmt.Errorf("node %s: timed out trying to allocate devices", node.Name))
	case errors.Is(err, structured.ErrFailedAllocationOnNode):
		return rejected(err.Error())
	case ctx.Err() != nil:
		return rejected(fmt.Sprintf("asked by caller to stop allocating devices: %v", context.Cause(ctx)))
	case err != nil:
		// Claim or class is at fault, on this node as on any other.
		return fwk.AsStatus(err)
	case len(allocations) != len(claims):
		return rejected("cannot allocate all claims")
	}
	plan.allocations = allocations
	return nil
}

// PostFilter frees a claim that is allocated where the pod cannot go, if nobody else uses it. Its freeing wakes the pod.
func (p *DynamicResources) PostFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, _ fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	own := stateOf(state)
	if own == nil {
		return nil, fwk.NewStatus(fwk.Unschedulable)
	}
	for c := range own.unavailable {
		users := c.claim.Status.ReservedFor
		if c.special || len(users) > 1 || len(users) == 1 && users[0].UID != pod.UID {
			continue
		}
		if err := p.deallocate(ctx, c.claim); err != nil {
			return nil, fwk.AsStatus(err)
		}
		return nil, fwk.NewStatus(fwk.Unschedulable, "deallocation of ResourceClaim completed")
	}
	if special := own.special(); special != nil && !inMemory(special.claim) {
		// It was made for a node that was chosen before.
		if err := p.deleteSpecial(ctx, special.claim); err != nil {
			return nil, fwk.AsStatus(err)
		}
		return nil, fwk.NewStatus(fwk.Unschedulable, "deletion of ResourceClaim completed")
	}
	return nil, fwk.NewStatus(fwk.Unschedulable)
}
