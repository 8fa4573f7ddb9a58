package job

import (
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/ownership"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

// turn is one look at one Job: job is a copy that the turn may change.
type turn struct {
	c    *Controller
	key  controller.Key
	job  *batchv1.Job
	pods []*corev1.Pod
	// active are the pods that still work for the Job.
	active []*corev1.Pod
	// freed are pods that were counted; the cache may still show their finalizer.
	freed sets.Set[types.UID]

	ready, terminating int32
	succeeded, failed  int32
	streak             streak

	// before are the indexes that the status says have succeeded, done those that have in truth, lost those that failed.
	before, done, lost indexes
	// held are failed pods, by index, that stay until their replacement carries their failure count on.
	held map[int]*corev1.Pod

	// outcome is the condition that ends the Job, nil while it goes on.
	outcome *batchv1.JobCondition
	// flush: the status has changed.
	flush bool
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	cached, err := c.jobs.Jobs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		c.expected.Forget(key)
		c.written.Forget(key)
		c.freed.drop(key)
		c.streaks.set(key, streak{})
		return nil
	}
	if err != nil {
		return err
	}
	if managedElsewhere(cached) || c.written.Behind(key, cached) {
		return nil
	}
	if finished(cached) {
		c.streaks.set(key, streak{})
		return nil
	}
	caughtUp := c.expected.Satisfied(key)
	t := &turn{c: c, key: key, job: cached.DeepCopy(), freed: c.freed.get(key)}
	if t.job.Status.UncountedTerminatedPods == nil {
		t.job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	if t.pods, err = c.claim(ctx, t.job); err != nil {
		return err
	}
	t.count()
	if t.job.Status.StartTime == nil && !suspended(t.job) {
		t.job.Status.StartTime = ptr.To(metav1.NewTime(c.env.Clock.Now()))
		t.flush = true
	}
	t.judge()
	scaleErr := t.act(ctx, caughtUp)
	if err := t.track(ctx); err != nil {
		return fmt.Errorf("tracking status: %w", err)
	}
	return scaleErr
}

func (c *Controller) claim(ctx context.Context, job *batchv1.Job) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("couldn't convert Job selector: %w", err)
	}
	candidates, err := ownership.Candidates[*corev1.Pod](c.pods, job)
	if err != nil {
		return nil, err
	}
	claim := ownership.Claim[*corev1.Pod]{
		Owner: job, Kind: kind, Selector: selector, Finalizers: []string{batchv1.JobTrackingFinalizer},
		Live: func(ctx context.Context) (metav1.Object, error) {
			return c.env.Client.BatchV1().Jobs(job.Namespace).Get(ctx, job.Name, metav1.GetOptions{})
		},
		Patch: func(ctx context.Context, pod *corev1.Pod, patch []byte) error {
			return c.control.Patch(ctx, pod, patch)
		},
	}
	pods, err := claim.Resolve(ctx, candidates)
	for i, pod := range pods {
		if !metav1.IsControlledBy(pod, job) && !tracked(pod) {
			adopted := pod.DeepCopy()
			adopted.Finalizers = append(adopted.Finalizers, batchv1.JobTrackingFinalizer)
			pods[i] = adopted
		}
	}
	return pods, err
}

func suspended(job *batchv1.Job) bool { return ptr.Deref(job.Spec.Suspend, false) }

func (t *turn) condition(kind batchv1.JobConditionType, reason, message string) *batchv1.JobCondition {
	now := metav1.NewTime(t.c.env.Clock.Now())
	return &batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastProbeTime: now, LastTransitionTime: now}
}

// valid tells whether the pod counts for an index that the Job has.
func (t *turn) valid(pod *corev1.Pod) bool {
	return !indexed(t.job) || t.validIndex(indexOf(pod))
}

func (t *turn) validIndex(index int) bool {
	return index != noIndex && index < int(ptr.Deref(t.job.Spec.Completions, 0))
}

// count adds up what the status has counted, what it is about to, and what the pods show anew.
func (t *turn) count() {
	uncounted := t.job.Status.UncountedTerminatedPods
	known := sets.New(uncounted.Succeeded...).Insert(uncounted.Failed...)
	var succeeded, lost []*corev1.Pod
	counted := 0
	for _, pod := range t.pods {
		switch {
		case podstate.Active(pod):
			t.active = append(t.active, pod)
			if podstate.Ready(pod) {
				t.ready++
			}
		case podstate.Terminating(pod):
			t.terminating++
		}
		if known.Has(pod.UID) || !tracked(pod) || t.freed.Has(pod.UID) || !t.valid(pod) {
			continue
		}
		if pod.Status.Phase == corev1.PodSucceeded {
			succeeded = append(succeeded, pod)
		} else if failed(t.job, pod) {
			lost = append(lost, pod)
			if verdictOn(t.job.Spec.PodFailurePolicy, pod).counts {
				counted++
			}
		}
	}
	t.succeeded = t.job.Status.Succeeded + int32(len(succeeded)+len(uncounted.Succeeded))
	t.failed = t.job.Status.Failed + int32(counted+len(uncounted.Failed))
	t.streak = t.c.streaks.get(t.key).after(succeeded, lost)
	if indexed(t.job) {
		t.countIndexes()
	}
}

func (t *turn) countIndexes() {
	completions := int(ptr.Deref(t.job.Spec.Completions, 0))
	t.before = parseIndexes(t.job.Status.CompletedIndexes, completions)
	var done []int
	for _, pod := range t.pods {
		if tracked(pod) && t.valid(pod) && pod.Status.Phase == corev1.PodSucceeded {
			done = append(done, indexOf(pod))
		}
	}
	t.done = t.before.with(done...)
	t.succeeded = int32(t.done.total())
	if t.job.Spec.BackoffLimitPerIndex == nil {
		return
	}
	t.lost = parseIndexes(ptr.Deref(t.job.Status.FailedIndexes, ""), completions)
	var lost []int
	for _, pod := range t.pods {
		index := indexOf(pod)
		if tracked(pod) && t.valid(pod) && failed(t.job, pod) && !t.done.has(index) && t.indexFailed(pod) {
			lost = append(lost, index)
		}
	}
	t.lost = t.lost.with(lost...)
	t.hold()
}

// indexFailed tells whether the failed pod was its index's last chance.
func (t *turn) indexFailed(pod *corev1.Pod) bool {
	v := verdictOn(t.job.Spec.PodFailurePolicy, pod)
	if v.action == batchv1.PodFailurePolicyActionFailIndex {
		return true
	}
	counted, _ := failures(pod)
	return v.counts && counted >= *t.job.Spec.BackoffLimitPerIndex
}

// hold finds the failed pods whose count no other pod of their index carries on yet.
func (t *turn) hold() {
	total := func(pod *corev1.Pod) int32 {
		counted, ignored := failures(pod)
		return counted + ignored
	}
	t.held = map[int]*corev1.Pod{}
	for _, pod := range t.pods {
		index := indexOf(pod)
		if !tracked(pod) || t.freed.Has(pod.UID) || !t.valid(pod) || !failed(t.job, pod) || t.done.has(index) || t.lost.has(index) {
			continue
		}
		if other := t.held[index]; other == nil || total(pod) > total(other) {
			t.held[index] = pod
		}
	}
	for _, pod := range t.active {
		if held := t.held[indexOf(pod)]; held != nil && total(pod) > total(held) {
			delete(t.held, indexOf(pod))
		}
	}
}

// judge decides whether the Job has come to an end. What an earlier turn decided stands; then failure is looked for
// before success.
func (t *turn) judge() {
	job := t.job
	if met := conditionOf(job, batchv1.JobSuccessCriteriaMet); isTrue(met) {
		t.outcome = met.DeepCopy()
		return
	}
	if target := conditionOf(job, batchv1.JobFailureTarget); isTrue(target) {
		t.outcome = t.condition(batchv1.JobFailed, target.Reason, target.Message)
		return
	}
	fail := func(reason, message string) { t.outcome = t.condition(batchv1.JobFailureTarget, reason, message) }
	if job.Spec.PodFailurePolicy != nil {
		for _, pod := range t.pods {
			if !failed(job, pod) {
				continue
			}
			if v := verdictOn(job.Spec.PodFailurePolicy, pod); v.action == batchv1.PodFailurePolicyActionFailJob {
				fail(batchv1.JobReasonPodFailurePolicy, v.message)
				return
			}
		}
	}
	if t.failed > ptr.Deref(job.Spec.BackoffLimit, 6) || restartedTooOften(job, t.pods) {
		fail(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
		return
	}
	if left, limited := t.deadline(); limited {
		if left <= 0 {
			fail(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
			return
		}
		t.c.queue.AddAfter(t.key, left)
	}
	if !indexed(job) {
		return
	}
	completions := int(ptr.Deref(job.Spec.Completions, 0))
	if job.Spec.BackoffLimitPerIndex != nil {
		switch {
		case job.Spec.MaxFailedIndexes != nil && t.lost.total() > int(*job.Spec.MaxFailedIndexes):
			fail(batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
			return
		case t.lost.total() > 0 && t.lost.total()+t.done.total() >= completions:
			fail(batchv1.JobReasonFailedIndexes, "Job has failed indexes")
			return
		}
	}
	if message, met := succeededBy(job.Spec.SuccessPolicy, completions, t.done); met {
		t.outcome = t.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, message)
	}
}

// deadline is how long the Job may still be active.
func (t *turn) deadline() (left time.Duration, limited bool) {
	if t.job.Spec.ActiveDeadlineSeconds == nil || t.job.Status.StartTime == nil || suspended(t.job) {
		return 0, false
	}
	limit := time.Duration(*t.job.Spec.ActiveDeadlineSeconds) * time.Second
	return t.job.Status.StartTime.Add(limit).Sub(t.c.env.Clock.Now()), true
}

// act ends the active pods of a Job that has come to an end, else makes pods as many as there should be.
func (t *turn) act(ctx context.Context, caughtUp bool) error {
	active := int32(len(t.active))
	var err error
	if t.outcome != nil {
		var ended int32
		ended, err = t.end(ctx, t.active, false)
		if ended != active || !caughtUp {
			// There may be pods yet that the cache does not show: the next turn will tell.
			t.outcome = nil
		}
		active -= ended
	} else {
		managed := caughtUp && t.job.DeletionTimestamp == nil
		if managed {
			active, err = t.manage(ctx)
		}
		if t.complete(active) {
			t.outcome = t.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
		} else if managed {
			t.noteSuspension()
		}
	}
	status := &t.job.Status
	t.flush = t.flush || status.Active != active || ptr.Deref(status.Ready, -1) != t.ready || ptr.Deref(status.Terminating, -1) != t.terminating
	status.Active, status.Ready, status.Terminating = active, ptr.To(t.ready), ptr.To(t.terminating)
	return err
}

func (t *turn) complete(active int32) bool {
	if active > 0 {
		return false
	}
	if t.job.Spec.Completions == nil {
		return t.succeeded > 0
	}
	return t.succeeded >= *t.job.Spec.Completions
}

// noteSuspension keeps the condition Suspended in step. A resumed Job's deadline starts again.
func (t *turn) noteSuspension() {
	now := metav1.NewTime(t.c.env.Clock.Now())
	old := conditionOf(t.job, batchv1.JobSuspended)
	switch {
	case suspended(t.job) && !isTrue(old):
		t.setCondition(*t.condition(batchv1.JobSuspended, "JobSuspended", "Job suspended"))
		t.job.Status.StartTime = nil
		t.c.env.Recorder.Event(t.job, corev1.EventTypeNormal, "Suspended", "Job suspended")
	case !suspended(t.job) && isTrue(old):
		resumed := t.condition(batchv1.JobSuspended, "JobResumed", "Job resumed")
		resumed.Status = corev1.ConditionFalse
		t.setCondition(*resumed)
		t.job.Status.StartTime = &now
		t.c.env.Recorder.Event(t.job, corev1.EventTypeNormal, "Resumed", "Job resumed")
	}
}

func (t *turn) setCondition(condition batchv1.JobCondition) {
	conditions := slices.DeleteFunc(t.job.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == condition.Type })
	t.job.Status.Conditions = append(conditions, condition)
	t.flush = true
}
