package lifecycle

import (
	"slices"

	v1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

// IsSidecar says whether an init container keeps running beside the others (KEP-753).
func IsSidecar(c *v1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
}

// ShouldRestart says whether a regular container that ended with a code is to be
// started again: by its own rules, else its own policy, else the pod's.
func ShouldRestart(pod *v1.Pod, c *v1.Container, exitCode int32) bool {
	for _, rule := range c.RestartPolicyRules {
		if rule.ExitCodes == nil {
			continue
		}
		listed := slices.Contains(rule.ExitCodes.Values, exitCode)
		matches := rule.ExitCodes.Operator == v1.ContainerRestartRuleOnExitCodesOpIn && listed ||
			rule.ExitCodes.Operator == v1.ContainerRestartRuleOnExitCodesOpNotIn && !listed
		if matches && rule.Action == v1.ContainerRestartRuleActionRestart {
			return true
		}
	}
	if c.RestartPolicy != nil {
		switch *c.RestartPolicy {
		case v1.ContainerRestartPolicyNever:
			return false
		case v1.ContainerRestartPolicyOnFailure:
			return exitCode != 0
		case v1.ContainerRestartPolicyAlways:
			return true
		}
	}
	switch pod.Spec.RestartPolicy {
	case v1.RestartPolicyNever:
		return false
	case v1.RestartPolicyOnFailure:
		return exitCode != 0
	}
	return true
}

// InitShouldRestart says whether an init container that ended with a code is to be
// started again: never after success.
func InitShouldRestart(pod *v1.Pod, c *v1.Container, exitCode int32) bool {
	return exitCode != 0 && ShouldRestart(pod, c, exitCode)
}

// Finished says whether a pod's containers have ended for good: all regular ones
// ended and none is to be started again, or an init container gave up. restarting
// names those that were stopped only to be started with other resources.
func Finished(pod *v1.Pod, state *runtime.Pod, restarting func(containerID string) bool) bool {
	if state == nil {
		return false
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		last := state.Container(c.Name)
		if !IsSidecar(c) && last != nil && last.Exited() && last.ExitCode != 0 && !InitShouldRestart(pod, c, last.ExitCode) {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		last := state.Container(c.Name)
		if last == nil || !last.Exited() || ShouldRestart(pod, c, last.ExitCode) || restarting(last.Id) {
			return false
		}
	}
	return len(pod.Spec.Containers) > 0
}
