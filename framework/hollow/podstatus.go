package hollow

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// killedCode is the exit code of a program that a signal asks to end.
const killedCode = 128 + 15

// status is what a step changes about a pod's status, in a kubelet's words. The caller
// holds mu.
func (f *Fleet) status(p *pod, what step, now metav1.Time) corev1.PodStatus {
	s := corev1.PodStatus{ObservedGeneration: p.generation}
	w := writer{pod: p, status: &s, now: now}
	switch what {
	case refuse:
		w.refused()
	case stick:
		s.Phase, s.StartTime = corev1.PodPending, ptr.To(metav1.NewTime(p.begun))
		w.condition(corev1.PodInitialized, true, "")
		w.readiness(false, "ContainersNotReady")
		w.containers(false, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: p.rule.Stuck.Reason, Message: p.rule.Stuck.Message}})
	case start:
		s.Phase, s.StartTime = corev1.PodRunning, ptr.To(metav1.NewTime(p.begun))
		w.addresses()
		ready := f.script.draw(p.rule.ReadyAfter, p.key(), "ready", p.runs) == 0
		w.condition(corev1.PodReadyToStartContainers, true, "")
		w.condition(corev1.PodInitialized, true, "")
		w.readiness(ready, "ContainersNotReady")
		w.containers(ready, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}})
	case becomeReady:
		w.readiness(true, "")
		w.containers(true, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(p.run)}})
	case finish:
		w.finished(p.rule.exitCode(p.runs), f.script.backoff(p.rule, p.key(), p.runs).String())
	case kill:
		s.Phase = corev1.PodFailed
		w.readiness(false, "PodFailed")
		w.containers(false, w.terminated(killedCode))
	}
	if p.unscheduled {
		w.condition(corev1.PodScheduled, true, "")
	}
	return s
}

// writer fills in a status.
type writer struct {
	pod    *pod
	status *corev1.PodStatus
	now    metav1.Time
}

func (w writer) refused() {
	w.status.Phase = corev1.PodFailed
	if r := w.pod.rule.Refuse; r != nil {
		w.status.Reason, w.status.Message = r.Reason, r.Message
		return
	}
	n := w.pod.node
	short, message := n.capacity.shortage(n.committed, w.pod.requests)
	w.status.Reason, w.status.Message = "OutOf"+short, message
}

// finished is for containers that ended by themselves.
func (w writer) finished(code int32, backoff string) {
	if w.pod.shape.runsAgain(code) {
		w.readiness(false, "ContainersNotReady")
		w.containers(false, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
			Reason:  "CrashLoopBackOff",
			Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", backoff, split(w.pod.shape.handle.Value().containers)[0].name, w.pod.name, w.pod.namespace, w.pod.uid),
		}})
		for i := range w.status.ContainerStatuses {
			w.status.ContainerStatuses[i].RestartCount++
			w.status.ContainerStatuses[i].LastTerminationState = w.terminated(code)
		}
		return
	}
	w.status.Phase = corev1.PodSucceeded
	reason := "PodCompleted"
	if code != 0 {
		w.status.Phase, reason = corev1.PodFailed, "PodFailed"
	}
	w.readiness(false, reason)
	w.containers(false, w.terminated(code))
}

func (w writer) terminated(code int32) corev1.ContainerState {
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: metav1.NewTime(w.pod.run), FinishedAt: w.now,
	}}
}

func (w writer) condition(kind corev1.PodConditionType, holds bool, reason string) {
	c := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: w.now, ObservedGeneration: w.pod.generation}
	if !holds {
		c.Status, c.Reason = corev1.ConditionFalse, reason
	}
	w.status.Conditions = append(w.status.Conditions, c)
}

func (w writer) readiness(ready bool, reason string) {
	w.condition(corev1.PodReady, ready, reason)
	w.condition(corev1.ContainersReady, ready, reason)
}

func (w writer) addresses() {
	host := w.pod.node.subnet.own().String()
	w.status.HostIP, w.status.HostIPs = host, []corev1.HostIP{{IP: host}}
	ip := host
	if !w.pod.shape.hostNetwork() {
		if !w.pod.ip.IsValid() {
			return
		}
		ip = w.pod.ip.String()
	}
	w.status.PodIP, w.status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
}

// containers gives all containers the same state.
func (w writer) containers(ready bool, state corev1.ContainerState) {
	form := w.pod.shape.handle.Value()
	done := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason: "Completed", StartedAt: metav1.NewTime(w.pod.begun), FinishedAt: metav1.NewTime(w.pod.begun),
	}}
	for _, c := range split(form.inits) {
		state := done
		if w.pod.run.IsZero() && state.Running == nil && w.status.Phase != corev1.PodRunning {
			state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
		}
		w.status.InitContainerStatuses = append(w.status.InitContainerStatuses, w.container(c, state.Terminated != nil, 0, state))
	}
	for _, c := range split(form.sidecars) {
		w.status.InitContainerStatuses = append(w.status.InitContainerStatuses, w.container(c, ready, 0, state))
	}
	for _, c := range split(form.containers) {
		w.status.ContainerStatuses = append(w.status.ContainerStatuses, w.container(c, ready, w.pod.runs, state))
	}
}

func (w writer) container(c container, ready bool, restarts int32, state corev1.ContainerState) corev1.ContainerStatus {
	status := corev1.ContainerStatus{
		Name: c.name, Image: c.image, Ready: ready, RestartCount: restarts, State: state, Started: ptr.To(state.Running != nil),
	}
	if state.Waiting == nil {
		status.ImageID = "hollow://" + c.image
		status.ContainerID = fmt.Sprintf("hollow://%s/%s/%d", w.pod.uid, c.name, restarts)
	}
	return status
}
