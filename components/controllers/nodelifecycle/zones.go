package nodelifecycle

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
)

// EvictionRates limits how fast nodes are emptied: when much of a zone is silent at once, the network is a likelier
// cause than the nodes. https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction
type EvictionRates struct {
	// Normal and Reduced are nodes per second in a healthy and in a partly disrupted zone.
	Normal, Reduced float32
	// LargeZone is the number of nodes above which a partly disrupted zone is emptied at the reduced rate; a smaller one
	// is not emptied at all.
	LargeZone int
	// Threshold is the fraction of nodes not ready from which a zone is partly disrupted.
	Threshold float32
}

// nodeState is what the rates depend on.
type nodeState struct {
	name, zone string
	ready      corev1.ConditionStatus
}

// disruption is a zone's state.
type disruption int

const (
	normal disruption = iota
	partial
	full
)

type zone struct {
	limiter *rate.Limiter
	// pending are the nodes that are to be emptied.
	pending []nodeState
}

// zones decides which nodes get their NoExecute taint, and when.
type zones struct {
	rates EvictionRates

	mu     sync.Mutex
	byName map[string]*zone
	// tainted is the readiness for which a node was last emptied.
	tainted map[string]corev1.ConditionStatus
	// allDown: no node of any zone is ready.
	allDown bool
}

func newZones(rates EvictionRates) *zones {
	return &zones{rates: rates, byName: map[string]*zone{}, tainted: map[string]corev1.ConditionStatus{}}
}

func zoneOf(node *corev1.Node) string {
	return node.Labels[corev1.LabelTopologyRegion] + ":" + node.Labels[corev1.LabelTopologyZone]
}

func (z *zones) disruption(ready, notReady int) disruption {
	switch {
	case ready == 0 && notReady > 0:
		return full
	case notReady > 2 && float32(notReady)/float32(ready+notReady) >= z.rates.Threshold:
		return partial
	}
	return normal
}

func (z *zones) rate(state disruption, nodes int) rate.Limit {
	if state != partial {
		return rate.Limit(z.rates.Normal)
	}
	if nodes > z.rates.LargeZone {
		return rate.Limit(z.rates.Reduced)
	}
	return 0
}

// assess takes in the state of all nodes. It returns whether the cluster just entered, or left, the state in which no
// node at all is ready.
func (z *zones) assess(states []nodeState, now time.Time) (entered, left bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	type count struct{ ready, notReady int }
	counts := map[string]*count{}
	for _, s := range states {
		if counts[s.zone] == nil {
			counts[s.zone] = &count{}
		}
		if s.ready == corev1.ConditionTrue {
			counts[s.zone].ready++
		} else {
			counts[s.zone].notReady++
		}
	}
	down := len(states) > 0
	for name, n := range counts {
		state := z.disruption(n.ready, n.notReady)
		down = down && state == full
		at := z.byName[name]
		if at == nil {
			at = &zone{limiter: rate.NewLimiter(rate.Limit(z.rates.Normal), 1)}
			z.byName[name] = at
		}
		if limit := z.rate(state, n.ready+n.notReady); at.limiter.Limit() != limit {
			at.limiter.SetLimitAt(now, limit)
		}
		at.pending = at.pending[:0]
	}
	entered, left = down && !z.allDown, !down && z.allDown
	z.allDown = down
	if down {
		clear(z.tainted)
		return entered, left
	}
	if left {
		return entered, left // The clocks start again: nobody is due yet.
	}
	for _, s := range states {
		if s.ready == corev1.ConditionTrue {
			delete(z.tainted, s.name)
			continue
		}
		switch was := z.tainted[s.name]; was {
		case s.ready:
		case "":
			z.byName[s.zone].pending = append(z.byName[s.zone].pending, s)
		default:
			// Its pods are leaving already: it only needs the other taint, at once.
			z.byName[s.zone].pending = append([]nodeState{s}, z.byName[s.zone].pending...)
		}
	}
	return entered, left
}

// due returns the nodes whose turn it is.
func (z *zones) due(now time.Time) []nodeState {
	z.mu.Lock()
	defer z.mu.Unlock()
	var due []nodeState
	for _, at := range z.byName {
		for len(at.pending) > 0 {
			next := at.pending[0]
			if z.tainted[next.name] == "" && (at.limiter.Limit() == 0 || !at.limiter.AllowN(now, 1)) {
				break
			}
			at.pending = at.pending[1:]
			z.tainted[next.name] = next.ready
			due = append(due, next)
		}
	}
	return due
}

// retry gives a node its turn again.
func (z *zones) retry(s nodeState) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if at := z.byName[s.zone]; at != nil {
		at.pending = append([]nodeState{s}, at.pending...)
	}
}

// forget drops a node that is gone or ready again.
func (z *zones) forget(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.tainted, name)
	for _, at := range z.byName {
		for i, s := range at.pending {
			if s.name == name {
				at.pending = append(at.pending[:i:i], at.pending[i+1:]...)
				break
			}
		}
	}
}

// waiting tells whether any node waits for its turn in a zone that has turns.
func (z *zones) waiting() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, at := range z.byName {
		if len(at.pending) > 0 && at.limiter.Limit() > 0 {
			return true
		}
	}
	return false
}
