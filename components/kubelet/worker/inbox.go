package worker

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/plumbline/plumbline/components/kubelet/status"
)

func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) current() *v1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// update takes in a changed pod.
func (w *worker) update(pod *v1.Pod) {
	w.mu.Lock()
	before := w.pod
	w.pod = pod
	changed := before.Generation != pod.Generation || !equality.Semantic.DeepEqual(before.Spec, pod.Spec)
	if changed || !sameMap(before.Labels, pod.Labels) || !sameMap(before.Annotations, pod.Annotations) {
		// The downward API shows labels and annotations.
		w.changes++
	}
	w.mu.Unlock()
	if terminal(before.Status.Phase) != terminal(pod.Status.Phase) || before.DeletionTimestamp == nil && pod.DeletionTimestamp != nil ||
		w.isStale() || !sameConditions(before, pod) || !sameGrace(before, pod) {
		w.poke()
	}
}

// snapshot is the pod with what was granted to it, and how much has changed until now.
func (w *worker) snapshot() (pod *v1.Pod, changes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.grantedLocked(), w.changes
}

// cover notes that what had changed until a snapshot is being carried out.
func (w *worker) cover(changes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.covered = changes
}

// isStale says whether there is a change that is not carried out.
func (w *worker) isStale() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes != w.covered
}

func sameGrace(a, b *v1.Pod) bool {
	x, y := a.DeletionGracePeriodSeconds, b.DeletionGracePeriodSeconds
	return x == nil && y == nil || x != nil && y != nil && *x == *y
}

// sameConditions says whether the conditions that others set, such as readiness
// gates, are the same.
func sameConditions(a, b *v1.Pod) bool {
	if len(b.Spec.ReadinessGates) == 0 {
		return true
	}
	for _, gate := range b.Spec.ReadinessGates {
		x, y := status.FindCondition(a.Status.Conditions, gate.ConditionType), status.FindCondition(b.Status.Conditions, gate.ConditionType)
		if (x == nil) != (y == nil) || x != nil && x.Status != y.Status {
			return false
		}
	}
	return true
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

func (w *worker) remove() {
	w.mu.Lock()
	w.removed = true
	w.mu.Unlock()
	w.poke()
}

func (w *worker) refresh() {
	w.mu.Lock()
	w.changes++
	w.mu.Unlock()
	w.poke()
}

func (w *worker) end(verdict status.Verdict, grace *int64) {
	w.mu.Lock()
	if w.verdict == nil && w.phase == syncing {
		w.verdict, w.grace = &verdict, grace
	}
	w.mu.Unlock()
	w.poke()
}
