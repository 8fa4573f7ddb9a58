package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/kubelet/allocation"
	"github.com/plumbline/plumbline/components/kubelet/cgroup"
	"github.com/plumbline/plumbline/components/kubelet/lifecycle"
	"github.com/plumbline/plumbline/components/kubelet/qos"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
	"github.com/plumbline/plumbline/components/kubelet/status"
)

// resizing is what a worker knows of its pod's resources. It is guarded by the worker's mutex.
type resizing struct {
	// record is nil until the pod was admitted.
	record *allocation.Record
	// group is what the pod's group was last set to; nil if that is not known.
	group *cgroup.Limits
	// pending and progress are the conditions of a resize that was not granted, or
	// not carried out, yet.
	pending, progress *v1.PodCondition
	// restarting are containers that were stopped only to be started anew.
	restarting map[string]bool
}

// granted is the pod with the resources that this node has promised to it.
func (w *worker) granted() *v1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.grantedLocked()
}

func (w *worker) grantedLocked() *v1.Pod {
	if w.resizing.record == nil {
		return w.pod
	}
	return w.resizing.record.Allocated.Apply(w.pod)
}

// recall finds what was granted to the pod before this kubelet began.
func (w *worker) recall(pod *v1.Pod) {
	record, err := w.m.c.Ledger.Load(w.uid)
	if err != nil {
		klog.ErrorS(err, "Read what was granted to a pod", "pod", klog.KObj(pod))
	}
	if record == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resizing.record = record
	if c := status.FindCondition(pod.Status.Conditions, v1.PodResizeInProgress); c != nil {
		w.resizing.progress = c.DeepCopy()
	}
}

// grantFirst promises to a pod that was admitted what it asks for, if nothing was
// promised to it before.
func (w *worker) grantFirst(pod *v1.Pod) {
	w.mu.Lock()
	known := w.resizing.record != nil
	if !known {
		w.resizing.record = &allocation.Record{Allocated: allocation.Of(pod), Actuated: map[string]allocation.Amounts{}}
	}
	w.mu.Unlock()
	if !known {
		w.save()
	}
}

func (w *worker) save() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.m.c.Ledger.Save(w.uid, w.resizing.record); err != nil {
		klog.ErrorS(err, "Note what was granted to a pod", "pod", klog.KObj(w.pod))
	}
}

// askForMore has the manager decide if the pod asks for other resources than it was promised.
func (w *worker) askForMore() {
	w.mu.Lock()
	asks := w.asksLocked()
	if !asks {
		w.resizing.pending = nil
	}
	decided := w.resizing.pending != nil && w.resizing.pending.ObservedGeneration == w.pod.Generation
	w.mu.Unlock()
	if asks && !decided {
		w.m.reconsider()
	}
}

func (w *worker) asksLocked() bool {
	return w.resizing.record != nil && w.phase == syncing && !w.resizing.record.Allocated.Equal(allocation.Of(w.pod))
}

// reconsider decides about every resize that was not granted yet: first those that
// take no more, then by priority, quality of service and time of waiting.
func (m *Manager) reconsider() {
	m.mu.Lock()
	defer m.mu.Unlock()
	type wish struct {
		w             *worker
		now, asked    *v1.Pod
		grows         bool
		priority, age int64
	}
	var wishes []wish
	for _, w := range m.workers {
		w.mu.Lock()
		if w.asksLocked() {
			next := wish{w: w, now: w.grantedLocked(), asked: w.pod}
			if p := w.pod.Spec.Priority; p != nil {
				next.priority = int64(*p)
			}
			if w.resizing.pending != nil {
				next.age = -w.resizing.pending.LastTransitionTime.UnixNano()
			}
			wishes = append(wishes, next)
		}
		w.mu.Unlock()
	}
	for i := range wishes {
		requests := func(pod *v1.Pod) v1.ResourceList {
			return resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
		}
		wishes[i].grows = allocation.Grows(requests(wishes[i].now), requests(wishes[i].asked))
	}
	sort.SliceStable(wishes, func(i, j int) bool {
		a, b := wishes[i], wishes[j]
		guaranteed := func(x wish) bool { return qos.Class(x.now) == v1.PodQOSGuaranteed }
		switch {
		case a.grows != b.grows:
			return !a.grows
		case a.priority != b.priority:
			return a.priority > b.priority
		case guaranteed(a) != guaranteed(b):
			return guaranteed(a)
		}
		return a.age > b.age
	})
	for _, wish := range wishes {
		wish.w.decide(wish.asked, m.othersLocked(wish.w))
	}
}

// decide grants what the pod asks for, or says why it must wait.
func (w *worker) decide(asked *v1.Pod, others []*v1.Pod) {
	reason, message := "", ""
	if w.m.c.Resize != nil {
		reason, message = w.m.c.Resize(asked, others)
	}
	now := metav1.Now()
	if reason == "" {
		w.mu.Lock()
		w.resizing.record.Allocated = allocation.Of(asked)
		w.resizing.pending = nil
		w.resizing.progress = &v1.PodCondition{
			Type: v1.PodResizeInProgress, Status: v1.ConditionTrue, ObservedGeneration: asked.Generation, LastTransitionTime: now,
		}
		w.mu.Unlock()
		w.save()
		w.m.c.Event(asked, "", v1.EventTypeNormal, "ResizeStarted", allocation.Summary("Pod resize started", asked, asked.Generation, ""))
		w.poke()
		return
	}
	next := &v1.PodCondition{
		Type: v1.PodResizePending, Status: v1.ConditionTrue, Reason: reason, Message: message,
		ObservedGeneration: asked.Generation, LastTransitionTime: now,
	}
	w.mu.Lock()
	before := w.resizing.pending
	if before != nil && before.Reason == reason {
		next.LastTransitionTime = before.LastTransitionTime
	}
	w.resizing.pending = next
	w.mu.Unlock()
	if before == nil || before.Reason != reason || before.ObservedGeneration != next.ObservedGeneration {
		w.m.c.Event(asked, "", v1.EventTypeWarning, "Resize"+reason, allocation.Summary("Pod resize "+reason, asked, asked.Generation, message))
		w.poke()
	}
}

// conclude ends a resize once everything that runs has what it was promised.
func (w *worker) conclude(pod *v1.Pod, state *runtime.Pod) {
	w.mu.Lock()
	progress := w.resizing.progress
	open := progress != nil && (w.regroupLocked(pod) || slices.ContainsFunc(state.RunningContainers(), func(c *runtime.Container) bool {
		spec := specOf(pod, c.Name())
		have, known := w.resizing.record.Actuated[c.Name()]
		return spec != nil && known && have != allocation.AmountsOf(pod, spec)
	}))
	if progress != nil && !open {
		w.resizing.progress = nil
	}
	w.mu.Unlock()
	if progress != nil && !open {
		w.m.c.Event(pod, "", v1.EventTypeNormal, "ResizeCompleted",
			allocation.Summary("Pod resize completed", pod, progress.ObservedGeneration, ""))
	}
}

// regroupLocked says whether the pod's group must be set to what the pod may use now.
func (w *worker) regroupLocked(pod *v1.Pod) bool {
	return w.resizing.record != nil && (w.resizing.group == nil || *w.resizing.group != w.m.c.Cgroups.LimitsOf(pod))
}

func (w *worker) regroup(pod *v1.Pod) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.regroupLocked(pod)
}

func (w *worker) actuated(container string) (allocation.Amounts, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resizing.record == nil {
		return allocation.Amounts{}, false
	}
	amounts, known := w.resizing.record.Actuated[container]
	return amounts, known
}

// noteActuated remembers what a container was given.
func (w *worker) noteActuated(container string, amounts allocation.Amounts) {
	w.mu.Lock()
	known := w.resizing.record != nil
	if known {
		if w.resizing.record.Actuated == nil {
			w.resizing.record.Actuated = map[string]allocation.Amounts{}
		}
		w.resizing.record.Actuated[container] = amounts
	}
	w.mu.Unlock()
	if known {
		w.save()
	}
}

func (w *worker) isRestarting(containerID string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.resizing.restarting[containerID]
}

func (w *worker) restarts(containerID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resizing.restarting == nil {
		w.resizing.restarting = map[string]bool{}
	}
	w.resizing.restarting[containerID] = true
}

// setGroup makes the pod's group, or sets it to what the pod may use now.
func (w *worker) setGroup(pod *v1.Pod) error {
	if err := w.m.c.Cgroups.Ensure(pod); err != nil {
		return err
	}
	limits := w.m.c.Cgroups.LimitsOf(pod)
	w.mu.Lock()
	w.resizing.group = &limits
	w.mu.Unlock()
	return nil
}

// actuate gives the pod and its running containers what they were promised. The
// pod's group holds its containers' limits at every moment: it is widened before
// and narrowed after them.
func (w *worker) actuate(ctx context.Context, pod *v1.Pod, plan lifecycle.Plan) error {
	if !plan.Regroup && len(plan.Resize) == 0 {
		return nil
	}
	err := w.change(ctx, pod, plan)
	if err == nil || ctx.Err() != nil {
		return err
	}
	w.mu.Lock()
	progress := w.resizing.progress
	news := progress != nil && progress.Message != err.Error()
	if news {
		next := *progress
		next.Reason, next.Message = v1.PodReasonError, err.Error()
		w.resizing.progress = &next
	}
	w.mu.Unlock()
	if news {
		w.m.c.Event(pod, "", v1.EventTypeWarning, "ResizeError", allocation.Summary("Pod resize error", pod, progress.ObservedGeneration, err.Error()))
	}
	return err
}

func (w *worker) change(ctx context.Context, pod *v1.Pod, plan lifecycle.Plan) error {
	gets := w.m.c.Cgroups.LimitsOf(pod)
	w.mu.Lock()
	had := w.resizing.group
	w.mu.Unlock()
	if err := w.memoryFits(pod, had, gets, plan.Resize); err != nil {
		return err
	}
	if had != nil {
		if err := w.m.c.Cgroups.Widen(pod, *had, gets); err != nil {
			return err
		}
	}
	for _, r := range plan.Resize {
		resources := w.m.c.Builder.ContainerResources(pod, r.Spec)
		if err := w.m.c.Runtime.UpdateContainerResources(ctx, r.Container.Id, &runtimeapi.ContainerResources{Linux: resources}); err != nil {
			return fmt.Errorf("update the resources of container %s: %w", r.Spec.Name, plain(err))
		}
		w.noteActuated(r.Spec.Name, r.To)
		w.look(ctx, r.Container.SandboxID, r.Container.Id)
	}
	if plan.Regroup {
		return w.setGroup(pod)
	}
	return nil
}

// memoryFits refuses to take away memory that is in use: the kernel would kill for it.
func (w *worker) memoryFits(pod *v1.Pod, had *cgroup.Limits, gets cgroup.Limits, resizes []lifecycle.Resize) error {
	shrinks := func(from, to int64) bool { return to > 0 && (from <= 0 || to < from) }
	var errs []error
	if had != nil && shrinks(had.Memory, gets.Memory) {
		if usage, known := w.m.c.Cgroups.MemoryUsage(pod, ""); known && usage >= gets.Memory {
			errs = append(errs, fmt.Errorf("attempting to set pod memory limit (%d) below current usage (%d)", gets.Memory, usage))
		}
	}
	for _, r := range resizes {
		if !shrinks(r.From.MemoryLimit, r.To.MemoryLimit) {
			continue
		}
		if usage, known := w.m.c.Cgroups.MemoryUsage(pod, r.Container.Id); known && usage >= r.To.MemoryLimit {
			errs = append(errs, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", r.Spec.Name, r.To.MemoryLimit, usage))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("cannot decrease memory limits: %w", errors.Join(errs...))
	}
	return nil
}
