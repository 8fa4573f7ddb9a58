package preemption

import v1 "k8s.io/api/core/v1"

// BeginAt makes the evaluator look at nodes from that one on.
func (e *Evaluator) BeginAt(from func(nodes int) int) { e.from = from }

// Victims are the pods to evict.
func (c *Candidate) Victims() []*v1.Pod { return c.victims }

// Violations counts the budgets exceeded.
func (c *Candidate) Violations() int64 { return c.violations }

// Remembered counts the kinds of preemptors of which the evaluator remembers something.
func (e *Evaluator) Remembered() (kinds int) { return e.memo.kinds.Len() }
