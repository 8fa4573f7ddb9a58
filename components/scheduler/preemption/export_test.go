package preemption

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/utils/lru"
)

// BeginAt makes the evaluator look at nodes from that one on.
func (e *Evaluator) BeginAt(from func(nodes int) int) { e.from = from }

// Victims are the pods to evict.
func (c *Candidate) Victims() []*v1.Pod { return c.victims }

// Violations counts the budgets exceeded.
func (c *Candidate) Violations() int64 { return c.violations }

// Remembered counts the outcomes that the evaluator remembers, and makes it forget them.
func (e *Evaluator) Remembered() (found int) {
	if err := e.memo.kinds.SetEvictionFunc(func(_ lru.Key, known any) { found += len(known.(*outcomes).on) }); err != nil {
		panic(err)
	}
	e.memo.kinds.Clear()
	return found
}
