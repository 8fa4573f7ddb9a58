package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/kubelet/lifecycle"
	"github.com/plumbline/plumbline/components/kubelet/podsource"
	"github.com/plumbline/plumbline/components/kubelet/probe"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
	"github.com/plumbline/plumbline/components/kubelet/status"
)

// phase is how far a pod has come with this kubelet.
type phase int

const (
	// syncing: it should run.
	syncing phase = iota
	// stopping: its containers are being stopped.
	stopping
	// ended: its containers have ended for good; its status and logs stay.
	ended
	// cleaning: it was deleted, and what is left of it is being removed.
	cleaning
	// gone: nothing is left.
	gone
)

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// operation is the one thing that a worker is doing.
type operation struct {
	cancel context.CancelFunc
	// phase is the worker's when it began.
	phase phase
	// grace is, for a stop, how long it may take in seconds.
	grace int64
	// overtaken says that it was cancelled for something more urgent.
	overtaken bool
}

// overtake ends an operation because there is something more urgent.
func (o *operation) overtake() {
	o.overtaken = true
	o.cancel()
}

// outcome is how an operation ended.
type outcome struct {
	err error
	// again is when to try again at the latest; 0 leaves it to the worker.
	again time.Duration
}

// worker is one pod's loop.
type worker struct {
	m       *Manager
	uid     types.UID
	backOff *lifecycle.BackOff
	orphan  bool
	after   []chan struct{}
	wake    chan struct{}
	// settled is closed when the containers have ended and what they used is given
	// back, done when nothing is left.
	settled, done chan struct{}

	mu      sync.Mutex
	pod     *v1.Pod
	removed bool
	verdict *status.Verdict
	grace   *int64
	// changes counts what the pod's volumes have to follow; covered is how many they do.
	changes, covered int
	phase            phase
	held             map[string]lifecycle.Held
	// counted says that the pod was admitted and takes part in later admissions.
	counted bool
	// hooking are containers whose postStart hook has not ended.
	hooking  map[string]bool
	resizing resizing

	// What follows belongs to the loop alone.
	admitted bool
	// seen is how many changes the pod has that this step works on.
	seen      int
	op        *operation
	outcomes  chan outcome
	retry     time.Duration
	notBefore time.Time
	timer     *time.Timer
	// preStopped are containers whose preStop hook was run.
	preStopped *stopLog
	volumesUp  bool
	mirrored   bool
	// resting says that an ended pod still has to give back its volumes.
	resting bool
}

func newWorker(m *Manager, pod *v1.Pod) *worker {
	return &worker{
		m: m, uid: pod.UID, pod: pod,
		backOff:    lifecycle.NewBackOff(m.c.LongestBackOff),
		wake:       make(chan struct{}, 1),
		settled:    make(chan struct{}),
		done:       make(chan struct{}),
		held:       map[string]lifecycle.Held{},
		hooking:    map[string]bool{},
		outcomes:   make(chan outcome, 1),
		preStopped: newStopLog(),
	}
}

// active says whether the pod may use resources.
func (w *worker) active() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.orphan && w.phase <= stopping && (!terminal(w.pod.Status.Phase) || w.phase != syncing)
}

// run is the loop.
func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	for _, other := range w.after {
		select {
		case <-other:
		case <-ctx.Done():
			return
		}
	}
	select {
	case <-w.m.c.Observer.Synced():
	case <-ctx.Done():
		return
	}
	w.timer = time.NewTimer(time.Hour)
	defer w.timer.Stop()
	for {
		if w.step(ctx) {
			w.m.forget(w)
			return
		}
		select {
		case <-w.wake:
		case <-w.timer.C:
		case result := <-w.outcomes:
			w.finish(ctx, result)
		case <-ctx.Done():
			if w.op != nil {
				w.op.cancel()
			}
			return
		}
	}
}

// finish takes in how the operation ended.
func (w *worker) finish(ctx context.Context, result outcome) {
	op := w.op
	op.cancel()
	w.op = nil
	switch {
	case op.overtaken:
		w.notBefore = time.Time{}
		return
	case result.again > 0:
		w.notBefore = time.Now().Add(result.again)
		return
	case result.err != nil:
		w.retry = min(max(2*w.retry, firstRetry), lastRetry)
		w.notBefore = time.Now().Add(w.retry)
		klog.FromContext(ctx).V(2).Info("Pod operation failed", "pod", klog.KObj(w.current()), "err", result.err, "retry", w.retry)
		return
	}
	w.retry, w.notBefore = 0, time.Time{}
	if op.phase == w.phase {
		w.advance()
		if w.phase >= ended {
			// What it had may be what another waits for.
			w.m.reconsider()
		}
	}
}

// advance moves on after the operation of the present phase succeeded.
func (w *worker) advance() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.phase {
	case stopping:
		w.phase = ended
		w.resting = true
	case ended:
		w.resting = false
		w.settle()
	case cleaning:
		w.phase = gone
		w.settle()
	}
}

// settle says to those who wait that the pod uses nothing any more.
func (w *worker) settle() {
	select {
	case <-w.settled:
	default:
		close(w.settled)
	}
}

// begin starts an operation beside the loop.
func (w *worker) begin(ctx context.Context, grace int64, do func(context.Context) outcome) {
	ctx, cancel := context.WithCancel(ctx)
	w.op = &operation{cancel: cancel, phase: w.phase, grace: grace}
	go func() { w.outcomes <- do(ctx) }()
}

// later has the loop look again after a while at the latest.
func (w *worker) later(d time.Duration) {
	if d > 0 {
		w.timer.Reset(d)
	}
}

// step looks at the pod and does what is next. It says whether the worker's work is done.
func (w *worker) step(ctx context.Context) (finished bool) {
	w.mu.Lock()
	pod, removed := w.pod, w.removed
	w.mu.Unlock()
	if !w.admitted {
		w.admit(pod, removed)
	}
	if w.phase == syncing {
		w.askForMore()
	}
	pod, w.seen = w.snapshot()
	state := w.m.c.Observer.Get(w.uid)
	switch w.phase {
	case syncing:
		if w.mustStop(pod, state, removed) {
			w.mu.Lock()
			w.phase = stopping
			w.mu.Unlock()
			return w.step(ctx)
		}
		if !w.mirrored && w.m.c.Mirrors != nil && podsource.IsStatic(pod) {
			w.mirrored = true
			w.m.c.Mirrors.Wanted(pod)
		}
		w.probe(ctx, pod, state)
		w.conclude(pod, state)
		w.report(pod, state)
		w.sync(ctx, pod, state)
	case stopping:
		w.report(pod, state)
		w.stop(ctx, pod, removed)
	case ended:
		w.report(pod, state)
		if removed || pod.DeletionTimestamp != nil {
			w.mu.Lock()
			w.phase = cleaning
			w.mu.Unlock()
			return w.step(ctx)
		}
		w.rest(ctx, pod)
	case cleaning:
		if w.op == nil && w.due() {
			w.begin(ctx, 0, func(ctx context.Context) outcome { return outcome{err: w.clean(ctx, pod, removed)} })
		}
	case gone:
		// The worker stays until the pod is gone from its source too, so that a late
		// update does not bring the pod back.
		return removed
	}
	return false
}

// due says whether the pause after a failure is over, and otherwise sets the timer.
func (w *worker) due() bool {
	if wait := time.Until(w.notBefore); wait > 0 {
		w.later(wait)
		return false
	}
	return true
}

// admit asks once whether the pod may run here.
func (w *worker) admit(pod *v1.Pod, removed bool) {
	w.admitted = true
	if w.orphan {
		return
	}
	w.recall(pod)
	if w.phase != syncing || removed || pod.DeletionTimestamp != nil || terminal(pod.Status.Phase) || w.m.c.Admit == nil {
		return
	}
	w.m.mu.Lock()
	pod = w.granted()
	verdict := w.m.c.Admit(pod, w.m.othersLocked(w))
	if verdict == nil {
		w.count()
	}
	w.m.mu.Unlock()
	if verdict == nil {
		w.grantFirst(pod)
		return
	}
	w.m.c.Event(pod, "", v1.EventTypeWarning, verdict.Reason, verdict.Message)
	w.mu.Lock()
	w.verdict = verdict
	w.mu.Unlock()
}

func (w *worker) count() {
	w.mu.Lock()
	w.counted = true
	w.mu.Unlock()
}

func (w *worker) isCounted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counted
}

// mustStop says whether the pod's time is over.
func (w *worker) mustStop(pod *v1.Pod, state *runtime.Pod, removed bool) bool {
	w.deadline(pod)
	w.mu.Lock()
	verdict := w.verdict
	w.mu.Unlock()
	return removed || pod.DeletionTimestamp != nil || verdict != nil || terminal(pod.Status.Phase) || lifecycle.Finished(pod, state, w.isRestarting)
}

// deadline holds the pod to its activeDeadlineSeconds.
func (w *worker) deadline(pod *v1.Pod) {
	if pod.Spec.ActiveDeadlineSeconds == nil {
		return
	}
	start := pod.Status.StartTime
	if latest, ok := w.m.c.Status.Get(w.uid); ok && latest.StartTime != nil {
		start = latest.StartTime
	}
	if start == nil {
		return
	}
	left := time.Until(start.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second))
	if left > 0 {
		w.later(left)
		return
	}
	const message = "Pod was active on the node longer than the specified deadline"
	w.mu.Lock()
	first := w.verdict == nil
	if first {
		w.verdict = &status.Verdict{Phase: v1.PodFailed, Reason: "DeadlineExceeded", Message: message}
	}
	w.mu.Unlock()
	if first {
		w.m.c.Event(pod, "", v1.EventTypeNormal, "DeadlineExceeded", message)
	}
}

// sync starts what the plan asks for, unless something is being done.
func (w *worker) sync(ctx context.Context, pod *v1.Pod, state *runtime.Pod) {
	if w.op != nil {
		return
	}
	stale := w.isStale()
	if !w.due() && !stale {
		return
	}
	plan := lifecycle.Next(lifecycle.Input{
		Pod: pod, State: state, Now: time.Now(), BackOff: w.backOff,
		Health:           w.health,
		LastRestartCount: lastRestartCount(pod),
		Actuated:         w.actuated, Regroup: w.regroup(pod), Restarting: w.isRestarting,
	})
	w.hold(plan)
	if plan.Empty() && (!stale || !w.volumesUp) {
		w.later(plan.Again)
		return
	}
	w.cover(w.seen)
	w.begin(ctx, 0, func(ctx context.Context) outcome { return w.carryOut(ctx, pod, plan) })
}

// hold takes over which containers wait for their back-off, and shows it.
func (w *worker) hold(plan lifecycle.Plan) {
	if len(plan.Held) == 0 {
		return
	}
	w.mu.Lock()
	changed := false
	for _, held := range plan.Held {
		if w.held[held.Name] != held {
			w.held[held.Name] = held
			changed = true
		}
	}
	pod := w.pod
	w.mu.Unlock()
	if !changed {
		return
	}
	for _, held := range plan.Held {
		w.m.c.Event(pod, held.Name, v1.EventTypeWarning, "BackOff",
			fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", held.Name, pod.Name, pod.Namespace, pod.UID))
	}
	w.poke()
}

func (w *worker) setHeld(held lifecycle.Held) {
	w.mu.Lock()
	w.held[held.Name] = held
	w.mu.Unlock()
	w.poke()
}

func (w *worker) clearHeld(name string) {
	w.mu.Lock()
	delete(w.held, name)
	w.mu.Unlock()
}

// health is what the probes say of a running container.
func (w *worker) health(c *runtime.Container) lifecycle.Health {
	h := lifecycle.Health{Started: w.started(c.Id)}
	for kind, name := range map[probe.Kind]string{probe.Startup: "startup", probe.Liveness: "liveness"} {
		if w.m.c.Probes.Result(c.Id, kind) == probe.Failed {
			h.Unhealthy = name
		}
	}
	return h
}

// started says whether a running container has started up.
func (w *worker) started(id string) bool {
	w.mu.Lock()
	hooking := w.hooking[id]
	w.mu.Unlock()
	if hooking {
		return false
	}
	_, c := w.m.c.Observer.FindContainer(id)
	if c == nil {
		return false
	}
	if spec := specOf(w.current(), c.Name()); spec != nil && spec.StartupProbe != nil {
		return w.m.c.Probes.Result(id, probe.Startup) == probe.Success
	}
	return true
}

// lastRestartCount answers from the status that the API server has.
func lastRestartCount(pod *v1.Pod) func(string) (int32, bool) {
	return func(name string) (int32, bool) {
		for _, list := range [][]v1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
			if s := status.Find(list, name); s != nil && s.ContainerID != "" {
				return s.RestartCount, true
			}
		}
		return 0, false
	}
}

// specOf finds a container's spec, be it regular, init or ephemeral.
func specOf(pod *v1.Pod, name string) *v1.Container {
	for _, list := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			c := v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			return &c
		}
	}
	return nil
}
