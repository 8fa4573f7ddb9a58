package cycle

import (
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/cache"
	"github.com/plumbline/plumbline/components/scheduler/equivalence"
)

// nominations are the pods nominated to nodes, by the place of the node, as they were after so many changes.
type nominations struct {
	changes, layout int64
	byPlace         [][]fwk.PodInfo
	places          []int
}

// view is the snapshot with what is expected of its nodes.
type view struct {
	*cache.Snapshot
	byPlace [][]fwk.PodInfo
}

// Nominated lists the pods nominated to the node at a place.
func (v view) Nominated(at int) []fwk.PodInfo {
	if v.byPlace == nil {
		return nil
	}
	return v.byPlace[at]
}

// view lists the nominations anew only if there are any and they have changed.
func (s *Scheduler) view() equivalence.View {
	if !s.Queue.Any() {
		return view{s.Snapshot, nil}
	}
	n := &s.nominated
	if layout := s.Snapshot.Layout(); layout != n.layout || n.byPlace == nil {
		*n = nominations{changes: -1, layout: layout, byPlace: make([][]fwk.PodInfo, s.Snapshot.NumNodes())}
	}
	if changes := s.Queue.NominationChanges(); changes != n.changes {
		for _, at := range n.places {
			n.byPlace[at] = nil
		}
		n.changes, n.places = changes, n.places[:0]
		s.Queue.EachNominated(func(node string, pods []fwk.PodInfo) {
			if at, found := s.Snapshot.Place(node); found {
				n.byPlace[at] = pods
				n.places = append(n.places, at)
			}
		})
	}
	return view{s.Snapshot, n.byPlace}
}
