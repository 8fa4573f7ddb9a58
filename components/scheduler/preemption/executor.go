package preemption

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/podstatus"
)

// Executor evicts victims while scheduling goes on.
type Executor struct {
	handle fwk.Handle
	plugin string

	mu      sync.Mutex
	running map[types.UID]*v1.Pod // by preemptor; the last victim, once it is its turn
	victims map[types.UID]preempted
	sweepAt int // how many preemptors are remembered before those are dropped that wait no longer
}

// preempted is a preemptor and those whose end it waits for.
type preempted struct {
	by      *v1.Pod
	victims []*v1.Pod
}

// leastSweep is how many preemptors are always remembered.
const leastSweep = 64

// NewExecutor makes an executor on behalf of a plugin.
func NewExecutor(handle fwk.Handle, plugin string) *Executor {
	return &Executor{handle: handle, plugin: plugin, running: map[types.UID]*v1.Pod{}, victims: map[types.UID]preempted{}, sweepAt: leastSweep}
}

// IsPreempting says whether evictions for the pod are still to be requested. The last victim is the one whose deletion
// wakes the preemptor up, so it counts as requested as soon as its deletion is seen.
func (e *Executor) IsPreempting(uid types.UID) bool {
	e.mu.Lock()
	last, found := e.running[uid]
	e.mu.Unlock()
	if !found || last == nil {
		return found
	}
	current, found := e.current(last)
	return found && current.DeletionTimestamp == nil
}

// Awaits says whether the pod that is gone was a victim of the preemptor, and whether the preemptor waits for more. A
// victim that was not bound yet goes without being deleted.
func (e *Executor) Awaits(preemptor types.UID, gone *v1.Pod) (awaited, more bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, victim := range e.victims[preemptor].victims {
		if victim.UID == gone.UID {
			awaited = true
		} else if current, found := e.current(victim); found && current.Spec.NodeName != "" {
			more = true
		}
	}
	if awaited && !more {
		delete(e.victims, preemptor)
	}
	return awaited, awaited && more
}

// Forget is told of a preemptor that was tried again before its last victim was gone. From then on, whatever goes may be
// what it still lacks.
func (e *Executor) Forget(preemptor types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.victims, preemptor)
}

func (e *Executor) current(pod *v1.Pod) (*v1.Pod, bool) {
	current, err := e.handle.SharedInformerFactory().Core().V1().Pods().Lister().Pods(pod.Namespace).Get(pod.Name)
	return current, err == nil && current.UID == pod.UID
}

// remember notes the victims. Preemptors may end their waiting unnoticed, by being deleted or finding another node.
func (e *Executor) remember(preemptor *v1.Pod, victims []*v1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running[preemptor.UID] = nil
	e.victims[preemptor.UID] = preempted{preemptor, victims}
	if len(e.victims) < e.sweepAt {
		return
	}
	maps.DeleteFunc(e.victims, func(_ types.UID, p preempted) bool {
		current, found := e.current(p.by)
		return !found || current.Spec.NodeName != ""
	})
	e.sweepAt = max(leastSweep, 2*len(e.victims))
}

// Start evicts the victims in the background. If that fails, or all ends without any deletion to wait for, the
// preemptor is sent back to be scheduled.
func (e *Executor) Start(pod *v1.Pod, chosen *Candidate) {
	var victims []*v1.Pod
	for _, victim := range chosen.victims {
		if victim.DeletionTimestamp == nil {
			victims = append(victims, victim)
		}
	}
	if len(victims) == 0 {
		return
	}
	e.remember(pod, victims)
	go e.run(pod, chosen.node, victims)
}

func (e *Executor) run(pod *v1.Pod, node string, victims []*v1.Pod) {
	ctx := context.Background()
	logger := klog.FromContext(ctx)
	e.denominate(ctx, pod, node)

	last := victims[len(victims)-1]
	results := make(chan error, len(victims))
	for _, victim := range victims[:len(victims)-1] {
		go func() {
			_, err := e.evict(ctx, pod, node, victim)
			results <- err
		}()
	}
	var err error
	for range victims[1:] {
		err = errors.Join(err, <-results)
	}
	inMemory := false
	if err == nil {
		e.mu.Lock()
		e.running[pod.UID] = last
		e.mu.Unlock()
		inMemory, err = e.evict(ctx, pod, node, last)
	}
	e.mu.Lock()
	delete(e.running, pod.UID)
	if err != nil {
		delete(e.victims, pod.UID)
	}
	e.mu.Unlock()
	if err != nil {
		logger.Error(err, "Preemption failed", "pod", klog.KObj(pod), "node", node)
	}
	if err != nil || inMemory {
		e.handle.Activate(logger, map[string]*v1.Pod{pod.Name: pod})
	}
}

// denominate takes the nomination off less important pods that hoped for the same node: they may find another.
func (e *Executor) denominate(ctx context.Context, pod *v1.Pod, node string) {
	for _, info := range e.handle.NominatedPodsForNode(node) {
		other := info.GetPod()
		if other.Status.NominatedNodeName == "" || corev1helpers.PodPriority(other) >= corev1helpers.PodPriority(pod) {
			continue
		}
		after := other.Status.DeepCopy()
		after.NominatedNodeName = ""
		if err := podstatus.Patch(ctx, e.handle.ClientSet(), other, after); err != nil {
			klog.FromContext(ctx).Error(err, "Cannot clear 'NominatedNodeName' field", "pod", klog.KObj(other))
		}
	}
}

// evict sends the victim back if it is not bound yet, else marks and deletes it.
func (e *Executor) evict(ctx context.Context, preemptor *v1.Pod, node string, victim *v1.Pod) (inMemory bool, err error) {
	note := fmt.Sprintf("Preempted by pod %v on node %v", preemptor.UID, node)
	if waiting := e.handle.GetWaitingPod(victim.UID); waiting != nil {
		inMemory = waiting.Preempt(e.plugin, "preempted")
	} else if binding := e.handle.GetPodInPreBind(victim.UID); binding != nil {
		inMemory = binding.CancelPod("preempted by " + e.plugin)
	}
	if inMemory {
		note += " (in kube-scheduler memory)."
	} else if err := e.remove(ctx, preemptor, victim); err != nil {
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return false, err
	}
	e.handle.EventRecorder().WithLogger(klog.FromContext(ctx)).Eventf(victim, preemptor, v1.EventTypeNormal, "Preempted", "Preempting", note)
	return inMemory, nil
}

func (e *Executor) remove(ctx context.Context, preemptor, victim *v1.Pod) error {
	after := victim.Status.DeepCopy()
	podstatus.SetCondition(after, v1.PodCondition{
		Type:               v1.DisruptionTarget,
		ObservedGeneration: victim.Generation,
		Status:             v1.ConditionTrue,
		Reason:             v1.PodReasonPreemptionByScheduler,
		Message:            preemptor.Spec.SchedulerName + ": preempting to accommodate a higher priority pod",
	})
	if err := podstatus.Patch(ctx, e.handle.ClientSet(), victim, after); err != nil {
		return err
	}
	return e.handle.ClientSet().CoreV1().Pods(victim.Namespace).Delete(ctx, victim.Name, *metav1.NewPreconditionDeleteOptions(string(victim.UID)))
}
