package batch

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// How long the lists of a policy may be.
const (
	mostRules             = 20
	mostConditionPatterns = 20
	mostExitCodes         = 255
	longestIndexes        = 64 * 1024
)

// enumerated checks a value that must be given, out of a sorted set.
func enumerated[T ~string](found *problem.List, at *field.Path, value T, supported ...T) {
	if value == "" {
		found.Required(at, fmt.Sprintf("valid values: %q", supported))
		return
	}
	problem.OneOf(found, at, value, supported...)
}

func validateFailurePolicy(spec *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var found problem.List
	rules, at := spec.PodFailurePolicy.Rules, path.Child("rules")
	if len(rules) > mostRules {
		found.Add(field.TooMany(at, len(rules), mostRules))
	}
	containers := sets.New[string]()
	for _, c := range slices.Concat(spec.Template.Spec.Containers, spec.Template.Spec.InitContainers) {
		containers.Insert(c.Name)
	}
	for i := range rules {
		rule, at := &rules[i], at.Index(i)
		if rule.Action == batchv1.PodFailurePolicyActionFailIndex && spec.BackoffLimitPerIndex == nil {
			found.Invalid(at.Child("action"), rule.Action, "requires the backoffLimitPerIndex to be set")
		}
		enumerated(&found, at.Child("action"), rule.Action, batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
			batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)
		if rule.OnExitCodes != nil {
			found.Add(validateExitCodes(rule.OnExitCodes, containers, at.Child("onExitCodes"))...)
		}
		found.Add(validateConditionPatterns(rule.OnPodConditions, at.Child("onPodConditions"))...)
		switch hasCodes, hasConditions := rule.OnExitCodes != nil, len(rule.OnPodConditions) > 0; {
		case hasCodes && hasConditions:
			found.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported")
		case !hasCodes && !hasConditions:
			found.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required")
		}
	}
	return found.Errors
}

func validateExitCodes(codes *batchv1.PodFailurePolicyOnExitCodesRequirement, containers sets.Set[string], path *field.Path) field.ErrorList {
	var found problem.List
	enumerated(&found, path.Child("operator"), codes.Operator, batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if codes.ContainerName != nil && !containers.Has(*codes.ContainerName) {
		found.Invalid(path.Child("containerName"), *codes.ContainerName, "must be one of the container or initContainer names in the pod template")
	}
	at := path.Child("values")
	switch n := len(codes.Values); {
	case n == 0:
		found.Invalid(at, codes.Values, "at least one value is required")
	case n > mostExitCodes:
		found.Add(field.TooMany(at, n, mostExitCodes))
	}
	seen := sets.New[int32]()
	for i, code := range codes.Values {
		if code == 0 && codes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
			found.Invalid(at.Index(i), code, "must not be 0 for the In operator")
		}
		if seen.Has(code) {
			found.Duplicate(at.Index(i), code)
		}
		seen.Insert(code)
	}
	if !slices.IsSorted(codes.Values) {
		found.Invalid(at, codes.Values, "must be ordered")
	}
	return found.Errors
}

func validateConditionPatterns(patterns []batchv1.PodFailurePolicyOnPodConditionsPattern, path *field.Path) field.ErrorList {
	var found problem.List
	if len(patterns) > mostConditionPatterns {
		found.Add(field.TooMany(path, len(patterns), mostConditionPatterns))
	}
	for i, pattern := range patterns {
		at := path.Index(i)
		found.Messages(at.Child("type"), string(pattern.Type), validation.IsQualifiedName(string(pattern.Type)))
		enumerated(&found, at.Child("status"), pattern.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)
	}
	return found.Errors
}

func validateSuccessPolicy(spec *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var found problem.List
	if !indexed(spec) {
		found.Invalid(path, *spec.SuccessPolicy, "requires indexed completion mode")
		return found.Errors
	}
	rules, at := spec.SuccessPolicy.Rules, path.Child("rules")
	switch n := len(rules); {
	case n == 0:
		found.Required(at, "at least one rules must be specified when the successPolicy is specified")
	case n > mostRules:
		found.Add(field.TooMany(at, n, mostRules))
	}
	if spec.Completions == nil {
		return found.Errors // reported where indexing is checked
	}
	for i := range rules {
		found.Add(validateSuccessRule(&rules[i], *spec.Completions, at.Index(i))...)
	}
	return found.Errors
}

func validateSuccessRule(rule *batchv1.SuccessPolicyRule, completions int32, at *field.Path) field.ErrorList {
	var found problem.List
	if rule.SucceededCount == nil && rule.SucceededIndexes == nil {
		found.Required(at, "at least one of succeededCount or succeededIndexes must be specified")
	}
	var listed int32
	if rule.SucceededIndexes != nil {
		at := at.Child("succeededIndexes")
		if len(*rule.SucceededIndexes) > longestIndexes {
			found.Add(field.TooLong(at, "", longestIndexes))
		}
		spans, err := parseIndexes(*rule.SucceededIndexes, completions)
		if err != nil {
			found.Invalid(at, *rule.SucceededIndexes, "error parsing succeededIndexes: "+err.Error())
		}
		listed = total(spans)
	}
	if rule.SucceededCount != nil {
		count, at := *rule.SucceededCount, at.Child("succeededCount")
		found.NotNegative(at, int64(count))
		if count > completions {
			found.Invalid(at, count, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions))
		}
		if rule.SucceededIndexes != nil && count > listed {
			found.Invalid(at, count, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", listed))
		}
	}
	return found.Errors
}
