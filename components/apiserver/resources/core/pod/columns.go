package pod

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

func columns() []metav1.TableColumnDefinition {
	spec, status := corev1.PodSpec{}.SwaggerDoc(), corev1.PodStatus{}.SwaggerDoc()
	return append([]metav1.TableColumnDefinition{
		table.Name(),
		table.String("Ready", "The aggregate readiness state of this pod for accepting traffic."),
		table.String("Status", "The aggregate status of the containers in this pod."),
		table.String("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
		table.Age(),
	}, table.Wide(
		table.String("IP", status["podIP"]),
		table.String("Node", spec["nodeName"]),
		table.String("Nominated Node", status["nominatedNodeName"]),
		table.String("Readiness Gates", spec["readinessGates"]),
	)...)
}

func cells(p *corev1.Pod) []any {
	s := summarize(p)
	restarts := strconv.Itoa(s.restarts)
	if s.restarts != 0 && !s.lastRestart.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", s.restarts, table.Since(s.lastRestart))
	}
	ip := ""
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	return []any{
		p.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.reason, restarts, table.Since(p.CreationTimestamp),
		orNone(ip), orNone(p.Spec.NodeName), orNone(p.Status.NominatedNodeName), gatesCell(p),
	}
}

func orNone(s string) string {
	if s == "" {
		return table.None
	}
	return s
}

func gatesCell(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return table.None
	}
	open := 0
	for _, gate := range p.Spec.ReadinessGates {
		if isTrue(p, gate.ConditionType) {
			open++
		}
	}
	return fmt.Sprintf("%d/%d", open, len(p.Spec.ReadinessGates))
}

func isTrue(p *corev1.Pod, t corev1.PodConditionType) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// rowConditions marks pods that are over, which clients may show apart.
func rowConditions(p *corev1.Pod) []metav1.TableRowCondition {
	const over = "The pod has completed successfully."
	condition := metav1.TableRowCondition{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(p.Status.Phase)}
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		condition.Message = over
	case corev1.PodFailed:
		condition.Message = "The pod failed."
	default:
		return nil
	}
	return []metav1.TableRowCondition{condition}
}

// summary is a pod in one line.
type summary struct {
	reason      string
	ready       int
	total       int
	restarts    int
	lastRestart metav1.Time
}

// summarize says in one word how a pod is: its phase, unless a container has more to tell.
func summarize(p *corev1.Pod) summary {
	s := summary{reason: string(p.Status.Phase), total: len(p.Spec.Containers)}
	if p.Status.Reason != "" {
		s.reason = p.Status.Reason
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.reason = c.Reason
		}
	}
	if s.initContainers(p) || isTrue(p, corev1.PodInitialized) {
		s.mainContainers(p)
	}
	over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	switch deleted := p.DeletionTimestamp != nil; {
	case deleted && p.Status.Reason == "NodeLost":
		s.reason = "Unknown"
	case deleted && !over:
		s.reason = "Terminating"
	}
	return s
}

// count adds the restarts of one container.
func (s *summary) count(c *corev1.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if last := c.LastTerminationState.Terminated; last != nil && s.lastRestart.Before(&last.FinishedAt) {
		s.lastRestart = last.FinishedAt
	}
}

// initContainers reports whether initialisation is over. Until then the reason is that
// of the first container which is not, and all restarts count; afterwards those of
// sidecars only.
func (s *summary) initContainers(p *corev1.Pod) bool {
	sidecars := map[string]bool{}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; isSidecar(c) {
			sidecars[c.Name] = true
			s.total++
		}
	}
	var kept summary // the restarts of sidecars
	finish := func() {
		s.restarts, s.lastRestart = kept.restarts, kept.lastRestart
	}
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.count(c)
		if sidecars[c.Name] {
			kept.count(c)
		}
		if ended := c.State.Terminated; ended != nil && ended.ExitCode == 0 {
			continue
		}
		if sidecars[c.Name] && c.Started != nil && *c.Started {
			if c.Ready {
				s.ready++
			}
			continue
		}
		switch waiting := c.State.Waiting; {
		case c.State.Terminated != nil:
			s.reason = "Init:" + endReason(c.State.Terminated)
		case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
			s.reason = "Init:" + waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		if isTrue(p, corev1.PodInitialized) {
			finish()
		}
		return false
	}
	finish()
	return true
}

// mainContainers looks from the last to the first, so that the first one's word counts.
func (s *summary) mainContainers(p *corev1.Pod) {
	running, failure := false, ""
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.count(c)
		switch state := c.State; {
		case state.Waiting != nil && state.Waiting.Reason != "":
			s.reason = state.Waiting.Reason
		case state.Terminated != nil:
			s.reason = endReason(state.Terminated)
			if state.Terminated.ExitCode != 0 {
				failure = s.reason
			}
		case c.Ready && state.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason != "Completed" {
		return
	}
	switch {
	case running && isTrue(p, corev1.PodReady):
		s.reason = "Running"
	case failure != "":
		s.reason = failure
	case running:
		s.reason = "NotReady"
	}
}

func endReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}
