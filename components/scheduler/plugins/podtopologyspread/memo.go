package podtopologyspread

import (
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	fwk "k8s.io/kube-scheduler/framework"
)

// memoKinds bounds how many kinds of pods are remembered.
const memoKinds = 64

// countMemo remembers how many pods of a kind each node runs, so that the next pod of the same Deployment costs only
// the nodes that changed. A node's generation tells whether it did.
type countMemo struct {
	mu    sync.Mutex
	kinds map[kind]*kindCounts
	clock int64
}

type kind struct{ namespace, selector string }

type kindCounts struct {
	used int64
	mu   sync.RWMutex
	on   map[string]nodeCount
}

type nodeCount struct {
	generation int64
	pods       int
}

// of returns the counts of one kind, forgetting the kind longest unused if there are too many.
func (m *countMemo) of(namespace, selector string) *kindCounts {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock++
	id := kind{namespace, selector}
	counts, found := m.kinds[id]
	if !found {
		if m.kinds == nil {
			m.kinds = map[kind]*kindCounts{}
		}
		for len(m.kinds) >= memoKinds {
			oldest, at := kind{}, m.clock
			for other, c := range m.kinds {
				if c.used < at {
					oldest, at = other, c.used
				}
			}
			delete(m.kinds, oldest)
		}
		counts = &kindCounts{on: map[string]nodeCount{}}
		m.kinds[id] = counts
	}
	counts.used = m.clock
	return counts
}

// count counts the pods of the kind on the node, or remembers.
func (k *kindCounts) count(node fwk.NodeInfo, selector labels.Selector, namespace string) int {
	pods := node.GetPods()
	if len(pods) == 0 {
		return 0
	}
	name, generation := node.Node().Name, node.GetGeneration()
	k.mu.RLock()
	known, found := k.on[name]
	k.mu.RUnlock()
	if found && known.generation == generation {
		return known.pods
	}
	n := count(pods, selector, namespace)
	k.mu.Lock()
	k.on[name] = nodeCount{generation, n}
	k.mu.Unlock()
	return n
}
