package queue

import (
	"container/heap"
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
)

// urgency is how soon an event lets a pod be tried again.
type urgency int

const (
	stay urgency = iota
	afterBackoff
	atOnce
)

// interesting says whether any plugin registered for the event.
func (q *Queue) interesting(event fwk.ClusterEvent) bool {
	if clusterevent.IsEverything(event) {
		return true
	}
	for _, profile := range q.profiles {
		for _, registrations := range profile.Events {
			for i := range registrations {
				if clusterevent.Matches(registrations[i].Event, event) {
					return true
				}
			}
		}
	}
	return false
}

// worth asks the plugins that rejected the pod whether the change may help it.
func (q *Queue) worth(p *Pod, c change) urgency {
	pod := p.GetPod()
	if c.only != "" && c.only != pod.UID {
		return stay
	}
	rejectors := p.rejectors()
	if len(rejectors) == 0 {
		return afterBackoff
	}
	if clusterevent.IsEverything(c.event) {
		return afterBackoff
	}
	profile, found := q.profiles[pod.Spec.SchedulerName]
	if !found {
		return afterBackoff
	}
	if awaited, more := profile.awaits(pod, c); more {
		// As long as one is left, it is the others' room that the pod lacks.
		return stay
	} else if awaited {
		return atOnce
	}
	how := stay
	for plugin := range rejectors {
		for _, registration := range profile.Events[plugin] {
			if !clusterevent.Matches(registration.Event, c.event) || !hints(registration, pod, c) {
				continue
			}
			if p.Pending.Has(plugin) {
				return atOnce
			}
			how = afterBackoff
		}
		if how == afterBackoff && len(p.Pending) == 0 {
			return how
		}
	}
	return how
}

// awaits says whether the pod awaited the end of a pod that the change is about, and awaits that of more.
func (p *Profile) awaits(pod *v1.Pod, c change) (awaited, more bool) {
	gone, ok := c.older.(*v1.Pod)
	if p.awaiter == nil || !ok || c.newer != nil || !clusterevent.Matches(clusterevent.Event(fwk.AssignedPod, fwk.Delete), c.event) {
		return false, false
	}
	return p.awaiter.Awaits(pod.UID, gone)
}

func hints(registration fwk.ClusterEventWithHint, pod *v1.Pod, c change) bool {
	if registration.QueueingHintFn == nil {
		return true
	}
	logger := klog.Background()
	hint, err := registration.QueueingHintFn(logger, pod, c.older, c.newer)
	if err != nil {
		// Better one attempt in vain than a pod that is never tried again.
		logger.Error(err, "Queueing hint failed", "pod", klog.KObj(pod), "event", c.event.Label())
		return true
	}
	return hint == fwk.Queue
}

// requeue puts a pod where it belongs now.
func (q *Queue) requeue(p *Pod, how urgency, event string) {
	q.take(p)
	switch {
	case how == stay:
		q.toUnschedulable(p, event)
	case how == afterBackoff && p.backoffExpires.After(time.Now()):
		q.toBackoff(p, event)
	default:
		q.toActive(p, event)
	}
}

func (q *Queue) toUnschedulable(p *Pod, event string) {
	q.unschedulable[p.GetPod().UID] = p
	q.cfg.Metrics.Incoming("unschedulable", event)
}

// admitted runs the PreEnqueue plugins and notes which one holds the pod back; the one that did before goes first.
func (q *Queue) admitted(p *Pod) bool {
	profile := q.profiles[p.GetPod().Spec.SchedulerName]
	gate := func(plugin fwk.PreEnqueuePlugin) bool {
		status := plugin.PreEnqueue(context.Background(), p.GetPod())
		if status.IsSuccess() {
			return true
		}
		if status.IsError() {
			klog.Background().Error(status.AsError(), "PreEnqueue plugin failed", "plugin", plugin.Name(), "pod", klog.KObj(p.GetPod()))
		}
		p.gatedBy, p.gateEvents = plugin.Name(), nil
		for _, registration := range profile.Events[plugin.Name()] {
			p.gateEvents = append(p.gateEvents, registration.Event)
		}
		q.reject(p, plugin.Name())
		return false
	}
	before := p.gatedBy
	for _, plugin := range profile.PreEnqueue {
		if plugin.Name() == before && !gate(plugin) {
			return false
		}
	}
	for _, plugin := range profile.PreEnqueue {
		if plugin.Name() != before && !gate(plugin) {
			return false
		}
	}
	p.gatedBy, p.gateEvents = "", nil
	return true
}

func (q *Queue) toActive(p *Pod, event string) {
	if !q.admitted(p) {
		q.toUnschedulable(p, event)
		return
	}
	if p.firstAttempt == nil {
		now := time.Now()
		p.firstAttempt = &now
	}
	heap.Push(q.active, p)
	q.queued[p.GetPod().UID] = p
	q.cfg.Metrics.Incoming("active", event)
	q.wake.Signal()
}

func (q *Queue) toBackoff(p *Pod, event string) {
	if !q.admitted(p) {
		q.toUnschedulable(p, event)
		return
	}
	into := q.backoff
	if p.errors > 0 {
		into = q.errorBackoff
	}
	heap.Push(into, p)
	q.queued[p.GetPod().UID] = p
	q.cfg.Metrics.Incoming("backoff", event)
	q.arm()
	q.wake.Signal()
}

// arm sets the timer to the end of the next backoff.
func (q *Queue) arm() {
	if q.closed {
		return
	}
	var next time.Time
	for _, h := range [...]*podHeap{q.backoff, q.errorBackoff} {
		if h.Len() > 0 && (next.IsZero() || h.pods[0].backoffExpires.Before(next)) {
			next = h.pods[0].backoffExpires
		}
	}
	if next.IsZero() || next.Equal(q.timerAt) {
		return
	}
	if q.timer != nil {
		q.timer.Stop()
	}
	q.timerAt = next
	q.timer = time.AfterFunc(max(0, time.Until(next)), q.flushBackoff)
}

// flushBackoff activates the pods whose pause is over.
func (q *Queue) flushBackoff() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.timerAt = time.Time{}
	for _, h := range [...]*podHeap{q.backoff, q.errorBackoff} {
		for h.Len() > 0 && !h.pods[0].backoffExpires.After(now) {
			p := h.pods[0]
			q.take(p)
			q.toActive(p, clusterevent.BackoffComplete)
		}
	}
	q.arm()
}

// flushLeftover tries pods again that have waited too long for an event: a hint may have been wrong.
func (q *Queue) flushLeftover() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for _, p := range q.unschedulable {
		if now.Sub(p.timestamp) > maxUnschedulable {
			q.requeue(p, afterBackoff, clusterevent.UnschedulableTimeout)
		}
	}
}
