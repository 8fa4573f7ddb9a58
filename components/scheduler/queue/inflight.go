package queue

import (
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
)

// change is an event with the objects it is about. only restricts it to one pod.
type change struct {
	event        fwk.ClusterEvent
	older, newer any
	only         types.UID
}

// inFlight remembers what happened while pods are being scheduled, so that a pod that is rejected on grounds that
// have passed meanwhile is not left to wait. Changes are numbered; each pod notes the number at its start.
type inFlight struct {
	start   map[types.UID]int
	changes []change
	first   int // number of changes[0]
}

func (f *inFlight) begin(uid types.UID) {
	if f.start == nil {
		f.start = map[types.UID]int{}
	}
	f.start[uid] = f.first + len(f.changes)
}

func (f *inFlight) has(uid types.UID) bool {
	_, found := f.start[uid]
	return found
}

func (f *inFlight) note(c change) {
	if len(f.start) > 0 {
		f.changes = append(f.changes, c)
	}
}

// since returns what happened after the pod's start.
func (f *inFlight) since(uid types.UID) []change {
	start, found := f.start[uid]
	if !found {
		return nil
	}
	return f.changes[start-f.first:]
}

// end forgets a pod and the changes that no other pod needs.
func (f *inFlight) end(uid types.UID) {
	start, found := f.start[uid]
	if !found {
		return
	}
	delete(f.start, uid)
	if start > f.first && len(f.start) > 0 || len(f.changes) == 0 {
		return
	}
	oldest := f.first + len(f.changes)
	for _, other := range f.start {
		oldest = min(oldest, other)
	}
	rest := f.changes[oldest-f.first:]
	if len(rest) == 0 {
		f.changes = nil
	} else if oldest > f.first {
		f.changes = append([]change(nil), rest...)
	}
	f.first = oldest
}
