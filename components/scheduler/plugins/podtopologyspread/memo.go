package podtopologyspread

import (
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/lru"
)

// memoKinds bounds how many kinds of pods are remembered; the one longest unused is forgotten.
const memoKinds = 64

// countMemo remembers how many pods of a kind each node runs, so that the next pod of the same Deployment costs only
// the nodes that changed. A node's generation tells whether it did.
type countMemo struct{ kinds *lru.Cache }

type kind struct{ namespace, selector string }

type kindCounts struct {
	mu sync.RWMutex
	on map[string]nodeCount
}

type nodeCount struct {
	generation int64
	pods       int
}

func newCountMemo() countMemo { return countMemo{kinds: lru.New(memoKinds)} }

// of returns the counts of one kind.
func (m countMemo) of(namespace, selector string) *kindCounts {
	id := kind{namespace, selector}
	if counts, found := m.kinds.Get(id); found {
		return counts.(*kindCounts)
	}
	counts := &kindCounts{on: map[string]nodeCount{}}
	m.kinds.Add(id, counts)
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
