package runtime

import (
	"context"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
)

// maxPermitWait bounds how long a Permit plugin may hold a pod.
const maxPermitWait = 15 * time.Minute

// waitingPods are the pods that Permit plugins hold and those being bound; all profiles share them.
type waitingPods struct {
	mu      sync.RWMutex
	permit  map[types.UID]*waitingPod
	preBind map[types.UID]*preBindPod
}

func newWaitingPods() *waitingPods {
	return &waitingPods{permit: map[types.UID]*waitingPod{}, preBind: map[types.UID]*preBindPod{}}
}

// waitingPod is decided once: by the last plugin's consent, by a rejection or by time.
type waitingPod struct {
	pod     *v1.Pod
	verdict chan *fwk.Status

	mu      sync.Mutex
	pending map[string]*time.Timer
	decided bool
}

var _ fwk.WaitingPod = &waitingPod{}

func newWaitingPod(pod *v1.Pod, timeouts map[string]time.Duration) *waitingPod {
	w := &waitingPod{pod: pod, verdict: make(chan *fwk.Status, 1), pending: map[string]*time.Timer{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	for plugin, timeout := range timeouts {
		msg := fmt.Sprintf("rejected due to timeout after waiting %v at plugin %v", timeout, plugin)
		w.pending[plugin] = time.AfterFunc(timeout, func() { w.Reject(plugin, msg) })
	}
	return w
}

// GetPod returns the pod.
func (w *waitingPod) GetPod() *v1.Pod { return w.pod }

// GetPendingPlugins names the plugins that have not consented.
func (w *waitingPod) GetPendingPlugins() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sets.List(sets.KeySet(w.pending))
}

// Allow is a plugin's consent.
func (w *waitingPod) Allow(plugin string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if timer, found := w.pending[plugin]; found {
		timer.Stop()
		delete(w.pending, plugin)
	}
	if len(w.pending) == 0 {
		w.decide(nil)
	}
}

// Reject sends the pod back as unschedulable.
func (w *waitingPod) Reject(plugin, msg string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.decide(fwk.NewStatus(fwk.Unschedulable, msg).WithPlugin(plugin))
}

// Preempt sends the pod back to be scheduled again.
func (w *waitingPod) Preempt(plugin, msg string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.decide(fwk.NewStatus(fwk.Error, msg).WithPlugin(plugin))
}

func (w *waitingPod) decide(status *fwk.Status) bool {
	if w.decided {
		return false
	}
	w.decided = true
	for _, timer := range w.pending {
		timer.Stop()
	}
	w.verdict <- status
	return true
}

// preBindPod is a pod whose binding cycle can still be called off.
type preBindPod struct {
	mu       sync.Mutex
	cancel   context.CancelCauseFunc
	bound    bool
	canceled bool
}

var _ fwk.PodInPreBind = &preBindPod{}

// CancelPod calls the binding off, unless it has gone too far.
func (p *preBindPod) CancelPod(reason string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bound {
		return false
	}
	p.canceled = true
	p.cancel(fmt.Errorf("%s", reason))
	return true
}

// MarkPrebound makes the binding final, unless it was called off.
func (p *preBindPod) MarkPrebound() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bound = !p.canceled
	return p.bound
}

// AddWaitingPod holds a pod until its Permit plugins have decided.
func (p *Profile) AddWaitingPod(pod *v1.Pod, timeouts map[string]time.Duration) {
	p.waiting.mu.Lock()
	defer p.waiting.mu.Unlock()
	p.waiting.permit[pod.UID] = newWaitingPod(pod, timeouts)
}

// WaitOnPermit blocks until the Permit plugins that hold the pod have decided.
func (p *Profile) WaitOnPermit(_ context.Context, pod *v1.Pod) *fwk.Status {
	p.waiting.mu.RLock()
	held, found := p.waiting.permit[pod.UID]
	p.waiting.mu.RUnlock()
	if !found {
		return nil
	}
	defer func() {
		p.waiting.mu.Lock()
		delete(p.waiting.permit, pod.UID)
		p.waiting.mu.Unlock()
	}()
	start := time.Now()
	status := <-held.verdict
	p.metrics.PermitWait(status.Code(), start)
	if status.IsSuccess() || status.IsRejected() {
		return status
	}
	return fwk.AsStatus(fmt.Errorf("waiting on permit for pod: %w", status.AsError())).WithPlugin(status.Plugin())
}

// IterateOverWaitingPods calls visit with each held pod.
func (p *Profile) IterateOverWaitingPods(visit func(fwk.WaitingPod)) {
	p.waiting.mu.RLock()
	defer p.waiting.mu.RUnlock()
	for _, held := range p.waiting.permit {
		visit(held)
	}
}

// GetWaitingPod returns a held pod, or nil.
func (p *Profile) GetWaitingPod(uid types.UID) fwk.WaitingPod {
	p.waiting.mu.RLock()
	defer p.waiting.mu.RUnlock()
	if held, found := p.waiting.permit[uid]; found {
		return held
	}
	return nil
}

// RejectWaitingPod rejects a held pod; it says whether there was one.
func (p *Profile) RejectWaitingPod(uid types.UID) bool {
	if held := p.GetWaitingPod(uid); held != nil {
		return held.Reject("", "removed")
	}
	return false
}

// AddPodInPreBind makes a binding cycle known so that preemption can call it off.
func (p *Profile) AddPodInPreBind(uid types.UID, cancel context.CancelCauseFunc) {
	p.waiting.mu.Lock()
	defer p.waiting.mu.Unlock()
	p.waiting.preBind[uid] = &preBindPod{cancel: cancel}
}

// GetPodInPreBind returns a pod in its binding cycle, or nil.
func (p *Profile) GetPodInPreBind(uid types.UID) fwk.PodInPreBind {
	p.waiting.mu.RLock()
	defer p.waiting.mu.RUnlock()
	if pod, found := p.waiting.preBind[uid]; found {
		return pod
	}
	return nil
}

// RemovePodInPreBind forgets a binding cycle.
func (p *Profile) RemovePodInPreBind(uid types.UID) {
	p.waiting.mu.Lock()
	defer p.waiting.mu.Unlock()
	delete(p.waiting.preBind, uid)
}
