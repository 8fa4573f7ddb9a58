package batch

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// transition is an update of a job's status, by the controller or by whoever
// spec.managedBy names. What an update does not touch is not held against it, as a
// change of the spec may make a status wrong until the controller has caught up.
// See https://kubernetes.io/docs/concepts/workloads/controllers/job/#delegation-of-managing-a-job-object-to-external-controller.
type transition struct {
	problem.List
	job, old *batchv1.Job
	path     *field.Path
}

func validateJobStatusUpdate(_ context.Context, job, old *batchv1.Job) field.ErrorList {
	t := &transition{job: job, old: old, path: field.NewPath("status")}
	t.counters()
	t.uncounted()
	t.ends()
	t.times()
	t.indexes()
	t.finished()
	t.irreversible()
	return t.Errors
}

// turned says whether one of the conditions has become true or ceased to be.
func (t *transition) turned(conditions ...batchv1.JobConditionType) bool {
	for _, c := range conditions {
		if has(t.job, c) != has(t.old, c) {
			return true
		}
	}
	return false
}

func finished(job *batchv1.Job) bool {
	return has(job, batchv1.JobComplete) || has(job, batchv1.JobFailed)
}

func (t *transition) condition(detail string) {
	t.Invalid(t.path.Child("conditions"), field.OmitValueType{}, detail)
}

func (t *transition) counters() {
	now, was := &t.job.Status, &t.old.Status
	t.NotNegative(t.path.Child("active"), int64(now.Active))
	t.NotNegative(t.path.Child("succeeded"), int64(now.Succeeded))
	t.NotNegative(t.path.Child("failed"), int64(now.Failed))
	t.NotNegative(t.path.Child("ready"), int64(ptr.Deref(now.Ready, 0)))
	t.NotNegative(t.path.Child("terminating"), int64(ptr.Deref(now.Terminating, 0)))
	touched := now.Active != was.Active || !ptr.Equal(now.Ready, was.Ready)
	if ready := ptr.Deref(now.Ready, 0); touched && ready > now.Active {
		t.Invalid(t.path.Child("ready"), ready, "cannot set more ready pods than active")
	}
	if now.Failed < was.Failed {
		t.Invalid(t.path.Child("failed"), now.Failed, "cannot decrease the failed counter")
	}
	// An elastic indexed job counts anew when it is scaled down.
	elastic := indexed(&t.job.Spec) && ptr.Equal(t.job.Spec.Completions, t.job.Spec.Parallelism)
	if now.Succeeded < was.Succeeded && !elastic {
		t.Invalid(t.path.Child("succeeded"), now.Succeeded, "cannot decrease the succeeded counter")
	}
}

func (t *transition) uncounted() {
	pods := t.job.Status.UncountedTerminatedPods
	if pods == nil {
		return
	}
	seen := sets.New[types.UID]()
	check := func(uids []types.UID, name string) {
		for i, uid := range uids {
			at := t.path.Child("uncountedTerminatedPods", name).Index(i)
			if uid == "" {
				t.Invalid(at, uid, "must not be empty")
			} else if seen.Has(uid) {
				t.Duplicate(at, uid)
			}
			seen.Insert(uid)
		}
	}
	check(pods.Succeeded, "succeeded")
	check(pods.Failed, "failed")
}

// ends checks which conditions may stand together, and which need another first.
func (t *transition) ends() {
	complete, failed := has(t.job, batchv1.JobComplete), has(t.job, batchv1.JobFailed)
	failing, succeeding := has(t.job, batchv1.JobFailureTarget), has(t.job, batchv1.JobSuccessCriteriaMet)
	if complete && failed && t.turned(batchv1.JobComplete, batchv1.JobFailed) {
		t.condition("cannot set Complete=True and Failed=true conditions")
	}
	if complete && failing && t.turned(batchv1.JobComplete, batchv1.JobFailureTarget) {
		t.condition("cannot set Complete=True and FailureTarget=true conditions")
	}
	indexesFailed := !ptr.Equal(t.job.Status.FailedIndexes, t.old.Status.FailedIndexes)
	if failed && !failing && (t.turned(batchv1.JobFailed) || indexesFailed) {
		t.condition("cannot set Failed=True condition without the FailureTarget=true condition")
	}
	if complete && !succeeding && t.turned(batchv1.JobComplete, batchv1.JobSuccessCriteriaMet) {
		t.condition("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	}
	if succeeding && failed {
		t.condition("cannot set SuccessCriteriaMet=True and Failed=true conditions")
	}
	if succeeding && failing {
		t.condition("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	}
	if complete && !succeeding && t.job.Spec.SuccessPolicy != nil {
		t.condition("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
	}
}

func (t *transition) times() {
	now, was := &t.job.Status, &t.old.Status
	at := t.path.Child("completionTime")
	started, ended := !ptr.Equal(now.StartTime, was.StartTime), !ptr.Equal(now.CompletionTime, was.CompletionTime)
	complete := has(t.job, batchv1.JobComplete)
	if ended || t.turned(batchv1.JobComplete) {
		if now.CompletionTime != nil && !complete {
			t.Invalid(at, now.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
		}
		if now.CompletionTime == nil && complete {
			t.Required(at, "completionTime is required for Complete jobs")
		}
	}
	if (started || ended) && now.StartTime != nil && now.CompletionTime != nil && now.CompletionTime.Before(now.StartTime) {
		t.Invalid(at, now.CompletionTime, "must be equal to or after `startTime`")
	}
	if ended && now.CompletionTime != nil && was.CompletionTime != nil {
		t.Invalid(at, now.CompletionTime, "field is immutable")
	}
	resumes := has(t.old, batchv1.JobSuspended) && conditionIs(t.job, batchv1.JobSuspended, corev1.ConditionFalse)
	if started && was.StartTime != nil && !resumes && !ptr.Deref(t.job.Spec.Suspend, false) {
		t.Invalid(t.path.Child("startTime"), now.StartTime, "field is immutable for unsuspended job once set")
	}
}

func (t *transition) indexes() {
	now, was, spec := &t.job.Status, &t.old.Status, &t.job.Spec
	completedAt, failedAt := t.path.Child("completedIndexes"), t.path.Child("failedIndexes")
	completedChanged, failedChanged := now.CompletedIndexes != was.CompletedIndexes, !ptr.Equal(now.FailedIndexes, was.FailedIndexes)
	if completedChanged && spec.Completions != nil {
		if _, err := parseIndexes(now.CompletedIndexes, *spec.Completions); err != nil {
			t.Invalid(completedAt, now.CompletedIndexes, "error parsing completedIndexes: "+err.Error())
		}
	}
	if failedChanged && spec.Completions != nil && spec.BackoffLimitPerIndex != nil && now.FailedIndexes != nil {
		if _, err := parseIndexes(*now.FailedIndexes, *spec.Completions); err != nil {
			t.Invalid(failedAt, now.FailedIndexes, "error parsing failedIndexes: "+err.Error())
		}
	}
	if completedChanged && now.CompletedIndexes != "" && !indexed(spec) {
		t.Invalid(completedAt, now.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if now.FailedIndexes == nil {
		return
	}
	if failedChanged && spec.BackoffLimitPerIndex == nil {
		t.Invalid(failedAt, *now.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if (failedChanged || completedChanged) && spec.Completions != nil {
		both, shared := overlap(validSpans(now.CompletedIndexes, *spec.Completions), validSpans(*now.FailedIndexes, *spec.Completions))
		if shared {
			t.Invalid(failedAt, *now.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", both))
		}
	}
}

// finished checks that a job that ends has nothing left to do.
func (t *transition) finished() {
	if !finished(t.job) {
		return
	}
	now, was, ends := &t.job.Status, &t.old.Status, !finished(t.old)
	if now.Active > 0 && (ends || now.Active != was.Active) {
		t.Invalid(t.path.Child("active"), now.Active, "active>0 is invalid for finished job")
	}
	if n := ptr.Deref(now.Terminating, 0); n > 0 && (ends || !ptr.Equal(now.Terminating, was.Terminating)) {
		t.Invalid(t.path.Child("terminating"), now.Terminating, "terminating>0 is invalid for finished job")
	}
	neverRan := ptr.Deref(t.job.Spec.Suspend, false) && ptr.Deref(t.job.Spec.Completions, 1) == 0
	if now.StartTime == nil && !neverRan && (ends || was.StartTime != nil) {
		t.Required(t.path.Child("startTime"), "startTime is required for finished job")
	}
	left := now.UncountedTerminatedPods
	if left != nil && len(left.Failed)+len(left.Succeeded) > 0 &&
		(ends || !apiequality.Semantic.DeepEqual(left, was.UncountedTerminatedPods)) {
		t.Invalid(t.path.Child("uncountedTerminatedPods"), left, "must be empty for finished job")
	}
}

// irreversible holds that an outcome, once decided, stays.
func (t *transition) irreversible() {
	for _, c := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if has(t.old, c) && !has(t.job, c) {
			t.condition(fmt.Sprintf("cannot disable the terminal %s=True condition", c))
		}
	}
	const met = batchv1.JobSuccessCriteriaMet
	if has(t.old, met) && !has(t.job, met) {
		t.condition("cannot disable the SuccessCriteriaMet=True condition")
	}
	if has(t.old, batchv1.JobComplete) && !has(t.old, met) && has(t.job, met) {
		t.condition("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
	}
}
