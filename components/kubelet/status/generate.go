// Package status says what became of pods: it makes a pod's status from what the
// runtime and the probes know, and keeps the API server informed.
package status

import (
	"fmt"
	"net"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/components/kubelet/allocation"
	"github.com/plumbline/plumbline/components/kubelet/lifecycle"
	"github.com/plumbline/plumbline/components/kubelet/qos"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

// Verdict overrides a pod's phase: it was refused, evicted or ran out of time.
type Verdict struct {
	Phase   v1.PodPhase
	Reason  string
	Message string
	// Condition is added, such as DisruptionTarget.
	Condition *v1.PodCondition
}

// Input is all that a status depends on.
type Input struct {
	Pod *v1.Pod
	// Previous is the last status that was made, or the API server's.
	Previous v1.PodStatus
	State    *runtime.Pod
	// RuntimeName is the scheme of container ids: containerd.
	RuntimeName string
	// Held says why containers are not started.
	Held map[string]lifecycle.Held
	// Started and ReadyNow answer for running containers.
	Started  func(containerID string) bool
	ReadyNow func(containerID string, c *v1.Container) bool
	// Actuated answers what running containers were given, Restarting which ended
	// containers were stopped only to be started anew.
	Actuated   func(container string) (allocation.Amounts, bool)
	Restarting func(containerID string) bool
	// Resize are the conditions of a resize that is under way; nil ones are none.
	Resize []*v1.PodCondition
	// Ended says that the pod's containers have ended for good.
	Ended   bool
	Verdict *Verdict
	HostIPs []net.IP
	Now     metav1.Time
}

type generator struct {
	Input
	out v1.PodStatus
}

// Generate makes a pod's status. Conditions of others than the kubelet are kept.
func Generate(in Input) v1.PodStatus {
	g := &generator{Input: in}
	pod := in.Pod
	g.out = v1.PodStatus{
		ObservedGeneration:          pod.Generation,
		QOSClass:                    qos.Class(pod),
		StartTime:                   in.Previous.StartTime,
		NominatedNodeName:           pod.Status.NominatedNodeName,
		ResourceClaimStatuses:       pod.Status.ResourceClaimStatuses,
		ExtendedResourceClaimStatus: pod.Status.ExtendedResourceClaimStatus,
	}
	if g.out.StartTime == nil {
		if pod.Status.StartTime != nil {
			g.out.StartTime = pod.Status.StartTime
		} else {
			now := in.Now
			g.out.StartTime = &now
		}
	}
	if in.Verdict == nil || in.State != nil || len(in.Previous.ContainerStatuses) > 0 {
		// A pod that was refused has no containers to speak of.
		g.out.InitContainerStatuses, g.out.ContainerStatuses, g.out.EphemeralContainerStatuses = g.containers()
	}
	g.phase()
	g.addresses()
	g.conditions()
	g.resources()
	return g.out
}

func (g *generator) phase() {
	before := g.Previous
	g.out.Phase = g.phaseOf()
	for _, settled := range []v1.PodPhase{before.Phase, g.Pod.Status.Phase} {
		// A pod that has ended stays so.
		if terminal(settled) && !terminal(g.out.Phase) {
			g.out.Phase = settled
		}
	}
	if terminal(g.Pod.Status.Phase) {
		g.out.Phase = g.Pod.Status.Phase
	}
	if g.out.Phase == before.Phase {
		g.out.Reason, g.out.Message = before.Reason, before.Message
	}
	if v := g.Verdict; v != nil {
		g.out.Phase, g.out.Reason, g.out.Message = v.Phase, v.Reason, v.Message
	}
}

func terminal(phase v1.PodPhase) bool { return phase == v1.PodSucceeded || phase == v1.PodFailed }

// tally counts what the containers of a pod are doing.
type tally struct {
	running, waiting, unknown                int
	stopped, succeeded, final                int
	initPending, sidecarPending, initGivenUp int
}

// phaseOf derives the phase from the containers.
// See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase.
func (g *generator) phaseOf() v1.PodPhase {
	pod, status, ended := g.Pod, &g.out, g.Ended
	var t tally
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		s := Find(status.InitContainerStatuses, c.Name)
		if lifecycle.IsSidecar(c) {
			t.sidecar(s)
		} else {
			t.init(pod, c, s)
		}
	}
	begun := false
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		s := Find(status.ContainerStatuses, c.Name)
		begun = begun || s != nil && s.ContainerID != ""
		t.regular(pod, c, s, g.restarting(c.Name))
	}
	switch {
	case t.initGivenUp > 0:
		return v1.PodFailed
	case t.initPending > 0, t.sidecarPending > 0 && !begun, t.waiting > 0:
		return v1.PodPending
	case t.running > 0 && t.unknown == 0:
		return v1.PodRunning
	case t.stopped == 0 || t.unknown > 0:
		return v1.PodPending
	case t.stopped != t.final && !ended:
		return v1.PodRunning
	case t.stopped == t.succeeded:
		return v1.PodSucceeded
	}
	return v1.PodFailed
}

func (t *tally) init(pod *v1.Pod, c *v1.Container, s *v1.ContainerStatus) {
	var over *v1.ContainerStateTerminated
	if s != nil && s.State.Running == nil {
		if over = s.State.Terminated; over == nil {
			over = s.LastTerminationState.Terminated
		}
	}
	switch {
	case over == nil:
		t.initPending++
	case over.ExitCode != 0 && !lifecycle.InitShouldRestart(pod, c, over.ExitCode):
		t.initGivenUp++
	case over.ExitCode != 0:
		t.initPending++
	}
}

func (t *tally) sidecar(s *v1.ContainerStatus) {
	switch {
	case s == nil:
		t.unknown++
	case s.State.Running != nil:
		t.running++
		if s.Started == nil || !*s.Started {
			t.sidecarPending++
		}
	case s.State.Waiting != nil && s.LastTerminationState.Terminated == nil:
		t.sidecarPending++
		t.waiting++
	}
}

// regular counts a regular container. comesBack says that it does whatever its policy is.
func (t *tally) regular(pod *v1.Pod, c *v1.Container, s *v1.ContainerStatus, comesBack bool) {
	if s == nil {
		t.unknown++
		return
	}
	if s.State.Running != nil {
		t.running++
		return
	}
	over := s.State.Terminated
	if over == nil {
		over = s.LastTerminationState.Terminated
	}
	if over == nil {
		t.waiting++
		return
	}
	t.stopped++
	if over.ExitCode == 0 {
		t.succeeded++
	}
	if !comesBack && !lifecycle.ShouldRestart(pod, c, over.ExitCode) {
		t.final++
	}
}

func (g *generator) addresses() {
	for i, ip := range g.HostIPs {
		if i == 0 {
			g.out.HostIP = ip.String()
		}
		g.out.HostIPs = append(g.out.HostIPs, v1.HostIP{IP: ip.String()})
	}
	var ips []string
	if g.Pod.Spec.HostNetwork {
		for _, ip := range g.HostIPs {
			ips = append(ips, ip.String())
		}
	} else if sandbox := g.State.Sandbox(); sandbox != nil && (sandbox.Ready() || g.Ended || terminal(g.out.Phase)) {
		ips = sandbox.IPs()
	}
	if len(ips) == 0 && (g.Ended || terminal(g.out.Phase)) {
		for _, ip := range g.Previous.PodIPs {
			ips = append(ips, ip.IP)
		}
	}
	for i, ip := range ips {
		if i == 0 {
			g.out.PodIP = ip
		}
		g.out.PodIPs = append(g.out.PodIPs, v1.PodIP{IP: ip})
	}
}

// owned are the conditions that the kubelet answers for.
func owned(t v1.PodConditionType) bool {
	switch t {
	case v1.PodReady, v1.ContainersReady, v1.PodInitialized, v1.PodScheduled, v1.PodReadyToStartContainers,
		v1.PodResizePending, v1.PodResizeInProgress:
		return true
	}
	return false
}

func (g *generator) conditions() {
	for _, c := range g.Pod.Status.Conditions {
		if !owned(c.Type) {
			g.out.Conditions = append(g.out.Conditions, c)
		}
	}
	if g.Verdict != nil && g.Verdict.Condition != nil {
		g.setForeign(*g.Verdict.Condition)
	} else {
		for _, c := range g.Previous.Conditions {
			if c.Type == v1.DisruptionTarget {
				g.setForeign(c)
			}
		}
	}
	for _, c := range g.Resize {
		if c != nil {
			g.setForeign(*c)
		}
	}
	networked := usable(g.Pod, g.State.Sandbox())
	g.add(v1.PodReadyToStartContainers, networked, "", "")
	g.add(v1.PodInitialized, true, "", "")
	g.initialized()
	ready, reason, message := g.containersReady()
	g.add(v1.ContainersReady, ready, reason, message)
	if ready {
		ready, reason, message = g.gates()
	}
	g.add(v1.PodReady, ready, reason, message)
	g.add(v1.PodScheduled, true, "", "")
}

func usable(pod *v1.Pod, sandbox *runtime.Sandbox) bool {
	return sandbox != nil && sandbox.Ready() && (pod.Spec.HostNetwork || len(sandbox.IPs()) > 0)
}

// add sets a condition, whose transition time moves only when its status does.
func (g *generator) add(t v1.PodConditionType, status bool, reason, message string) {
	c := v1.PodCondition{
		Type: t, Status: v1.ConditionFalse, Reason: reason, Message: message,
		ObservedGeneration: g.Pod.Generation, LastTransitionTime: g.Now,
	}
	if status {
		c.Status = v1.ConditionTrue
	}
	for _, list := range [][]v1.PodCondition{g.Previous.Conditions, g.Pod.Status.Conditions} {
		if before := FindCondition(list, t); before != nil {
			if before.Status == c.Status {
				c.LastTransitionTime = before.LastTransitionTime
			}
			break
		}
	}
	if have := FindCondition(g.out.Conditions, t); have != nil {
		*have = c
		return
	}
	g.out.Conditions = append(g.out.Conditions, c)
}

func (g *generator) setForeign(c v1.PodCondition) {
	if have := FindCondition(g.out.Conditions, c.Type); have != nil {
		*have = c
		return
	}
	g.out.Conditions = append(g.out.Conditions, c)
}

// FindCondition returns the condition of a type, or nil.
func FindCondition(list []v1.PodCondition, t v1.PodConditionType) *v1.PodCondition {
	for i := range list {
		if list[i].Type == t {
			return &list[i]
		}
	}
	return nil
}

func (g *generator) initialized() {
	if g.out.Phase == v1.PodSucceeded {
		g.add(v1.PodInitialized, true, "PodCompleted", "")
		return
	}
	for _, s := range g.out.ContainerStatuses {
		if s.ContainerID != "" {
			return
		}
	}
	var incomplete []string
	for i := range g.Pod.Spec.InitContainers {
		c := &g.Pod.Spec.InitContainers[i]
		s := Find(g.out.InitContainerStatuses, c.Name)
		done := s != nil && s.Ready
		if lifecycle.IsSidecar(c) {
			done = s != nil && s.Started != nil && *s.Started
		}
		if !done {
			incomplete = append(incomplete, c.Name)
		}
	}
	if len(incomplete) > 0 {
		g.add(v1.PodInitialized, false, "ContainersNotInitialized", fmt.Sprintf("containers with incomplete status: %s", incomplete))
	}
}

func (g *generator) containersReady() (ready bool, reason, message string) {
	switch g.out.Phase {
	case v1.PodSucceeded:
		return false, "PodCompleted", ""
	case v1.PodFailed:
		return false, "PodFailed", ""
	}
	var unready []string
	for i := range g.Pod.Spec.InitContainers {
		c := &g.Pod.Spec.InitContainers[i]
		if s := Find(g.out.InitContainerStatuses, c.Name); lifecycle.IsSidecar(c) && !s.Ready {
			unready = append(unready, c.Name)
		}
	}
	for _, s := range g.out.ContainerStatuses {
		if !s.Ready {
			unready = append(unready, s.Name)
		}
	}
	if len(unready) > 0 {
		return false, "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
	}
	return true, "", ""
}

// gates asks for the conditions that others must set (KEP-580).
func (g *generator) gates() (ready bool, reason, message string) {
	var unready []string
	for _, gate := range g.Pod.Spec.ReadinessGates {
		c := FindCondition(g.out.Conditions, gate.ConditionType)
		switch {
		case c == nil:
			unready = append(unready, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", string(gate.ConditionType)))
		case c.Status != v1.ConditionTrue:
			unready = append(unready, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", string(gate.ConditionType), c.Status))
		}
	}
	if len(unready) > 0 {
		return false, "ReadinessGatesNotReady", strings.Join(unready, ", ")
	}
	return true, "", ""
}
