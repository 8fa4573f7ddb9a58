package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	kubelettypes "k8s.io/kubelet/pkg/types"

	"github.com/plumbline/plumbline/components/kubelet/handler"
	"github.com/plumbline/plumbline/components/kubelet/lifecycle"
	"github.com/plumbline/plumbline/components/kubelet/podsource"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

// leastGrace is what a container is given at the end even if its preStop hook used
// up the grace period.
const leastGrace = 2

// stopLog remembers whose preStop hook was run: it runs once, also when the stop is
// begun again with less time.
type stopLog struct {
	mu   sync.Mutex
	done map[string]bool
}

func newStopLog() *stopLog { return &stopLog{done: map[string]bool{}} }

func (s *stopLog) first(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done[id] {
		return false
	}
	s.done[id] = true
	return true
}

// graceOf is how many seconds the pod's containers have to end.
func graceOf(pod *v1.Pod, override *int64) int64 {
	grace := int64(v1.DefaultTerminationGracePeriodSeconds)
	switch {
	case override != nil:
		return max(*override, 0)
	case pod.DeletionGracePeriodSeconds != nil:
		grace = *pod.DeletionGracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	return max(grace, 0)
}

// stop stops the pod's containers, within the time that is left to it; a shorter
// time overtakes a longer one.
func (w *worker) stop(ctx context.Context, pod *v1.Pod, removed bool) {
	w.mu.Lock()
	grace := graceOf(pod, w.grace)
	w.mu.Unlock()
	if pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil {
		grace = min(grace, *pod.DeletionGracePeriodSeconds)
	}
	if w.op != nil {
		if w.op.grace == 0 || grace < w.op.grace-1 {
			w.op.overtake()
		}
		return
	}
	if !w.due() {
		return
	}
	w.begin(ctx, grace+1, func(ctx context.Context) outcome { return outcome{err: w.stopAll(ctx, pod, grace)} })
}

// stopAll stops everything of the pod that runs: regular containers at once, then
// sidecars in the reverse of their order, then the sandbox.
// See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination.
func (w *worker) stopAll(ctx context.Context, pod *v1.Pod, grace int64) error {
	if err := w.lookAtAll(ctx); err != nil {
		return err
	}
	state := w.m.c.Observer.Get(w.uid)
	if state == nil {
		return nil
	}
	deadline := time.Now().Add(time.Duration(grace) * time.Second)
	left := func() int64 {
		if grace == 0 {
			return 0
		}
		return max(int64(time.Until(deadline).Round(time.Second)/time.Second), leastGrace)
	}
	var first []*runtime.Container
	sidecars := map[string]*runtime.Container{}
	for _, c := range state.RunningContainers() {
		if isSidecar(pod, c.Name()) {
			sidecars[c.Name()] = c
		} else {
			first = append(first, c)
		}
	}
	errs := w.stopTogether(ctx, pod, first, grace)
	for i := len(pod.Spec.InitContainers) - 1; i >= 0; i-- {
		if c := sidecars[pod.Spec.InitContainers[i].Name]; c != nil {
			errs = append(errs, w.stopTogether(ctx, pod, []*runtime.Container{c}, left())...)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, sandbox := range state.Sandboxes {
		if err := w.m.c.Runtime.StopPodSandbox(ctx, sandbox.Id); err != nil {
			w.m.c.Event(pod, "", v1.EventTypeWarning, "FailedKillPod", fmt.Sprintf("error killing pod: failed to %q for %q with KillPodSandboxError: %q", "KillPodSandbox", w.uid, err))
			return fmt.Errorf("stop the pod sandbox: %w", err)
		}
		if response, err := w.m.c.Runtime.PodSandboxStatus(ctx, sandbox.Id, false); err == nil {
			w.m.c.Observer.ObserveSandbox(response.Status)
		}
	}
	return nil
}

func isSidecar(pod *v1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c v1.Container) bool { return c.Name == name && lifecycle.IsSidecar(&c) })
}

// lookAtAll takes in everything of the pod that the runtime has, also what an
// interrupted start may have left unseen.
func (w *worker) lookAtAll(ctx context.Context) error {
	byPod := map[string]string{kubelettypes.KubernetesPodUIDLabel: string(w.uid)}
	sandboxes, err := w.m.c.Runtime.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{LabelSelector: byPod})
	if err != nil {
		return err
	}
	for _, s := range sandboxes {
		if response, err := w.m.c.Runtime.PodSandboxStatus(ctx, s.Id, false); err == nil {
			w.m.c.Observer.ObserveSandbox(response.Status)
		}
	}
	containers, err := w.m.c.Runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{LabelSelector: byPod})
	if err != nil {
		return err
	}
	for _, c := range containers {
		w.look(ctx, c.PodSandboxId, c.Id)
	}
	return nil
}

func (w *worker) stopTogether(ctx context.Context, pod *v1.Pod, containers []*runtime.Container, grace int64) []error {
	errs := make([]error, len(containers))
	var group sync.WaitGroup
	for i, c := range containers {
		spec := specOf(pod, c.Name())
		if spec == nil {
			spec = &v1.Container{Name: c.Name()}
		}
		group.Go(func() {
			errs[i] = w.stopContainer(ctx, stopRequest{
				pod: pod, container: c, spec: spec, grace: grace, message: fmt.Sprintf("Stopping container %s", c.Name()),
			})
		})
	}
	group.Wait()
	return errs
}

// stopRequest is one container to be stopped.
type stopRequest struct {
	pod       *v1.Pod
	container *runtime.Container
	spec      *v1.Container
	grace     int64
	message   string
}

// stopContainer runs the preStop hook and then stops a container, in all within its
// grace period.
func (w *worker) stopContainer(ctx context.Context, r stopRequest) error {
	id := r.container.Id
	w.m.c.Probes.StopLiveness(id)
	grace := r.grace
	if w.preStopped.first(id) {
		w.m.c.Event(r.pod, r.spec.Name, v1.EventTypeNormal, "Killing", r.message)
		if r.spec.Lifecycle != nil && r.spec.Lifecycle.PreStop != nil && grace > 0 {
			began := time.Now()
			w.preStop(ctx, r)
			grace = max(grace-int64(time.Since(began)/time.Second), leastGrace)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := w.m.c.Runtime.StopContainer(ctx, id, grace); err != nil {
		if strings.Contains(err.Error(), "not found") {
			w.m.c.Observer.Forget(id)
			return nil
		}
		return fmt.Errorf("stop container %s: %w", r.spec.Name, err)
	}
	w.m.c.Probes.Stop(id)
	w.look(ctx, r.container.SandboxID, id)
	return nil
}

func (w *worker) preStop(ctx context.Context, r stopRequest) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.grace)*time.Second)
	defer cancel()
	target := handler.HookTarget{Container: r.spec, ContainerID: r.container.Id, PodIP: w.podIP(r.pod, w.m.c.Observer.Get(w.uid))}
	done := make(chan error, 1)
	go func() { done <- handler.Hook(ctx, w.m.c.Runtime, target, r.spec.Lifecycle.PreStop) }()
	select {
	case err := <-done:
		if err != nil {
			w.m.c.Event(r.pod, r.spec.Name, v1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
			klog.FromContext(ctx).V(2).Info("The preStop hook failed", "container", r.spec.Name, "err", err)
		}
	case <-ctx.Done():
	}
}

// rest gives back what an ended pod does not need: its volumes and its cgroup. Its
// containers stay for their logs.
func (w *worker) rest(ctx context.Context, pod *v1.Pod) {
	if w.op != nil || !w.resting || !w.due() {
		return
	}
	w.begin(ctx, 0, func(context.Context) outcome {
		err := w.m.c.Volumes.Unmount(w.uid)
		if cgroupErr := w.m.c.Cgroups.Remove(w.uid); cgroupErr != nil {
			klog.V(2).InfoS("Remove the cgroup of an ended pod", "pod", klog.KObj(pod), "err", cgroupErr)
		}
		if w.m.c.Objects != nil {
			w.m.c.Objects.Release(w.uid)
		}
		return outcome{err: err}
	})
}

// clean removes all that is left of a deleted pod, and then the pod itself.
func (w *worker) clean(ctx context.Context, pod *v1.Pod, removed bool) error {
	if w.m.c.Objects != nil {
		w.m.c.Objects.Release(w.uid)
	}
	if err := w.m.c.Volumes.Unmount(w.uid); err != nil {
		return err
	}
	if err := w.m.c.Cgroups.Remove(w.uid); err != nil {
		klog.FromContext(ctx).V(2).Info("Remove the cgroup of a pod", "pod", klog.KObj(pod), "err", err)
	}
	if !w.orphan && !removed && w.m.c.Client != nil && !podsource.IsStatic(pod) {
		if err := w.m.c.Status.Flush(ctx, w.uid); err != nil {
			return err
		}
		now := int64(0)
		err := w.m.c.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete the pod: %w", err)
		}
	}
	if w.m.c.Mirrors != nil && podsource.IsStatic(pod) {
		w.m.c.Mirrors.Unwanted(pod)
	}
	return w.removeFromRuntime(ctx, pod)
}

func (w *worker) removeFromRuntime(ctx context.Context, pod *v1.Pod) error {
	state := w.m.c.Observer.Get(w.uid)
	if state != nil {
		for _, c := range state.Containers {
			w.m.c.Probes.Stop(c.Id)
			if err := w.m.c.Runtime.RemoveContainer(ctx, c.Id); err != nil {
				return err
			}
			w.m.c.Observer.Forget(c.Id)
		}
		for _, s := range state.Sandboxes {
			if err := w.m.c.Runtime.RemovePodSandbox(ctx, s.Id); err != nil {
				return err
			}
			w.m.c.Observer.Forget(s.Id)
		}
	}
	if err := w.m.c.Volumes.TearDown(w.uid); err != nil {
		return err
	}
	w.m.c.Users.Release(w.uid)
	w.m.c.Images.Forget(pod)
	w.m.c.Status.Forget(w.uid)
	return os.RemoveAll(w.m.c.Builder.PodLogsDir(pod.Namespace, pod.Name, string(pod.UID)))
}

// removeLog removes the log of a run that was removed, and its rotated parts.
func removeLog(path string) {
	if path == "" {
		return
	}
	_ = os.Remove(path)
}
