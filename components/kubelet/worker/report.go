package worker

import (
	"context"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/components/kubelet/lifecycle"
	"github.com/plumbline/plumbline/components/kubelet/probe"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
	"github.com/plumbline/plumbline/components/kubelet/status"
)

// report makes the pod's status and hands it on.
func (w *worker) report(pod *v1.Pod, state *runtime.Pod) {
	if w.orphan || w.phase == ended && state == nil && w.op == nil && terminal(pod.Status.Phase) {
		return
	}
	previous, known := w.m.c.Status.Get(w.uid)
	if !known {
		previous = pod.Status
	}
	w.mu.Lock()
	held := make(map[string]lifecycle.Held, len(w.held)+len(w.hooking))
	for name, h := range w.held {
		held[name] = h
	}
	hooking := make(map[string]bool, len(w.hooking))
	for id := range w.hooking {
		hooking[id] = true
	}
	verdict := w.verdict
	isEnded := w.phase >= ended
	resize := []*v1.PodCondition{w.resizing.pending, w.resizing.progress}
	w.mu.Unlock()
	if verdict != nil && !isEnded && state.Live() {
		// The verdict is shown once the containers have ended; its condition at once.
		verdict = nil
	}
	w.m.c.Status.Set(pod, status.Generate(status.Input{
		Pod: pod, Previous: previous, State: withoutHooking(state, hooking),
		RuntimeName: w.m.c.RuntimeName,
		Held:        held,
		Started:     w.started,
		ReadyNow:    w.readyNow,
		Actuated:    w.actuated,
		Restarting:  w.isRestarting,
		Resize:      resize,
		Ended:       isEnded,
		Verdict:     verdict,
		HostIPs:     w.m.c.HostIPs(),
		Now:         metav1.Now(),
	}))
}

// withoutHooking shows containers whose postStart hook has not ended as created only.
func withoutHooking(state *runtime.Pod, hooking map[string]bool) *runtime.Pod {
	if state == nil || len(hooking) == 0 {
		return state
	}
	return state.Masked(func(c *runtime.Container) bool { return hooking[c.Id] })
}

func (w *worker) readyNow(id string, c *v1.Container) bool {
	return c.ReadinessProbe == nil || w.m.c.Probes.Result(id, probe.Readiness) == probe.Success
}

// probe starts the probes of containers that run, and ends those of others.
func (w *worker) probe(ctx context.Context, pod *v1.Pod, state *runtime.Pod) {
	if state == nil {
		return
	}
	for _, c := range state.Containers {
		if !c.Running() {
			w.m.c.Probes.Stop(c.Id)
			continue
		}
		spec := specOf(pod, c.Name())
		if spec == nil || spec.StartupProbe == nil && spec.LivenessProbe == nil && spec.ReadinessProbe == nil {
			continue
		}
		w.mu.Lock()
		hooking := w.hooking[c.Id]
		w.mu.Unlock()
		if hooking {
			continue
		}
		w.m.c.Probes.Start(w.m.ctx, probe.Target{
			Pod: pod, Container: spec, ContainerID: c.Id, PodIP: w.podIP(pod, state), StartedAt: c.StartedAtTime(),
		})
	}
}

func (w *worker) podIPs(pod *v1.Pod, state *runtime.Pod) []string {
	if pod.Spec.HostNetwork {
		var out []string
		for _, ip := range w.m.c.HostIPs() {
			out = append(out, ip.String())
		}
		return out
	}
	if sandbox := state.Sandbox(); sandbox != nil {
		return sandbox.IPs()
	}
	return nil
}

func (w *worker) podIP(pod *v1.Pod, state *runtime.Pod) string {
	if ips := w.podIPs(pod, state); len(ips) > 0 {
		return ips[0]
	}
	return ""
}
