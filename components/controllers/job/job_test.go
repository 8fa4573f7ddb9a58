package job

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestIndexes(t *testing.T) {
	set := parseIndexes("1,3-5,7", 6)
	if got := set.String(); got != "1,3-5" {
		t.Errorf("cut at the limit: got %q", got)
	}
	for _, c := range []struct {
		add   []int
		text  string
		total int
	}{
		{[]int{2}, "1-5", 5},
		{[]int{0}, "0,1,3-5", 5},
		{[]int{7, 6}, "1,3-7", 6},
		{[]int{3, 3, 4}, "1,3-5", 4},
		{[]int{9, 20}, "1,3-5,9,20", 6},
	} {
		got := set.with(c.add...)
		if got.String() != c.text || got.total() != c.total {
			t.Errorf("with %v: got %q of %d, want %q of %d", c.add, got, got.total(), c.text, c.total)
		}
		for _, index := range c.add {
			if !got.has(index) {
				t.Errorf("with %v: lacks %d", c.add, index)
			}
		}
		if got.has(1000) {
			t.Errorf("with %v: has 1000", c.add)
		}
	}
	if set.String() != "1,3-5" {
		t.Errorf("with changed its receiver to %q", set)
	}
}

func failedPod(code int32, conditions ...corev1.PodCondition) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "pod"},
		Status: corev1.PodStatus{Phase: corev1.PodFailed, Conditions: conditions, ContainerStatuses: []corev1.ContainerStatus{
			{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}},
		}},
	}
}

func TestVerdictOn(t *testing.T) {
	exit := func(action batchv1.PodFailurePolicyAction, operator batchv1.PodFailurePolicyOnExitCodesOperator, container *string, codes ...int32) batchv1.PodFailurePolicyRule {
		return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{ContainerName: container, Operator: operator, Values: codes}}
	}
	disrupted := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}
	policy := &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
		{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}},
		exit(batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyOnExitCodesOpIn, ptr.To("main"), 42),
		exit(batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyOnExitCodesOpIn, ptr.To("other"), 1),
		exit(batchv1.PodFailurePolicyActionFailIndex, batchv1.PodFailurePolicyOnExitCodesOpNotIn, nil, 1, 2),
	}}
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		want verdict
	}{
		{"ignored for its condition, though the code matches too", failedPod(42, disrupted), verdict{false, batchv1.PodFailurePolicyActionIgnore, ""}},
		{"fails the Job", failedPod(42), verdict{true, batchv1.PodFailurePolicyActionFailJob, "Container main for pod ns/pod failed with exit code 42 matching FailJob rule at index 1"}},
		{"fails its index", failedPod(3), verdict{true, batchv1.PodFailurePolicyActionFailIndex, ""}},
		{"no rule", failedPod(1), verdict{counts: true}},
		{"code 0 matches no rule", failedPod(0), verdict{counts: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := verdictOn(policy, c.pod); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestSucceededBy(t *testing.T) {
	policy := &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{
		{SucceededIndexes: ptr.To("0-2"), SucceededCount: ptr.To(int32(2))},
		{SucceededIndexes: ptr.To("5,6")},
		{SucceededCount: ptr.To(int32(4))},
	}}
	for _, c := range []struct {
		succeeded, message string
	}{
		{"", ""}, {"0,5", ""}, {"0,2", "Matched rules at index 0"}, {"5,6", "Matched rules at index 1"}, {"0,3,4,7", "Matched rules at index 2"},
	} {
		message, met := succeededBy(policy, 10, parseIndexes(c.succeeded, 10))
		if message != c.message || met != (c.message != "") {
			t.Errorf("%q: got %q, %v, want %q", c.succeeded, message, met, c.message)
		}
	}
}

func TestStreak(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ended := func(after time.Duration) *corev1.Pod {
		p := failedPod(1)
		p.Status.ContainerStatuses[0].State.Terminated.FinishedAt = metav1.NewTime(start.Add(after))
		return p
	}
	s := streak{}.after(nil, []*corev1.Pod{ended(0)})
	if wait := s.wait(start.Add(4 * time.Second)); wait != 6*time.Second {
		t.Errorf("first failure: wait %s, want 6s", wait)
	}
	s = s.after(nil, []*corev1.Pod{ended(20 * time.Second), ended(30 * time.Second)})
	if wait := s.wait(start.Add(30 * time.Second)); s.failures != 3 || wait != 40*time.Second {
		t.Errorf("third failure: %d failures, wait %s, want 3 and 40s", s.failures, wait)
	}
	if wait := (streak{failures: 40, last: start}).wait(start); wait != maxDelay {
		t.Errorf("many failures: wait %s, want %s", wait, maxDelay)
	}
	s = s.after([]*corev1.Pod{ended(50 * time.Second)}, []*corev1.Pod{ended(40 * time.Second), ended(time.Minute)})
	if s.failures != 1 || !s.last.Equal(start.Add(time.Minute)) {
		t.Errorf("a success in between: %d failures, the last at %s", s.failures, s.last)
	}
}

func TestFailedByReplacementPolicy(t *testing.T) {
	going := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: ptr.To(metav1.Now())}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	for _, c := range []struct {
		name string
		spec batchv1.JobSpec
		want bool
	}{
		{"by default a pod on its way out has failed", batchv1.JobSpec{}, true},
		{"not before it has ended, if only failed ones are replaced", batchv1.JobSpec{PodReplacementPolicy: ptr.To(batchv1.Failed)}, false},
		{"nor with a failure policy, which has to see how it ends", batchv1.JobSpec{PodFailurePolicy: &batchv1.PodFailurePolicy{}}, false},
	} {
		if got := failed(&batchv1.Job{Spec: c.spec}, going); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}
