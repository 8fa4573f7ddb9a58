package batch

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// The bounds of indexed jobs keep the lists of indexes in the status short.
const (
	mostParallelism   = 100_000
	mostFailedIndexes = 100_000
	manyCompletions   = 100_000
	limitForMany      = 10_000
	longestManager    = 63
)

func validateJob(_ context.Context, job *batchv1.Job) field.ErrorList {
	var found problem.List
	found.Add(validateGenerated(job)...)
	found.Add(validateSelectedSpec(&job.Spec, nil, field.NewPath("spec"))...)
	found.Add(validateIndexedName(job)...)
	return found.Errors
}

func validateJobUpdate(_ context.Context, job, old *batchv1.Job) field.ErrorList {
	var found problem.List
	path := field.NewPath("spec")
	now, was := &job.Spec, &old.Spec
	found.Add(validateSelectedSpec(now, was, path)...)
	found.Add(validateCompletionsChange(now, was, path)...)
	immutable := func(name string, now, was any) {
		found.Add(apivalidation.ValidateImmutableField(now, was, path.Child(name))...)
	}
	immutable("selector", now.Selector, was.Selector)
	found.Add(validateTemplateChange(job, old, path)...)
	immutable("completionMode", now.CompletionMode, was.CompletionMode)
	immutable("podFailurePolicy", now.PodFailurePolicy, was.PodFailurePolicy)
	immutable("backoffLimitPerIndex", now.BackoffLimitPerIndex, was.BackoffLimitPerIndex)
	immutable("managedBy", now.ManagedBy, was.ManagedBy)
	immutable("successPolicy", now.SuccessPolicy, was.SuccessPolicy)
	found.Add(validateIndexedName(job)...)
	return found.Errors
}

// validateGenerated holds that labels the server made were not overruled.
func validateGenerated(job *batchv1.Job) field.ErrorList {
	if ptr.Deref(job.Spec.ManualSelector, false) || job.Spec.Selector == nil {
		return nil
	}
	var found problem.List
	if job.UID == "" {
		found.Required(field.NewPath("metadata", "uid"), "")
	}
	expected := ownLabels(job)
	at := field.NewPath("spec", "template", "metadata", "labels")
	for _, key := range []string{"controller-uid", "job-name", batchv1.ControllerUidLabel, batchv1.JobNameLabel} {
		want := expected[key]
		got, present := job.Spec.Template.Labels[key]
		switch {
		case !present:
			found.Required(at.Key(key), fmt.Sprintf("must be '%s'", want))
		case got != want:
			found.Invalid(at.Key(key), job.Spec.Template.Labels, fmt.Sprintf("must be '%s'", want))
		}
	}
	if selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector); err == nil && !selector.Matches(labels.Set(expected)) {
		found.Invalid(field.NewPath("spec", "selector"), job.Spec.Selector, "`selector` not auto-generated")
	}
	return found.Errors
}

// validateIndexedName checks that the last index still gives a valid pod host name.
func validateIndexedName(job *batchv1.Job) field.ErrorList {
	completions := ptr.Deref(job.Spec.Completions, 0)
	if !indexed(&job.Spec) || completions <= 0 {
		return nil
	}
	last := fmt.Sprintf("%s-%d", job.Name, completions-1)
	if len(validation.IsDNS1123Label(last)) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), job.Name,
		"will not able to create pod with invalid DNS label: "+last)}
}

// validateSelectedSpec checks the spec of a Job, which has a selector; that of a
// CronJob's template has none.
func validateSelectedSpec(spec, old *batchv1.JobSpec, path *field.Path) field.ErrorList {
	found := problem.List{Errors: validateJobSpec(spec, old, path)}
	if spec.Selector == nil {
		found.Required(path.Child("selector"), "")
	} else {
		options := metav1validation.LabelSelectorValidationOptions{
			AllowInvalidLabelValueInSelector: old != nil && metav1validation.LabelSelectorHasInvalidLabelValue(old.Selector),
		}
		found.Add(metav1validation.ValidateLabelSelector(spec.Selector, options, path.Child("selector"))...)
	}
	if selector, err := metav1.LabelSelectorAsSelector(spec.Selector); err == nil && !selector.Matches(labels.Set(spec.Template.Labels)) {
		found.Invalid(path.Child("template", "metadata", "labels"), spec.Template.Labels, "`selector` does not match template `labels`")
	}
	return found.Errors
}

func validateJobSpec(spec, old *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var found problem.List
	for _, n := range []struct {
		name  string
		value *int32
	}{
		{"parallelism", spec.Parallelism}, {"completions", spec.Completions}, {"backoffLimit", spec.BackoffLimit},
		{"ttlSecondsAfterFinished", spec.TTLSecondsAfterFinished}, {"backoffLimitPerIndex", spec.BackoffLimitPerIndex},
		{"maxFailedIndexes", spec.MaxFailedIndexes},
	} {
		found.NotNegative(path.Child(n.name), int64(ptr.Deref(n.value, 0)))
	}
	found.NotNegative(path.Child("activeDeadlineSeconds"), ptr.Deref(spec.ActiveDeadlineSeconds, 0))
	if spec.MaxFailedIndexes != nil && spec.BackoffLimitPerIndex == nil {
		found.Required(path.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified")
	}
	if spec.ManagedBy != nil {
		found.Add(validation.IsDomainPrefixedPath(path.Child("managedBy"), *spec.ManagedBy)...)
		if len(*spec.ManagedBy) > longestManager {
			found.Add(field.TooLong(path.Child("managedBy"), "", longestManager))
		}
	}
	if spec.CompletionMode != nil {
		problem.OneOf(&found, path.Child("completionMode"), *spec.CompletionMode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
	}
	found.Add(validateIndexing(spec, path)...)
	if spec.PodFailurePolicy != nil {
		found.Add(validateFailurePolicy(spec, path.Child("podFailurePolicy"))...)
	}
	if spec.SuccessPolicy != nil {
		found.Add(validateSuccessPolicy(spec, path.Child("successPolicy"))...)
	}
	if replacement := spec.PodReplacementPolicy; replacement != nil {
		allowed := []batchv1.PodReplacementPolicy{batchv1.Failed, batchv1.TerminatingOrFailed}
		if spec.PodFailurePolicy != nil {
			allowed = allowed[:1]
		}
		problem.OneOf(&found, path.Child("podReplacementPolicy"), *replacement, allowed...)
	}
	var oldTemplate *corev1.PodTemplateSpec
	if old != nil {
		oldTemplate = &old.Template
	}
	found.Add(pod.ValidateTemplate(&spec.Template, path.Child("template"), pod.OptionsFor(oldTemplate))...)
	found.Add(validateRestartPolicy(spec, path.Child("template", "spec", "restartPolicy"))...)
	return found.Errors
}

func validateRestartPolicy(spec *batchv1.JobSpec, at *field.Path) field.ErrorList {
	var found problem.List
	switch policy := spec.Template.Spec.RestartPolicy; policy {
	case corev1.RestartPolicyNever:
	case corev1.RestartPolicyOnFailure:
		if spec.PodFailurePolicy != nil {
			found.Invalid(at, policy, `only "Never" is supported when podFailurePolicy is specified`)
		}
	case "", corev1.RestartPolicyAlways:
		// Always is also what was filled in where the user said nothing.
		found.Required(at, `valid values: "OnFailure", "Never"`)
	default:
		problem.OneOf(&found, at, policy, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	}
	return found.Errors
}

func validateIndexing(spec *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var found problem.List
	if ptr.Deref(spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.NonIndexedCompletion {
		const needs = "requires indexed completion mode"
		if spec.BackoffLimitPerIndex != nil {
			found.Invalid(path.Child("backoffLimitPerIndex"), *spec.BackoffLimitPerIndex, needs)
		}
		if spec.MaxFailedIndexes != nil {
			found.Invalid(path.Child("maxFailedIndexes"), *spec.MaxFailedIndexes, needs)
		}
		return found.Errors
	}
	if !indexed(spec) {
		return nil
	}
	completions, failures := spec.Completions, spec.MaxFailedIndexes
	limit := func(name string, value *int32, most int32, detail string) {
		if value != nil && *value > most {
			found.Invalid(path.Child(name), *value, detail)
		}
	}
	if completions == nil {
		found.Required(path.Child("completions"), "when completion mode is Indexed")
	}
	limit("parallelism", spec.Parallelism, mostParallelism,
		fmt.Sprintf("must be less than or equal to %d when completion mode is Indexed", mostParallelism))
	if completions != nil {
		limit("maxFailedIndexes", failures, *completions, "must be less than or equal to completions")
	}
	limit("maxFailedIndexes", failures, mostFailedIndexes, fmt.Sprintf("must be less than or equal to %d", mostFailedIndexes))
	if ptr.Deref(completions, 0) > manyCompletions && spec.BackoffLimitPerIndex != nil {
		if failures == nil {
			found.Required(path.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", manyCompletions))
		}
		detail := fmt.Sprintf("must be less than or equal to %d when completions are above %d and used with backoff limit per index", limitForMany, manyCompletions)
		limit("parallelism", spec.Parallelism, limitForMany, detail)
		limit("maxFailedIndexes", failures, limitForMany, detail)
	}
	return found.Errors
}

// validateCompletionsChange lets only indexed jobs be resized, and these only
// together with their parallelism.
func validateCompletionsChange(now, was *batchv1.JobSpec, path *field.Path) field.ErrorList {
	at := path.Child("completions")
	if !indexed(now) {
		return apivalidation.ValidateImmutableField(now.Completions, was.Completions, at)
	}
	if now.Completions == nil || ptr.Equal(now.Completions, was.Completions) || ptr.Equal(now.Completions, now.Parallelism) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, now.Completions, "can only be modified in tandem with spec.parallelism")}
}

// validateTemplateChange holds the template fixed. A suspended job that has no
// pods may still be told where to run and how much to use.
// See https://kubernetes.io/docs/concepts/workloads/controllers/job/#mutable-scheduling-directives.
func validateTemplateChange(job, old *batchv1.Job, path *field.Path) field.ErrorList {
	now, was := &job.Spec.Template, &old.Spec.Template
	suspended := ptr.Deref(old.Spec.Suspend, false)
	open := suspended && old.Status.Active == 0 && (old.Status.StartTime == nil || has(old, batchv1.JobSuspended))
	if !open {
		return apivalidation.ValidateImmutableField(now, was, path.Child("template"))
	}
	allowed := was.DeepCopy()
	allowed.Labels, allowed.Annotations = now.Labels, now.Annotations
	spec := &allowed.Spec
	spec.NodeSelector, spec.Tolerations, spec.SchedulingGates = now.Spec.NodeSelector, now.Spec.Tolerations, now.Spec.SchedulingGates
	spec.Affinity = withNodeAffinityOf(spec.Affinity, now.Spec.Affinity)
	takeResources(spec.Containers, now.Spec.Containers)
	takeResources(spec.InitContainers, now.Spec.InitContainers)
	return apivalidation.ValidateImmutableField(now.Spec, *spec, path.Child("template.spec"))
}

// withNodeAffinityOf is was with the node affinity of now.
func withNodeAffinityOf(was, now *corev1.Affinity) *corev1.Affinity {
	result := &corev1.Affinity{}
	if was != nil {
		result = was.DeepCopy()
	}
	result.NodeAffinity = nil
	if now != nil {
		result.NodeAffinity = now.NodeAffinity
	} else if apiequality.Semantic.DeepEqual(result, &corev1.Affinity{}) {
		return nil
	}
	return result
}

func takeResources(into, from []corev1.Container) {
	if len(into) != len(from) {
		return
	}
	for i := range into {
		if into[i].Name == from[i].Name {
			into[i].Resources = from[i].Resources
		}
	}
}
