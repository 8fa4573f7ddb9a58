package apps

import (
	"context"
	"fmt"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const jobs = "https://kubernetes.io/docs/concepts/workloads/controllers/job/"

// job is named and labelled "work"; its pods run the agent with a command line.
func job(namespace string, completions, parallelism int32, arguments ...string) *batchv1.Job {
	template := suite.Deployment(namespace, "work", 1, suite.AgentContainer(arguments...)).Spec.Template
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "work"},
		Spec:       batchv1.JobSpec{Completions: &completions, Parallelism: &parallelism, Template: template},
	}
}

// indexedJob is a Job whose pods end with their index for a code: the first succeeds, the others fail.
func indexedJob(namespace string, completions, parallelism int32) *batchv1.Job {
	j := job(namespace, completions, parallelism, "exit", "$(JOB_COMPLETION_INDEX)")
	j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
	return j
}

// ends waits until the Job has come to an end with a condition and its reason.
func ends(ctx context.Context, s *suite.Suite, j *batchv1.Job, kind batchv1.JobConditionType, reason string) {
	ginkgo.GinkgoHelper()
	gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, j, expect.Satisfy(fmt.Sprintf("be %s for %s", kind, reason), func(j *batchv1.Job) string {
		for _, c := range j.Status.Conditions {
			if c.Type == kind && c.Status == corev1.ConditionTrue {
				if c.Reason != reason {
					return fmt.Sprintf("it is %s for %s: %s", kind, c.Reason, c.Message)
				}
				return ""
			}
		}
		return fmt.Sprintf("%+v", j.Status)
	}))).To(gomega.Succeed())
	gomega.Expect(j.Status.Active).To(gomega.BeZero())
	gomega.Expect(ptr.Deref(j.Status.Ready, 0)).To(gomega.BeZero())
	gomega.Expect(ptr.Deref(j.Status.Terminating, 0)).To(gomega.BeZero())
	gomega.Expect(j.Status.UncountedTerminatedPods).To(gomega.Or(gomega.BeNil(), gomega.Equal(&batchv1.UncountedTerminatedPods{})))
}

func jobSpecs(s *suite.Suite) {
	controllers := []string{"kube-controller-manager"}

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.job.indexed",
		Promise: "Each pod of an Indexed Job has an index of its own, in an annotation, a label, its host name and its environment.",
		Source:  jobs + "#completion-mode", Judges: controllers,
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		j := indexedJob(namespace, 3, 2)
		j.Spec.Template.Spec.Containers[0].Args = []string{"env", "JOB_COMPLETION_INDEX"}
		s.Create(ctx, j)
		ends(ctx, s, j, batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
		gomega.Expect(j.Status.Succeeded).To(gomega.Equal(int32(3)))
		gomega.Expect(j.Status.CompletedIndexes).To(gomega.Equal("0-2"))
		var seen []string
		for _, pod := range s.PodsOf(ctx, namespace, "work") {
			index := pod.Annotations[batchv1.JobCompletionIndexAnnotation]
			gomega.Expect(pod.Labels).To(gomega.HaveKeyWithValue(batchv1.JobCompletionIndexAnnotation, index))
			gomega.Expect(pod.Spec.Hostname).To(gomega.Equal("work-" + index))
			gomega.Expect(s.Logs(ctx, &pod)).To(gomega.ContainSubstring(index))
			gomega.Expect(pod.Finalizers).To(gomega.BeEmpty(), "the pod is counted")
			seen = append(seen, index)
		}
		slices.Sort(seen)
		gomega.Expect(seen).To(gomega.Equal([]string{"0", "1", "2"}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.job.backoff-limit-per-index",
		Promise: "With backoffLimitPerIndex every index of a Job is run, those that fail as often as it says, before the Job fails for them.",
		Source:  jobs + "#backoff-limit-per-index", Judges: controllers,
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		j := indexedJob(namespace, 3, 3)
		j.Spec.BackoffLimitPerIndex = ptr.To[int32](0)
		s.Create(ctx, j)
		ends(ctx, s, j, batchv1.JobFailed, batchv1.JobReasonFailedIndexes)
		gomega.Expect(j.Status.CompletedIndexes).To(gomega.Equal("0"))
		gomega.Expect(j.Status.FailedIndexes).To(gomega.HaveValue(gomega.Equal("1,2")))
		gomega.Expect(j.Status.Failed).To(gomega.Equal(int32(2)))

		namespace = s.Namespace(ctx)
		j = indexedJob(namespace, 4, 2)
		j.Spec.BackoffLimitPerIndex, j.Spec.MaxFailedIndexes = ptr.To[int32](0), ptr.To[int32](0)
		s.Create(ctx, j)
		ends(ctx, s, j, batchv1.JobFailed, batchv1.JobReasonMaxFailedIndexesExceeded)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.job.pod-failure-policy",
		Promise: "A Job's pod failure policy ends the Job or the index at once for an exit code, or does not count the failure.",
		Source:  jobs + "#pod-failure-policy", Judges: controllers,
	}, func(ctx context.Context) {
		onCode := func(action batchv1.PodFailurePolicyAction) *batchv1.PodFailurePolicy {
			return &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action:      action,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{1}},
			}}}
		}
		j := indexedJob(s.Namespace(ctx), 2, 2)
		j.Spec.PodFailurePolicy = onCode(batchv1.PodFailurePolicyActionFailJob)
		s.Create(ctx, j)
		ends(ctx, s, j, batchv1.JobFailed, batchv1.JobReasonPodFailurePolicy)

		j = indexedJob(s.Namespace(ctx), 2, 2)
		j.Spec.PodFailurePolicy, j.Spec.BackoffLimitPerIndex = onCode(batchv1.PodFailurePolicyActionFailIndex), ptr.To[int32](5)
		s.Create(ctx, j)
		ends(ctx, s, j, batchv1.JobFailed, batchv1.JobReasonFailedIndexes)
		gomega.Expect(j.Status.Failed).To(gomega.Equal(int32(1)), "an index that the policy fails is not tried again")
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.job.pod-failure-policy.disruption",
		Promise: "A pod failure policy that ignores the condition DisruptionTarget lets a Job survive the eviction of its pods, whatever its back-off limit.",
		Source:  jobs + "#pod-failure-policy", Judges: controllers,
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		j := job(namespace, 1, 1, "exit", "--after=1h", "1")
		j.Spec.BackoffLimit = ptr.To[int32](0)
		j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
			Action:          batchv1.PodFailurePolicyActionIgnore,
			OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
		}}}
		s.Create(ctx, j)
		old := activePod(ctx, s, namespace, "")
		gomega.Expect(s.Clientset.CoreV1().Pods(namespace).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: old.Name}})).To(gomega.Succeed())
		activePod(ctx, s, namespace, old.Name)
		gomega.Expect(s.Watch.Until(ctx, j, expect.Satisfy("count nothing", func(j *batchv1.Job) string {
			if j.Status.Failed != 0 || j.Status.Active != 1 || len(j.Status.Conditions) != 0 {
				return fmt.Sprintf("%+v", j.Status)
			}
			return ""
		}))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.job.success-policy",
		Promise: "A Job ends in success as soon as its success policy is met, and its other pods are ended.",
		Source:  jobs + "#success-policy", Judges: controllers,
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		j := indexedJob(namespace, 3, 2)
		j.Spec.BackoffLimitPerIndex = ptr.To[int32](6)
		j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0")}}}
		s.Create(ctx, j)
		ends(ctx, s, j, batchv1.JobComplete, batchv1.JobReasonSuccessPolicy)
		gomega.Expect(j.Status.CompletedIndexes).To(gomega.Equal("0"))
		gomega.Expect(j.Status.Succeeded).To(gomega.Equal(int32(1)))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.job.suspend",
		Promise: "A suspended Job has no pods, says so in a condition, and goes on when it is resumed.",
		Source:  jobs + "#suspending-a-job", Judges: controllers,
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		j := job(namespace, 2, 2, "exit", "--after=1h", "1")
		s.Create(ctx, j)
		activePod(ctx, s, namespace, "")
		suite.Patch(ctx, s, j, func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) })
		gomega.Expect(s.Watch.UntilList(ctx, &corev1.PodList{}, expect.EachItem(0, gomega.Not(gomega.BeNil())), inNamespace(namespace), labelled("work"))).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, j, expect.HaveCondition(string(batchv1.JobSuspended), corev1.ConditionTrue))).To(gomega.Succeed())
		gomega.Expect(j.Status.StartTime).To(gomega.BeNil())
		gomega.Expect(j.Status.Failed).To(gomega.BeZero(), "pods ended by suspension are no failures")
		suite.Patch(ctx, s, j, func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) })
		activePod(ctx, s, namespace, "")
		gomega.Expect(s.Watch.Until(ctx, j, expect.HaveCondition(string(batchv1.JobSuspended), corev1.ConditionFalse))).To(gomega.Succeed())
		gomega.Expect(j.Status.StartTime).NotTo(gomega.BeNil())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.job.backoff-limit",
		Promise: "A Job whose pods fail more often than backoffLimit fails; a container that restarts in place counts as well.",
		Source:  jobs + "#pod-backoff-failure-policy", Judges: controllers,
	}, func(ctx context.Context) {
		for _, policy := range []corev1.RestartPolicy{corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure} {
			j := job(s.Namespace(ctx), 1, 1, "exit", "1")
			j.Spec.BackoffLimit = ptr.To[int32](0)
			j.Spec.Template.Spec.RestartPolicy = policy
			s.Create(ctx, j)
			ends(ctx, s, j, batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "apps.job.ttl-after-finished",
		Promise: "A Job that has ended is deleted with its pods after ttlSecondsAfterFinished.",
		Source:  "https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/", Judges: controllers,
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		j := job(namespace, 1, 1, "exit", "0")
		j.Spec.TTLSecondsAfterFinished = ptr.To[int32](0)
		s.Create(ctx, j)
		gomega.Expect(s.Watch.Gone(ctx, j)).To(gomega.Succeed())
		gomega.Expect(s.Watch.UntilList(ctx, &corev1.PodList{}, expect.EachItem(0, gomega.Not(gomega.BeNil())), inNamespace(namespace))).To(gomega.Succeed())
	})
}

// activePod waits for a pod of the Job that runs and is not the one named.
func activePod(ctx context.Context, s *suite.Suite, namespace, other string) *corev1.Pod {
	ginkgo.GinkgoHelper()
	var found *corev1.Pod
	gomega.Expect(s.Watch.UntilList(ctx, &corev1.PodList{}, expect.Satisfy("hold an active pod", func(list *corev1.PodList) string {
		for i := range list.Items {
			if pod := &list.Items[i]; pod.Name != other && pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning {
				found = pod
				return ""
			}
		}
		return fmt.Sprintf("%d pods", len(list.Items))
	}), inNamespace(namespace), labelled("work"))).To(gomega.Succeed())
	return found
}
