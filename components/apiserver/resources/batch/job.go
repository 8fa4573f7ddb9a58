package batch

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// Jobs run pods until enough of them succeed.
func Jobs() *resource.Definition[*batchv1.Job] {
	return &resource.Definition[*batchv1.Job]{
		Identity: resource.Identity{
			GroupVersion: batchv1.SchemeGroupVersion,
			Kind:         "Job", Name: "jobs", Singular: "job",
			Categories: []string{"all"},
		},
		New:                  func() *batchv1.Job { return &batchv1.Job{} },
		NewList:              func() runtime.Object { return &batchv1.JobList{} },
		Default:              defaultJob,
		PrepareForCreate:     prepareJob,
		Off:                  offFeatures("spec"),
		Validate:             validateJob,
		ValidateUpdate:       validateJobUpdate,
		Warnings:             jobWarnings,
		Spec:                 func(job *batchv1.Job) any { return &job.Spec },
		TracksGeneration:     true,
		Status:               func(job *batchv1.Job) any { return &job.Status },
		ValidateStatusUpdate: validateJobStatusUpdate,
		// A plain delete through batch/v1 leaves the pods behind, as it always has.
		DefaultGarbageCollection: rest.OrphanDependents,
		Fields: func(job *batchv1.Job) fields.Set {
			return fields.Set{"status.successful": strconv.Itoa(int(job.Status.Succeeded))}
		},
		Columns: append([]metav1.TableColumnDefinition{
			table.Name(),
			table.String("Status", "Status of the job."),
			table.String("Completions", batchv1.JobStatus{}.SwaggerDoc()["succeeded"]),
			table.String("Duration", "Time required to complete the job."),
			table.Age(),
		}, append(table.TemplateColumns(), table.Wide(table.String("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"]))...)...),
		Cells: func(job *batchv1.Job) []any {
			return append(append([]any{
				job.Name, summary(job), completionsText(job), durationText(job), table.Since(job.CreationTimestamp),
			}, table.ContainerCells(job.Spec.Template.Spec.Containers)...), metav1.FormatLabelSelector(job.Spec.Selector))
		},
	}
}

// orElse sets a field that was left out.
func orElse[T any](target **T, value T) {
	if *target == nil {
		*target = &value
	}
}

func defaultJob(job *batchv1.Job) {
	spec := &job.Spec
	defaultJobTemplate(spec)
	if spec.Parallelism == nil {
		orElse(&spec.Completions, 1)
		orElse(&spec.Parallelism, 1)
	}
	if spec.BackoffLimitPerIndex != nil {
		orElse(&spec.BackoffLimit, math.MaxInt32)
	}
	orElse(&spec.BackoffLimit, 6)
	orElse(&spec.CompletionMode, batchv1.NonIndexedCompletion)
	orElse(&spec.Suspend, false)
	orElse(&spec.ManualSelector, false)
	if spec.PodFailurePolicy != nil {
		orElse(&spec.PodReplacementPolicy, batchv1.Failed)
	}
	orElse(&spec.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	if len(job.Labels) == 0 && spec.Template.Labels != nil {
		job.Labels = spec.Template.Labels
	}
}

// defaultJobTemplate completes what a Job and a CronJob's template share.
func defaultJobTemplate(spec *batchv1.JobSpec) {
	pod.DefaultTemplate(&spec.Template)
	if spec.PodFailurePolicy == nil {
		return
	}
	for _, rule := range spec.PodFailurePolicy.Rules {
		for i := range rule.OnPodConditions {
			if pattern := &rule.OnPodConditions[i]; pattern.Status == "" {
				pattern.Status = corev1.ConditionTrue
			}
		}
	}
}

// offFeatures are those that are off by default and bring fields into a job's spec.
func offFeatures(at string) []resource.Feature {
	return append(pod.OffFeatures(at+".template.spec"), resource.Feature{Name: "WorkloadWithJob", Fields: []string{at + ".scheduling"}})
}

// ownLabels are the labels by which a job finds its pods, the legacy names too.
func ownLabels(job *batchv1.Job) map[string]string {
	uid := string(job.UID)
	return map[string]string{
		"job-name": job.Name, batchv1.JobNameLabel: job.Name,
		"controller-uid": uid, batchv1.ControllerUidLabel: uid,
	}
}

// prepareJob generates the selector, unless the user manages it. What the user
// wrote stands; if it is in the way, validation says so.
func prepareJob(_ context.Context, job *batchv1.Job) {
	if ptr.Deref(job.Spec.ManualSelector, false) {
		return
	}
	labels := ownLabels(job)
	for k, v := range job.Spec.Template.Labels {
		labels[k] = v
	}
	job.Spec.Template.Labels = labels

	orElse(&job.Spec.Selector, metav1.LabelSelector{})
	wanted := map[string]string{batchv1.ControllerUidLabel: string(job.UID)}
	for k, v := range job.Spec.Selector.MatchLabels {
		wanted[k] = v
	}
	job.Spec.Selector.MatchLabels = wanted
}

func jobWarnings(_ context.Context, job, old *batchv1.Job) []string {
	var warnings []string
	if old == nil {
		warnings = append(warnings, nameWarnings(job.Name)...)
	} else if job.Generation == old.Generation {
		return nil
	}
	return append(warnings, specWarnings(&job.Spec, field.NewPath("spec"))...)
}

// specWarnings are those of a Job's spec and of a CronJob's template of one.
func specWarnings(spec *batchv1.JobSpec, path *field.Path) []string {
	return append(indexWarnings(spec, path), pod.TemplateWarnings(&spec.Template, path.Child("template"))...)
}

func nameWarnings(name string) []string {
	problems := validation.IsDNS1123Label(name)
	if len(problems) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in "+
		"surprising behavior; a DNS label is recommended: %v", problems)}
}

func indexWarnings(spec *batchv1.JobSpec, path *field.Path) []string {
	if !indexed(spec) || ptr.Deref(spec.Completions, 0) <= manyCompletions || ptr.Deref(spec.Parallelism, 0) <= limitForMany {
		return nil
	}
	return []string{path.String() + ": In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, " +
		"Kubernetes might not be able to track completedIndexes when a big number of indexes fail"}
}

func indexed(spec *batchv1.JobSpec) bool {
	return ptr.Deref(spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

// has says whether a condition is true.
func has(job *batchv1.Job, condition batchv1.JobConditionType) bool {
	return conditionIs(job, condition, corev1.ConditionTrue)
}

func conditionIs(job *batchv1.Job, condition batchv1.JobConditionType, status corev1.ConditionStatus) bool {
	for _, c := range job.Status.Conditions {
		if c.Type == condition && c.Status == status {
			return true
		}
	}
	return false
}

// summary is the job's state in a word: the end, else what it waits for.
func summary(job *batchv1.Job) string {
	for _, end := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if has(job, end) {
			return string(end)
		}
	}
	if job.DeletionTimestamp != nil {
		return "Terminating"
	}
	for _, now := range []batchv1.JobConditionType{batchv1.JobSuspended, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet} {
		if has(job, now) {
			return string(now)
		}
	}
	return "Running"
}

func completionsText(job *batchv1.Job) string {
	done := job.Status.Succeeded
	if job.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", done, *job.Spec.Completions)
	}
	if workers := ptr.Deref(job.Spec.Parallelism, 0); workers > 1 {
		return fmt.Sprintf("%d/1 of %d", done, workers)
	}
	return fmt.Sprintf("%d/1", done)
}

func durationText(job *batchv1.Job) string {
	if job.Status.StartTime == nil {
		return ""
	}
	end := time.Now()
	if job.Status.CompletionTime != nil {
		end = job.Status.CompletionTime.Time
	}
	return duration.HumanDuration(end.Sub(job.Status.StartTime.Time))
}
