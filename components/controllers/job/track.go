package job

import (
	"context"
	"errors"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/plumbline/plumbline/components/controllers/podcontrol"
)

// maxUncounted bounds how many pods are on their way from finalizer to counter at the same time.
const maxUncounted = 500

// track counts pods that have ended, in three steps that can each be interrupted: their UIDs are written into the
// status, then their finalizers removed, then the UIDs turned into counts. At last it declares the Job's end.
// https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers
func (t *turn) track(ctx context.Context) error {
	guarded := sets.New[types.UID]()
	for _, pod := range t.pods {
		if tracked(pod) && !t.freed.Has(pod.UID) {
			guarded.Insert(pod.UID)
		}
	}
	t.settle(guarded)
	release, all := t.collect()
	t.writeIndexes()
	final := t.announce()
	if t.flush {
		if err := t.write(ctx); err != nil {
			return fmt.Errorf("adding uncounted pods to status: %w", err)
		}
		t.c.streaks.set(t.key, t.streak)
	}
	released, err := t.release(ctx, release)
	guarded = guarded.Difference(released)
	t.settle(guarded)
	if err == nil && all && t.conclude(final) {
		t.flush = true
	} else {
		final = nil
	}
	if t.flush {
		if writeErr := t.write(ctx); writeErr != nil {
			return fmt.Errorf("removing uncounted pods from status: %w", errors.Join(err, writeErr))
		}
		t.tell(final)
	}
	return err
}

func (t *turn) write(ctx context.Context) error {
	updated, err := t.c.env.Client.BatchV1().Jobs(t.job.Namespace).UpdateStatus(ctx, t.job, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	t.c.written.Note(t.key, updated)
	t.job, t.flush = updated.DeepCopy(), false
	if t.job.Status.UncountedTerminatedPods == nil {
		t.job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	return nil
}

// settle turns the UIDs of pods that have lost their finalizer into counts.
func (t *turn) settle(guarded sets.Set[types.UID]) {
	status := &t.job.Status
	move := func(uids *[]types.UID, count *int32) {
		rest := slices.DeleteFunc(slices.Clone(*uids), func(uid types.UID) bool { return !guarded.Has(uid) })
		if gone := len(*uids) - len(rest); gone > 0 {
			*count += int32(gone)
			*uids = rest
			t.flush = true
		}
	}
	move(&status.UncountedTerminatedPods.Succeeded, &status.Succeeded)
	move(&status.UncountedTerminatedPods.Failed, &status.Failed)
}

// collect notes the pods that have ended in the status and returns those to release; all is false if it had to stop.
func (t *turn) collect() (release []*corev1.Pod, all bool) {
	uncounted := t.job.Status.UncountedTerminatedPods
	succeeded, lost := sets.New(uncounted.Succeeded...), sets.New(uncounted.Failed...)
	// The end of the Job ends every pod that has not succeeded, but not as a failure if the Job has succeeded.
	failing := t.outcome != nil && t.outcome.Type != batchv1.JobSuccessCriteriaMet
	for _, pod := range t.pods {
		if !tracked(pod) || t.freed.Has(pod.UID) || !t.releasable(pod) {
			continue
		}
		release = append(release, pod)
		switch {
		case pod.Status.Phase == corev1.PodSucceeded && !lost.Has(pod.UID):
			// Of an Indexed Job, the index itself is the count.
			if !indexed(t.job) && !succeeded.Has(pod.UID) {
				uncounted.Succeeded = append(uncounted.Succeeded, pod.UID)
				t.flush = true
			}
		case (failed(t.job, pod) || failing) && !lost.Has(pod.UID) && t.valid(pod):
			if verdictOn(t.job.Spec.PodFailurePolicy, pod).counts {
				uncounted.Failed = append(uncounted.Failed, pod.UID)
				t.flush = true
			}
		}
		if len(uncounted.Succeeded)+len(uncounted.Failed) >= maxUncounted {
			return release, false
		}
	}
	return release, true
}

// releasable tells whether the pod's finalizer has done its work.
func (t *turn) releasable(pod *corev1.Pod) bool {
	if t.job.DeletionTimestamp != nil || t.outcome != nil || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if !failed(t.job, pod) {
		return false
	}
	held := t.held[indexOf(pod)]
	return held == nil || held.UID != pod.UID
}

func (t *turn) writeIndexes() {
	if !indexed(t.job) {
		return
	}
	status := &t.job.Status
	if text := t.done.String(); status.CompletedIndexes != text || status.Succeeded != int32(t.done.total()) {
		status.CompletedIndexes, status.Succeeded = text, int32(t.done.total())
		t.flush = true
	}
	if t.job.Spec.BackoffLimitPerIndex != nil {
		text := t.lost.String()
		if status.FailedIndexes == nil || *status.FailedIndexes != text {
			status.FailedIndexes = &text
			t.flush = true
		}
	}
}

// announce writes the condition that the outcome is decided, which it is before the last pod is counted, and returns
// the one that will end the Job.
func (t *turn) announce() *batchv1.JobCondition {
	if t.outcome == nil {
		return nil
	}
	switch t.outcome.Type {
	case batchv1.JobFailureTarget:
		t.setCondition(*t.outcome)
		return t.condition(batchv1.JobFailed, t.outcome.Reason, t.outcome.Message)
	case batchv1.JobSuccessCriteriaMet:
		if !isTrue(conditionOf(t.job, batchv1.JobSuccessCriteriaMet)) {
			t.setCondition(*t.outcome)
		}
		return t.condition(batchv1.JobComplete, t.outcome.Reason, t.outcome.Message)
	}
	return t.outcome
}

// release removes finalizers and returns of which pods.
func (t *turn) release(ctx context.Context, pods []*corev1.Pod) (sets.Set[types.UID], error) {
	for _, pod := range pods {
		t.c.freed.add(t.key, pod.UID)
	}
	done := make([]bool, len(pods))
	errs := podcontrol.Parallel(len(pods), func(i int) error {
		err := t.c.free(ctx, pods[i])
		if err != nil {
			t.c.freed.remove(t.key, pods[i].UID)
			return fmt.Errorf("removing tracking finalizer: %w", err)
		}
		done[i] = true
		return nil
	})
	released := sets.New[types.UID]()
	for i, pod := range pods {
		if done[i] {
			released.Insert(pod.UID)
		}
	}
	return released, errors.Join(errs...)
}

// conclude ends the Job once every pod is counted and gone.
func (t *turn) conclude(final *batchv1.JobCondition) bool {
	uncounted := t.job.Status.UncountedTerminatedPods
	if final == nil || len(uncounted.Succeeded)+len(uncounted.Failed) > 0 || t.terminating > 0 {
		return false
	}
	t.setCondition(*final)
	if final.Type == batchv1.JobComplete {
		t.job.Status.CompletionTime = &final.LastTransitionTime
	}
	return true
}

func (t *turn) tell(final *batchv1.JobCondition) {
	switch {
	case final == nil:
	case final.Type == batchv1.JobComplete:
		if t.job.Spec.Completions != nil && t.job.Status.Succeeded > *t.job.Spec.Completions {
			t.c.env.Recorder.Event(t.job, corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
		}
		t.c.env.Recorder.Event(t.job, corev1.EventTypeNormal, "Completed", "Job completed")
	default:
		t.c.env.Recorder.Event(t.job, corev1.EventTypeWarning, final.Reason, final.Message)
	}
}
