package volumebinding

import (
	"context"
	"math"

	v1 "k8s.io/api/core/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/plugins/utilization"
)

// share is what claims of one class request of what there is.
type share struct{ requested, capacity int64 }

// PreScore skips pods whose claims are bound already.
func (*VolumeBinding) PreScore(_ context.Context, cycle fwk.CycleState, _ *v1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	if s, err := stateOf(cycle); err != nil || !s.chooses && len(s.claims.late) == 0 {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// Score rates how well the claims fill the volumes that they would get on a node, or, if all are to be made, what the
// node has to make them from; by default the emptier the better.
func (b *VolumeBinding) Score(_ context.Context, cycle fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	s, err := stateOf(cycle)
	if err != nil {
		return 0, fwk.AsStatus(err)
	}
	p := s.byNode[node.Node().Name]
	if p == nil {
		return 0, nil
	}
	shares := p.shares()
	if len(shares) == 0 {
		return 0, nil
	}
	var sum int64
	for _, part := range shares {
		percent := int64(100)
		if part.capacity != 0 && part.requested <= part.capacity {
			percent = part.requested * 100 / part.capacity
		}
		sum += utilization.Height(b.shape, percent)
	}
	return int64(math.Round(float64(sum) / float64(len(shares)))), nil
}

// shares counts by class. Existing volumes add up; capacity to make volumes from is one pool for all claims of a class.
func (p *plan) shares() map[string]share {
	byClass := map[string]share{}
	requested := func(claim *v1.PersistentVolumeClaim) int64 {
		size := claim.Spec.Resources.Requests[v1.ResourceStorage]
		return size.Value()
	}
	for _, bound := range p.bindings {
		class, capacity := bound.volume.Spec.StorageClassName, bound.volume.Spec.Capacity[v1.ResourceStorage]
		sum := byClass[class]
		byClass[class] = share{sum.requested + requested(bound.claim), sum.capacity + capacity.Value()}
	}
	if len(p.bindings) > 0 {
		return byClass
	}
	for _, made := range p.provisions {
		if made.capacity != nil {
			class := volumehelpers.GetPersistentVolumeClaimClass(made.claim)
			byClass[class] = share{byClass[class].requested + requested(made.claim), made.capacity.Value()}
		}
	}
	return byClass
}

// ScoreExtensions is nil: scores are from 0 to 100 as they are.
func (*VolumeBinding) ScoreExtensions() fwk.ScoreExtensions { return nil }
