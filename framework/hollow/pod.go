package hollow

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// stage is how far a pod has come.
type stage uint8

const (
	bound stage = iota
	// stuck pods have told why, and stay.
	stuck
	// starting pods run and are not ready yet.
	starting
	ready
	// waiting pods are between two runs.
	waiting
	// over is a phase for good, Succeeded or Failed.
	over
	// gone pods are deleted; the watch has yet to tell.
	gone
)

// step is something that happens to a pod.
type step uint8

const (
	idle step = iota
	refuse
	stick
	start
	becomeReady
	finish
	// kill ends the containers of a pod that is deleted, remove its object.
	kill
	remove
)

// pod is what is remembered of a pod. There are many: nothing of its object is kept that
// is not needed. All of it is covered by the fleet's mutex.
type pod struct {
	namespace, name string
	uid             types.UID
	node            *node
	rule            *rule
	shape           shape
	requests        amounts
	generation      int64

	stage stage
	// unscheduled pods were bound by whoever made them, and lack a condition for it.
	unscheduled, deleting, finalized bool
	// counted says that the node's resources are taken.
	counted bool
	runs    int32
	retry   time.Duration
	ip      netip.Addr
	// since is when the present stage began, begun when the pod did, run when the present
	// or last run did, and end when a pod that is deleted may go.
	since, begun, run, end time.Time
	next                   appointment
}

func (p *pod) key() string { return p.namespace + "/" + p.name }

// seePod takes in a pod as the API server shows it.
func (f *Fleet) seePod(object *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	key := podName(object)
	p := f.pods[key]
	if p != nil && p.uid != object.UID {
		f.drop(p)
		p = nil
	}
	begins := p == nil
	if begins {
		n := f.nodes[object.Spec.NodeName]
		if n == nil {
			if object.Spec.NodeName != "" {
				f.missed[object.Spec.NodeName] = true
			}
			return
		}
		p = f.take(object, n, now)
		f.pods[key] = p
	}
	p.generation, p.finalized = object.Generation, len(object.Finalizers) > 0
	if isOver(object) && p.stage != gone {
		p.stage = over
		f.release(p)
	}
	ends := object.DeletionTimestamp != nil && !p.deleting
	if ends {
		p.deleting = true
		p.end = now.Add(f.script.draw(p.rule.TerminateAfter, key, "terminate", 0))
		if grace := object.DeletionGracePeriodSeconds; grace != nil {
			if most := now.Add(time.Duration(*grace) * time.Second); most.Before(p.end) {
				p.end = most
			}
		}
	}
	if begins || ends {
		f.podQueue.Add(p)
	}
}

// take begins to follow a pod, at whatever point of its life it is. The caller holds mu.
func (f *Fleet) take(object *corev1.Pod, n *node, now time.Time) *pod {
	p := &pod{
		namespace: object.Namespace, name: object.Name, uid: object.UID,
		node: n, rule: f.script.of(object), shape: shapeOf(object), requests: requestsOf(object),
		since: now, begun: now,
		unscheduled: podCondition(object, corev1.PodScheduled) == nil,
	}
	p.next.keep = func() { f.podQueue.Add(p) }
	status := &object.Status
	if status.StartTime != nil {
		p.begun = status.StartTime.Time
	}
	if ip, err := netip.ParseAddr(status.PodIP); err == nil {
		p.ip = ip
		n.subnet.occupy(ip)
	}
	if isOver(object) {
		return p
	}
	p.resume(status)
	if p.stage != bound {
		n.committed.add(p.requests)
		p.counted = true
	}
	return p
}

// resume finds out how far a pod has come that was seen by an earlier fleet.
func (p *pod) resume(status *corev1.PodStatus) {
	if len(status.ContainerStatuses) == 0 {
		return
	}
	c := &status.ContainerStatuses[0]
	p.runs = c.RestartCount
	switch {
	case c.State.Running != nil:
		p.stage, p.run, p.since = starting, c.State.Running.StartedAt.Time, c.State.Running.StartedAt.Time
		for _, condition := range status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				p.stage = ready
			}
		}
	case c.LastTerminationState.Terminated != nil:
		p.stage, p.since = waiting, c.LastTerminationState.Terminated.FinishedAt.Time
		p.run = c.LastTerminationState.Terminated.StartedAt.Time
	}
}

// recover has a pod's readiness told again: while the node was silent, others said that
// it had none.
func (p *pod) recover() {
	if p.stage == ready {
		p.stage = starting
	}
}

// release gives back what a pod has of its node. The caller holds mu.
func (f *Fleet) release(p *pod) {
	if p.counted {
		p.node.committed.subtract(p.requests)
		p.counted = false
	}
	if p.ip.IsValid() {
		p.node.subnet.release(p.ip)
		p.ip = netip.Addr{}
	}
}

func (f *Fleet) podGone(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.pods[key]; p != nil {
		f.drop(p)
	}
}

// drop forgets a pod. The caller holds mu.
func (f *Fleet) drop(p *pod) {
	p.stage = gone
	f.agenda.drop(&p.next)
	f.release(p)
	delete(f.pods, p.key())
}

// onlyPods is told which pods there are.
func (f *Fleet) onlyPods(names map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, p := range f.pods {
		if !names[key] {
			f.drop(p)
		}
	}
}

// plan is a pod's next step and when it is due.
func (f *Fleet) plan(p *pod) (step, time.Time) {
	if p.stage == gone || p.node.silent || p.node.gone || p.node.uid == "" {
		return idle, time.Time{}
	}
	if p.deleting {
		if p.finalized && p.stage != over {
			return kill, p.end
		}
		return remove, p.end
	}
	key, turn := p.key(), p.runs
	switch p.stage {
	case bound:
		switch {
		case p.rule.Refuse != nil:
			return refuse, p.since.Add(f.script.draw(p.rule.StartAfter, key, "start", 0))
		case !p.counted && !p.node.capacity.hold(p.node.committed, p.requests):
			return refuse, p.since
		case p.rule.Stuck != nil:
			return stick, p.since.Add(f.script.draw(p.rule.StartAfter, key, "start", 0))
		}
		return start, p.since.Add(f.script.draw(p.rule.StartAfter, key, "start", 0))
	case starting, ready:
		what, due := idle, time.Time{}
		if p.stage == starting {
			what, due = becomeReady, p.run.Add(f.script.draw(p.rule.ReadyAfter, key, "ready", turn))
		}
		if p.rule.FinishAfter != nil {
			end := p.run.Add(f.script.draw(*p.rule.FinishAfter, key, "finish", turn))
			if what == idle || end.Before(due) {
				what, due = finish, end
			}
		}
		return what, due
	case waiting:
		return start, p.since.Add(f.script.backoff(p.rule, key, turn-1))
	}
	return idle, time.Time{}
}

// commit reserves what a pod asks for of its node. The caller holds mu.
func (f *Fleet) commit(p *pod) {
	if !p.counted {
		p.node.committed.add(p.requests)
		p.counted = true
	}
}

// settle gives a pod that starts an address. The caller holds mu.
func (f *Fleet) settle(p *pod) {
	if p.ip.IsValid() || p.shape.hostNetwork() {
		return
	}
	var ok bool
	if p.ip, ok = p.node.subnet.take(); !ok {
		klog.InfoS("A hollow node has no address left for a pod", "node", p.node.name, "pod", p.key())
	}
}

func isOver(object *corev1.Pod) bool {
	return object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed
}

func podCondition(object *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range object.Status.Conditions {
		if object.Status.Conditions[i].Type == kind {
			return &object.Status.Conditions[i]
		}
	}
	return nil
}
