package dynamicresources

import (
	"sync"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/dynamic-resource-allocation/structured"
	fwk "k8s.io/kube-scheduler/framework"
)

// podState is what the plugin knows of a pod with claims during one cycle. A pod without any has none.
type podState struct {
	// claims are those of the pod's spec and last, if there is one, that for extended resources.
	claims []*podClaim
	// extended are the amounts of the pod's extended resources that some class stands for, by resource; nil without.
	extended map[v1.ResourceName]int64
	// allocator allocates on a node; nil if everything is allocated.
	allocator structured.Allocator

	// mu guards what Filter writes, node by node.
	mu sync.Mutex
	// nodes has what would be allocated on nodes that passed Filter.
	nodes map[string]*nodePlan
	// unavailable are the allocated claims that did not fit some node.
	unavailable map[*podClaim]bool
}

// podClaim is one claim of the pod.
type podClaim struct {
	// claim is read-only; a newer state takes its place.
	claim *resourcev1.ResourceClaim
	// where limits the nodes of an allocated claim; nil: all.
	where *nodeaffinity.NodeSelector
	// allocation was promised by Reserve, under promised; nil if there was nothing to allocate.
	allocation *resourcev1.AllocationResult
	promised   types.UID
	// special is the claim for extended resources. It exists in memory only until PreBind creates it, unless an
	// earlier attempt did.
	special bool
}

// nodePlan is what one node would give the pod.
type nodePlan struct {
	// allocations are those of the claims to allocate, in order.
	allocations []resourcev1.AllocationResult
	// special is the claim for extended resources as this node needs it, and mappings whose requests it serves; nil
	// if the node's own resources do.
	special  *resourcev1.ResourceClaim
	mappings []v1.ContainerExtendedResourceRequest
}

// Clone returns the state itself: what is decided for a node holds whichever pods are thought away.
func (s *podState) Clone() fwk.StateData { return s }

// stateOf returns the pod's state, nil if it has no claims.
func stateOf(state fwk.CycleState) *podState {
	data, err := state.Read(stateKey)
	if err != nil {
		return nil
	}
	own, _ := data.(*podState)
	return own
}

// unallocated are the claims that are to be allocated in this cycle.
func (s *podState) unallocated() []*podClaim {
	var list []*podClaim
	for _, c := range s.claims {
		if c.claim.Status.Allocation == nil {
			list = append(list, c)
		}
	}
	return list
}

// allocatedBy are the claims that the node's plan has allocations for, in that order.
func (s *podState) allocatedBy(plan *nodePlan) []*podClaim {
	list := s.unallocated()
	if n := len(list); n > 0 && list[n-1].special && plan.special == nil {
		return list[:n-1]
	}
	return list
}

// special returns the claim for extended resources, or nil.
func (s *podState) special() *podClaim {
	if last := s.claims[len(s.claims)-1]; last.special {
		return last
	}
	return nil
}

func (s *podState) plan(node string) *nodePlan {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[node]
}
