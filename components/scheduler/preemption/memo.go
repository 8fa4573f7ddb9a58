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
	"k8s.io/utils/lru"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// memoKinds bounds how many kinds of preemptors are remembered; the one longest unused is forgotten.
const memoKinds = 16

// memo remembers what dry runs came to, so that the next preemptor of a kind costs only the nodes that changed. It is
// for preemptors to which nothing but the node matters.
type memo struct {
	kinds *lru.Cache
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
	mu sync.RWMutex
	on map[string]remembered
}

// remembered is an outcome, and what it holds for: the node's generation and the pods nominated to it.
type remembered struct {
	outcome
	generation int64
	rivals     []fwk.PodInfo
}

func newMemo() memo { return memo{kinds: lru.New(memoKinds)} }

// of returns the outcomes for preemptors like this one under these budgets, nil if there are no such preemptors.
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
	if !maps.Equal(m.rules, rules) {
		m.kinds.Clear()
		m.rules = rules
	}
	if known, found := m.kinds.Get(id); found {
		return known.(*outcomes)
	}
	known := &outcomes{on: map[string]remembered{}}
	m.kinds.Add(id, known)
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
