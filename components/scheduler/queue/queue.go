// Package queue orders the pods that wait for a node: those to try next (active), those to try after a pause
// (backoff), and those for which something in the cluster must change first (unschedulable). Plugins say which events
// may help the pods they rejected (KEP-4247).
package queue

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

const (
	// maxUnschedulable is how long a pod waits for an event before it is tried again regardless.
	maxUnschedulable = 5 * time.Minute
	leftoverPeriod   = 30 * time.Second
	// backoffWindow is within which priority matters more than the exact end of a backoff.
	backoffWindow = time.Second
)

// Profile is what the queue needs of the plugins of one scheduler name.
type Profile struct {
	PreEnqueue []fwk.PreEnqueuePlugin
	// Events are the events that plugins registered for, by plugin.
	Events map[string][]fwk.ClusterEventWithHint

	awaiter Awaiter
}

// Awaiter is a PreEnqueue plugin that knows for the end of which others a pod waits: those that it had evicted.
type Awaiter interface {
	// Awaits says whether the waiting pod awaited the end of the one that is gone, and awaits that of more.
	Awaits(waiting types.UID, gone *v1.Pod) (awaited, more bool)
}

// Config makes a queue.
type Config struct {
	Less           func(a, b fwk.QueuedEntityInfo) bool
	InitialBackoff time.Duration
	MaxBackoff     time.Duration
	Nominator      *Nominator
	Metrics        *metrics.Metrics
}

// Queue holds the pods without a node. All methods are safe for concurrent use.
type Queue struct {
	*Nominator
	cfg      Config
	profiles map[string]Profile

	mu            sync.Mutex
	wake          *sync.Cond
	closed        bool
	active        *podHeap
	backoff       *podHeap
	errorBackoff  *podHeap
	unschedulable map[types.UID]*Pod
	queued        map[types.UID]*Pod // everything in the heaps
	flights       inFlight
	parsed        nodeinfo.Memo
	timer         *time.Timer
	timerAt       time.Time
}

var _ fwk.PodActivator = &Queue{}

// New returns an empty queue. SetProfiles must be called before pods are added.
func New(cfg Config) *Queue {
	q := &Queue{
		Nominator:     cfg.Nominator,
		cfg:           cfg,
		unschedulable: map[types.UID]*Pod{},
		queued:        map[types.UID]*Pod{},
	}
	q.wake = sync.NewCond(&q.mu)
	q.active = &podHeap{less: func(a, b *Pod) bool { return q.cfg.Less(a, b) }}
	q.backoff = &podHeap{less: func(a, b *Pod) bool {
		wa, wb := a.backoffExpires.Truncate(backoffWindow), b.backoffExpires.Truncate(backoffWindow)
		if !wa.Equal(wb) {
			return wa.Before(wb)
		}
		return q.cfg.Less(a, b)
	}}
	q.errorBackoff = &podHeap{less: func(a, b *Pod) bool { return a.backoffExpires.Before(b.backoffExpires) }}
	return q
}

// SetProfiles tells the queue of the plugins, which are made with the queue in hand and so after it.
func (q *Queue) SetProfiles(less func(a, b fwk.QueuedEntityInfo) bool, profiles map[string]Profile) {
	q.cfg.Less = less
	for name, profile := range profiles {
		for _, plugin := range profile.PreEnqueue {
			if awaiter, ok := plugin.(Awaiter); ok {
				profile.awaiter = awaiter
				profiles[name] = profile
			}
		}
	}
	q.profiles = profiles
}

// Run retries pods that no event has helped for long, until ctx is done; then Pop returns nil.
func (q *Queue) Run(ctx context.Context) {
	var again *time.Timer
	var mu sync.Mutex
	var flush func()
	flush = func() {
		q.flushLeftover()
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			again = time.AfterFunc(leftoverPeriod, flush)
		}
	}
	mu.Lock()
	again = time.AfterFunc(leftoverPeriod, flush)
	mu.Unlock()
	<-ctx.Done()
	mu.Lock()
	again.Stop()
	mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.timer != nil {
		q.timer.Stop()
	}
	q.wake.Broadcast()
}

// Pop waits for the next pod to schedule; nil means that the queue is closed. The pod counts as in flight until Done
// or AddUnschedulable. While nothing is active, a pod in backoff is better than idling.
func (q *Queue) Pop() *Pod {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.active.Len() == 0 && q.backoff.Len() == 0 && !q.closed {
		q.wake.Wait()
	}
	if q.closed {
		return nil
	}
	from := q.active
	if from.Len() == 0 {
		from = q.backoff
	}
	p := heap.Pop(from).(*Pod)
	delete(q.queued, p.GetPod().UID)
	if p.firstAttempt == nil {
		now := time.Now()
		p.firstAttempt = &now
	}
	p.attempts++
	q.countRejected(p, -1)
	p.Unschedulable, p.Pending = nil, nil
	q.flights.begin(p.GetPod().UID)
	return p
}

// Done ends a pod's flight: it is bound for its node, or gone.
func (q *Queue) Done(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flights.end(uid)
}

// Add takes in a new pod.
func (q *Queue) Add(pod *v1.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(pod)
}

func (q *Queue) add(pod *v1.Pod) {
	if q.find(pod.UID) != nil || q.flights.has(pod.UID) {
		return
	}
	// An unparsable term matches nothing, and InterPodAffinity reports it.
	info, _ := q.parsed.PodInfo(pod)
	q.toActive(&Pod{PodInfo: info, timestamp: time.Now()}, clusterevent.Event(fwk.UnscheduledPod, fwk.Add).Label())
	q.Nominator.AddNominatedPod(klog.Background(), info, nil)
}

// Update takes in a newer version of a pod.
func (q *Queue) Update(older, newer *v1.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := clusterevent.PodUpdate(older, newer, true)
	if q.flights.has(newer.UID) {
		for _, event := range events {
			q.flights.note(change{event: event, older: older, newer: newer, only: newer.UID})
		}
		return
	}
	p := q.find(newer.UID)
	if p == nil {
		q.add(newer)
		return
	}
	p.PodInfo, _ = q.parsed.PodInfo(newer)
	q.Nominator.UpdateNominatedPod(klog.Background(), older, p.PodInfo)
	if p.heap != nil {
		heap.Fix(p.heap, p.index)
		return
	}
	for _, event := range events {
		if how := q.worth(p, change{event: event, older: older, newer: newer}); how != stay {
			q.requeue(p, how, event.Label())
			return
		}
	}
}

// Delete forgets a pod.
func (q *Queue) Delete(pod *v1.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.Nominator.DeleteNominatedPodIfExists(pod)
	if p := q.find(pod.UID); p != nil {
		q.countRejected(p, -1)
		q.take(p)
	}
}

// AddUnschedulable takes back a popped pod that could not be scheduled, and ends its flight. Without rejecting plugins
// the attempt was an error, and the pod is tried again after a pause.
func (q *Queue) AddUnschedulable(p *Pod) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	uid := p.GetPod().UID
	defer q.flights.end(uid)
	if q.find(uid) != nil {
		return fmt.Errorf("pod %v is already in the queue", klog.KObj(p.GetPod()))
	}
	if len(p.Unschedulable)+len(p.Pending) == 0 {
		p.errors++
	} else {
		p.rejections++
		p.errors = 0
	}
	p.timestamp = time.Now()
	p.backoffExpires = p.timestamp.Add(q.pause(p))
	q.countRejected(p, 1)
	how := stay
	if p.errors > 0 {
		how = afterBackoff
	}
	for _, c := range q.flights.since(uid) {
		if how = max(how, q.worth(p, c)); how == atOnce {
			break
		}
	}
	q.requeue(p, how, clusterevent.ScheduleAttemptFailure)
	return nil
}

func (q *Queue) pause(p *Pod) time.Duration {
	failures := p.rejections
	if p.errors > 0 {
		failures = p.errors
	}
	pause := q.cfg.InitialBackoff
	for i := 1; i < failures && pause < q.cfg.MaxBackoff; i++ {
		pause *= 2
	}
	return min(pause, q.cfg.MaxBackoff)
}

// Move tries waiting pods again that the event may help. With admit, only those that it admits are considered.
func (q *Queue) Move(event fwk.ClusterEvent, older, newer any, admit func(*v1.Pod) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.interesting(event) {
		return
	}
	c := change{event: event, older: older, newer: newer}
	for _, p := range q.unschedulable {
		if admit != nil && !admit(p.GetPod()) {
			continue
		}
		if p.gatedBy != "" && !clusterevent.IsEverything(event) && !clusterevent.MatchesAny(p.gateEvents, event) {
			continue
		}
		if how := q.worth(p, c); how != stay {
			q.requeue(p, how, event.Label())
		}
	}
	q.flights.note(c)
}

// Activate tries pods again now, on behalf of plugins that know why.
func (q *Queue) Activate(_ klog.Logger, pods map[string]*v1.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, pod := range pods {
		if p := q.find(pod.UID); p != nil && p.heap != q.active {
			q.take(p)
			q.toActive(p, clusterevent.ForceActivate)
		} else if p == nil && q.flights.has(pod.UID) {
			q.flights.note(change{event: clusterevent.Everything(clusterevent.ForceActivate), only: pod.UID})
		}
	}
}

// Sizes counts the pods in each queue.
func (q *Queue) Sizes() (active, backoff, unschedulable, gated int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range q.unschedulable {
		if p.gatedBy != "" {
			gated++
		}
	}
	return q.active.Len(), q.backoff.Len() + q.errorBackoff.Len(), len(q.unschedulable) - gated, gated
}

// find returns a waiting pod.
func (q *Queue) find(uid types.UID) *Pod {
	if p, found := q.queued[uid]; found {
		return p
	}
	return q.unschedulable[uid]
}

// take removes a pod from wherever it waits.
func (q *Queue) take(p *Pod) {
	if p.heap != nil {
		heap.Remove(p.heap, p.index)
	}
	delete(q.queued, p.GetPod().UID)
	delete(q.unschedulable, p.GetPod().UID)
}

func (q *Queue) countRejected(p *Pod, delta float64) {
	for plugin := range p.rejectors() {
		q.cfg.Metrics.Rejected(plugin, p.GetPod().Spec.SchedulerName, delta)
	}
}

func (q *Queue) reject(p *Pod, plugin string) {
	if p.rejectors().Has(plugin) {
		return
	}
	if p.Unschedulable == nil {
		p.Unschedulable = sets.New[string]()
	}
	p.Unschedulable.Insert(plugin)
	q.cfg.Metrics.Rejected(plugin, p.GetPod().Spec.SchedulerName, 1)
}
