// Package cycle schedules: it takes the next pod from the queue, chooses a node for it, and binds it while the next pod
// is being looked at.
package cycle

import (
	"context"
	"math/rand"
	"time"

	v1 "k8s.io/api/core/v1"
	clientset "k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/cache"
	"github.com/plumbline/plumbline/components/scheduler/dra"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/queue"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
)

// pluginSample is one in how many cycles plugins are timed one by one.
const pluginSample = 10

// Config is what a Scheduler works with.
type Config struct {
	Client     clientset.Interface
	Pods       corelisters.PodLister
	Cache      *cache.Cache
	Snapshot   *cache.Snapshot
	DRA        *dra.Manager // nil: nothing is listened to but informers
	Queue      *queue.Queue
	Profiles   map[string]*runtime.Profile
	Extenders  []fwk.Extender
	Metrics    *metrics.Metrics
	Percentage int32 // of nodes to score; 0 means to choose by the size of the cluster
}

// Scheduler runs scheduling cycles one after the other, and binding cycles beside them.
type Scheduler struct {
	Config
	// next is the node at which the next search starts, so that all nodes get their turn.
	next int
	// nominated is what the nominator said last.
	nominated nominations
	binders   binders
}

// New makes a scheduler.
func New(cfg Config) *Scheduler { return &Scheduler{Config: cfg} }

// Run schedules until the queue is closed.
func (s *Scheduler) Run(ctx context.Context) {
	for {
		p := s.Queue.Pop()
		if p == nil {
			return
		}
		s.Schedule(ctx, p)
	}
}

// attempt is one try to schedule a pod.
type attempt struct {
	profile *runtime.Profile
	pod     *queue.Pod
	state   fwk.CycleState
	start   time.Time
	node    string
	assumed *v1.Pod
	// work says whether there is any before the pod can be bound.
	work *fwk.Status
}

// Schedule runs the scheduling cycle of a popped pod and starts its binding cycle.
func (s *Scheduler) Schedule(ctx context.Context, p *queue.Pod) {
	pod := p.GetPod()
	profile, found := s.Profiles[pod.Spec.SchedulerName]
	if !found || s.skip(profile, pod) {
		s.Queue.Done(pod.UID)
		return
	}
	if log := klog.FromContext(ctx); log.V(3).Enabled() {
		ctx = klog.NewContext(ctx, klog.LoggerWithValues(log, "pod", klog.KObj(pod)))
	}
	a := &attempt{
		profile: profile,
		pod:     p,
		state:   runtime.NewCycleState(rand.Intn(pluginSample) == 0),
		start:   time.Now(),
	}
	s.Cache.UpdateSnapshot(s.Snapshot)
	nominating, status := s.choose(ctx, a)
	if status.IsSuccess() {
		nominating = denominate
		status = s.reserve(ctx, a)
	}
	if !status.IsSuccess() {
		s.fail(ctx, a, status, nominating)
		return
	}
	a.work = a.profile.RunPreBindPreFlights(ctx, a.state, a.assumed, a.node)
	binding := func() {
		s.Metrics.Goroutine("binding", 1)
		defer s.Metrics.Goroutine("binding", -1)
		if status := s.bind(ctx, a); !status.IsSuccess() {
			s.failBinding(ctx, a, status)
		}
	}
	if s.plain(a) {
		// While it waits for its turn, nothing that happens matters to it.
		s.Queue.Done(a.assumed.UID)
		s.binders.do(binding)
	} else {
		go binding()
	}
}

// skip says whether a popped pod needs no scheduling after all.
func (s *Scheduler) skip(profile *runtime.Profile, pod *v1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		profile.EventRecorder().Eventf(pod, nil, v1.EventTypeWarning, "FailedScheduling", "Scheduling", "skip schedule deleting pod: %v/%v", pod.Namespace, pod.Name)
		return true
	}
	return s.Cache.IsAssumed(pod.UID)
}

// denominate takes an earlier nomination off a pod.
var denominate = &fwk.NominatingInfo{NominatingMode: fwk.ModeOverride}
