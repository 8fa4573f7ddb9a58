package preemption

import (
	"maps"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// memoKinds bounds how many kinds of preemptors are remembered.
const memoKinds = 16

// memo remembers what dry runs came to, so that the next preemptor of a kind costs only the nodes that changed. It is
// for preemptors to which nothing but the node matters.
type memo struct {
	kinds map[kind]*outcomes
	clock int64
	// rules are the generations of all disruption budgets: a budget that is new or selects other pods makes all void.
	rules map[types.UID]int64
}

// kind is preemptors that would evict the same pods of a node.
type kind struct {
	class    nodeinfo.Class
	priority int32
}

// outcomes are what came of dry runs, by node.
type outcomes struct {
	used int64
	mu   sync.RWMutex
	on   map[string]remembered
}

// remembered is an outcome, and what it holds for: the node's generation and the pods nominated to it.
type remembered struct {
	outcome
	generation int64
	rivals     []fwk.PodInfo
}

// of returns the outcomes for preemptors like this one under these budgets, nil if there are no such preemptors. The
// kind longest unused is forgotten if there are too many.
func (m *memo) of(pod *v1.Pod, budgets []*policyv1.PodDisruptionBudget) *outcomes {
	// A term that does not parse is the pod's own and was reported when it was filtered.
	info, _ := nodeinfo.NewPodInfo(pod)
	id := kind{info.Class(), corev1helpers.PodPriority(pod)}
	if id.class == (nodeinfo.Class{}) {
		return nil
	}
	rules := make(map[types.UID]int64, len(budgets))
	for _, b := range budgets {
		rules[b.UID] = b.Generation
	}
	if m.kinds == nil || !maps.Equal(m.rules, rules) {
		m.kinds, m.rules = map[kind]*outcomes{}, rules
	}
	m.clock++
	known, found := m.kinds[id]
	if !found {
		for len(m.kinds) >= memoKinds {
			oldest, at := id, m.clock
			for other, o := range m.kinds {
				if o.used < at {
					oldest, at = other, o.used
				}
			}
			delete(m.kinds, oldest)
		}
		known = &outcomes{on: map[string]remembered{}}
		m.kinds[id] = known
	}
	known.used = m.clock
	return known
}

func (o *outcomes) get(node fwk.NodeInfo, rivals []fwk.PodInfo) (outcome, bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	known, found := o.on[node.Node().Name]
	if !found || known.generation != node.GetGeneration() || !slices.Equal(known.rivals, rivals) {
		return outcome{}, false
	}
	return known.outcome, true
}

func (o *outcomes) put(node fwk.NodeInfo, rivals []fwk.PodInfo, came outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on[node.Node().Name] = remembered{came, node.GetGeneration(), rivals}
}
