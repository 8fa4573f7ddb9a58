package noderesources

import (
	"context"
	"fmt"
	"math"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	helper "k8s.io/component-helpers/resource"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/equivalence"
)

// BalancedName is the name of the BalancedAllocation plugin.
const BalancedName = "NodeResourcesBalancedAllocation"

const balancedKey fwk.StateKey = "PreScore" + BalancedName

// BalancedAllocation scores by how equal the used shares of a node's resources are.
type BalancedAllocation struct{ scorer scorer }

var (
	_ fwk.PreScorePlugin = &BalancedAllocation{}
	_ fwk.ScorePlugin    = &BalancedAllocation{}
)

// NewBalancedAllocation makes the plugin from *NodeResourcesBalancedAllocationArgs.
func NewBalancedAllocation(_ context.Context, obj runtime.Object, _ fwk.Handle) (fwk.Plugin, error) {
	args, ok := obj.(*configv1.NodeResourcesBalancedAllocationArgs)
	if !ok {
		return nil, fmt.Errorf("want args to be of type NodeResourcesBalancedAllocationArgs, got %T", obj)
	}
	if err := ValidateBalancedAllocationArgs(nil, args); err != nil {
		return nil, err
	}
	return &BalancedAllocation{scorer{
		resources: args.Resources,
		rating:    balancedAllocation,
		requests:  helper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true},
		node:      fwk.NodeInfo.GetRequested,
	}}, nil
}

// Name returns the plugin's name.
func (*BalancedAllocation) Name() string { return BalancedName }

// Covers says that a class tells the plugin all about a pod.
func (*BalancedAllocation) Covers(*v1.Pod) bool { return true }

// Scale says that scores are in range.
func (*BalancedAllocation) Scale() equivalence.Scale { return equivalence.AsIs }

// PreScore sums up the pod's requests; a pod that requests nothing balances nothing.
func (b *BalancedAllocation) PreScore(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	requests := b.scorer.amountsOf(pod)
	if requests.allZero() {
		return fwk.NewStatus(fwk.Skip)
	}
	state.Write(balancedKey, requests)
	return nil
}

// Score rates how much the pod improves the node's balance.
func (b *BalancedAllocation) Score(_ context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	if data, err := state.Read(balancedKey); err == nil {
		return b.scorer.score(data.(amounts), node), nil
	}
	requests := b.scorer.amountsOf(pod)
	if requests.allZero() {
		return 0, nil
	}
	return b.scorer.score(requests, node), nil
}

// ScoreExtensions is nil: scores are in range.
func (*BalancedAllocation) ScoreExtensions() fwk.ScoreExtensions { return nil }

// balance compares the evenness with and without the pod: 75 where the pod changes nothing.
func balance(list []usage) int64 {
	const half = fwk.MaxScore / 2
	with := evenness(list, func(u usage) int64 { return u.with })
	before := evenness(list, func(u usage) int64 { return u.before })
	return half + (half+with-before)/2
}

// evenness is 100 for equal shares, less by their standard deviation.
func evenness(list []usage, taken func(usage) int64) int64 {
	var array [8]float64
	shares := array[:0]
	var sum float64
	for _, u := range list {
		share := min(1, float64(taken(u))/float64(u.allocatable))
		shares = append(shares, share)
		sum += share
	}
	var deviation float64
	switch n := len(shares); {
	case n == 2:
		deviation = math.Abs(shares[0]-shares[1]) / 2
	case n > 2:
		var squares float64
		for _, share := range shares {
			squares += (share - sum/float64(n)) * (share - sum/float64(n))
		}
		deviation = math.Sqrt(squares / float64(n))
	}
	return int64((1 - deviation) * float64(fwk.MaxScore))
}
