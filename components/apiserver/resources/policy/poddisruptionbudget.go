// Package policy has the resources of the group policy/v1: the budgets that limit
// how many pods may be evicted at once.
package policy

import (
	"context"
	"slices"

	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/percent"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// PodDisruptionBudgets say how many of a set of pods must stay.
// See https://kubernetes.io/docs/tasks/run-application/configure-pdb/.
func PodDisruptionBudgets() *resource.Definition[*policyv1.PodDisruptionBudget] {
	return &resource.Definition[*policyv1.PodDisruptionBudget]{
		Identity: resource.Identity{
			GroupVersion: policyv1.SchemeGroupVersion,
			Kind:         "PodDisruptionBudget", Name: "poddisruptionbudgets", Singular: "poddisruptionbudget",
			ShortNames: []string{"pdb"},
		},
		New:     func() *policyv1.PodDisruptionBudget { return &policyv1.PodDisruptionBudget{} },
		NewList: func() runtime.Object { return &policyv1.PodDisruptionBudgetList{} },
		PrepareForCreate: func(_ context.Context, b *policyv1.PodDisruptionBudget) {
			dropVersionMarker(b.Spec.Selector)
		},
		PrepareForUpdate: func(_ context.Context, b, old *policyv1.PodDisruptionBudget) {
			if !apiequality.Semantic.DeepEqual(b.Spec.Selector, old.Spec.Selector) {
				dropVersionMarker(b.Spec.Selector)
			}
		},
		// Any name that can stand in a path will do.
		NameValidator: validName,
		Validate: func(_ context.Context, b *policyv1.PodDisruptionBudget) field.ErrorList {
			return validateBudget(&b.Spec, nil)
		},
		ValidateUpdate: func(_ context.Context, b, old *policyv1.PodDisruptionBudget) field.ErrorList {
			return validateBudget(&b.Spec, &old.Spec)
		},
		RequireVersionOnUpdate: true,
		Spec:                   func(b *policyv1.PodDisruptionBudget) any { return &b.Spec },
		TracksGeneration:       true,
		Status:                 func(b *policyv1.PodDisruptionBudget) any { return &b.Status },
		ValidateStatusUpdate: func(_ context.Context, b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
			return validateBudgetStatus(&b.Status)
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Min Available", "The minimum number of pods that must be available."),
			table.String("Max Unavailable", "The maximum number of pods that may be unavailable."),
			table.Integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
			table.Age(),
		},
		Cells: func(b *policyv1.PodDisruptionBudget) []any {
			return []any{b.Name, bound(b.Spec.MinAvailable), bound(b.Spec.MaxUnavailable),
				int64(b.Status.DisruptionsAllowed), table.Since(b.CreationTimestamp)}
		},
	}
}

func bound(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

// versionMarker is a label that upstream puts into stored selectors, so that an empty
// one means nothing in policy/v1beta1 and everything in v1.
const versionMarker = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"

// dropVersionMarker keeps clients from using the marker beside terms of their own.
func dropVersionMarker(selector *metav1.LabelSelector) {
	if selector == nil {
		return
	}
	isMarker := func(r metav1.LabelSelectorRequirement) bool { return r.Key == versionMarker }
	terms := selector.MatchExpressions
	if len(selector.MatchLabels) == 0 && len(terms) == 1 && isMarker(terms[0]) && terms[0].Operator == metav1.LabelSelectorOpExists {
		return // a selector that selects nothing
	}
	selector.MatchExpressions = slices.DeleteFunc(terms, isMarker)
}

func validateBudget(spec, old *policyv1.PodDisruptionBudgetSpec) field.ErrorList {
	var found problem.List
	path := field.NewPath("spec")
	if spec.MinAvailable != nil && spec.MaxUnavailable != nil {
		found.Invalid(path, *spec, "minAvailable and maxUnavailable cannot be both set")
	}
	for _, limit := range []struct {
		name  string
		value *intstr.IntOrString
	}{{"minAvailable", spec.MinAvailable}, {"maxUnavailable", spec.MaxUnavailable}} {
		found.Add(percent.Validate(limit.value, path.Child(limit.name))...)
		found.Add(percent.AtMostAll(limit.value, path.Child(limit.name))...)
	}
	options := metav1validation.LabelSelectorValidationOptions{
		AllowInvalidLabelValueInSelector: old != nil && metav1validation.LabelSelectorHasInvalidLabelValue(old.Selector),
	}
	found.Add(metav1validation.ValidateLabelSelector(spec.Selector, options, path.Child("selector"))...)
	if eviction := spec.UnhealthyPodEvictionPolicy; eviction != nil {
		problem.OneOf(&found, path.Child("unhealthyPodEvictionPolicy"), *eviction, policyv1.AlwaysAllow, policyv1.IfHealthyBudget)
	}
	return found.Errors
}

func validateBudgetStatus(status *policyv1.PodDisruptionBudgetStatus) field.ErrorList {
	path := field.NewPath("status")
	found := problem.List{Errors: metav1validation.ValidateConditions(status.Conditions, path.Child("conditions"))}
	found.NotNegative(path.Child("disruptionsAllowed"), int64(status.DisruptionsAllowed))
	found.NotNegative(path.Child("currentHealthy"), int64(status.CurrentHealthy))
	found.NotNegative(path.Child("desiredHealthy"), int64(status.DesiredHealthy))
	found.NotNegative(path.Child("expectedPods"), int64(status.ExpectedPods))
	return found.Errors
}

// validName allows whatever can stand in a URL.
func validName(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}
