package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// verdict is what the pod failure policy makes of a failed pod.
// https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
type verdict struct {
	// counts: the failure counts towards the back-off limit.
	counts bool
	action batchv1.PodFailurePolicyAction
	// message says why, where the whole Job fails.
	message string
}

// verdictOn applies the first rule that matches.
func verdictOn(policy *batchv1.PodFailurePolicy, pod *corev1.Pod) verdict {
	if policy == nil {
		return verdict{counts: true}
	}
	for i, rule := range policy.Rules {
		message, matches := "", false
		switch {
		case rule.OnExitCodes != nil:
			if name, code, ok := matchExit(rule.OnExitCodes, pod); ok {
				matches = true
				message = fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v matching %v rule at index %d", name, pod.Namespace, pod.Name, code, rule.Action, i)
			}
		case rule.OnPodConditions != nil:
			if kind, ok := matchCondition(rule.OnPodConditions, pod); ok {
				matches = true
				message = fmt.Sprintf("Pod %s/%s has condition %v matching %v rule at index %d", pod.Namespace, pod.Name, kind, rule.Action, i)
			}
		}
		if !matches {
			continue
		}
		v := verdict{counts: rule.Action != batchv1.PodFailurePolicyActionIgnore, action: rule.Action}
		if rule.Action == batchv1.PodFailurePolicyActionFailJob {
			v.message = message
		}
		return v
	}
	return verdict{counts: true}
}

func matchExit(rule *batchv1.PodFailurePolicyOnExitCodesRequirement, pod *corev1.Pod) (container string, code int32, ok bool) {
	for _, status := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		if rule.ContainerName != nil && *rule.ContainerName != status.Name {
			continue
		}
		if status.State.Terminated == nil || status.State.Terminated.ExitCode == 0 {
			continue
		}
		code := status.State.Terminated.ExitCode
		if slices.Contains(rule.Values, code) == (rule.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
			return status.Name, code, true
		}
	}
	return "", 0, false
}

func matchCondition(patterns []batchv1.PodFailurePolicyOnPodConditionsPattern, pod *corev1.Pod) (corev1.PodConditionType, bool) {
	for _, condition := range pod.Status.Conditions {
		for _, pattern := range patterns {
			if pattern.Type == condition.Type && pattern.Status == condition.Status {
				return condition.Type, true
			}
		}
	}
	return "", false
}

// succeededBy tells whether the indexes that have succeeded satisfy the success policy, and by which rule.
// https://kubernetes.io/docs/concepts/workloads/controllers/job/#success-policy
func succeededBy(policy *batchv1.SuccessPolicy, completions int, succeeded indexes) (message string, met bool) {
	if policy == nil || len(succeeded) == 0 {
		return "", false
	}
	for i, rule := range policy.Rules {
		wanted, got := 0, succeeded.total()
		if rule.SucceededIndexes != nil {
			chosen := parseIndexes(*rule.SucceededIndexes, completions)
			wanted, got = chosen.total(), 0
			for _, part := range chosen {
				for index := part.first; index <= part.last; index++ {
					if succeeded.has(index) {
						got++
					}
				}
			}
		}
		if rule.SucceededCount != nil {
			wanted = int(*rule.SucceededCount)
		}
		if got >= wanted {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}

// replacesOnlyFailed tells whether a pod on its way out counts neither as failed nor as gone until it has ended.
func replacesOnlyFailed(job *batchv1.Job) bool {
	if job.Spec.PodReplacementPolicy != nil {
		return *job.Spec.PodReplacementPolicy == batchv1.Failed
	}
	return job.Spec.PodFailurePolicy != nil
}

// failed tells whether the pod is one that failed.
func failed(job *batchv1.Job, pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed {
		return true
	}
	return !replacesOnlyFailed(job) && pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded
}

// restartedTooOften tells whether containers that are restarted in place have used up the back-off limit.
func restartedTooOften(job *batchv1.Job, pods []*corev1.Pod) bool {
	if job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	var restarts int32
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
			continue
		}
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			restarts += status.RestartCount
		}
	}
	limit := ptr.Deref(job.Spec.BackoffLimit, 6)
	if limit == 0 {
		return restarts > 0
	}
	return restarts >= limit
}
