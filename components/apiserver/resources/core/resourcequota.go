package core

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/quantity"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// ResourceQuotas bound what a namespace uses in all.
// https://kubernetes.io/docs/concepts/policy/resource-quotas/
func ResourceQuotas() *resource.Definition[*corev1.ResourceQuota] {
	return &resource.Definition[*corev1.ResourceQuota]{
		Identity: identity("ResourceQuota", "resourcequotas", "resourcequota", "quota"),
		New:      func() *corev1.ResourceQuota { return new(corev1.ResourceQuota) },
		NewList:  func() runtime.Object { return new(corev1.ResourceQuotaList) },
		Default: func(q *corev1.ResourceQuota) {
			volume.RoundUp(q.Spec.Hard)
			volume.RoundUp(q.Status.Hard)
			volume.RoundUp(q.Status.Used)
		},
		Validate: func(_ context.Context, q *corev1.ResourceQuota) field.ErrorList { return validateQuota(&q.Spec) },
		ValidateUpdate: func(_ context.Context, q, old *corev1.ResourceQuota) field.ErrorList {
			found := problem.List{Errors: validateQuota(&q.Spec)}
			if !sets.New(q.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
				found.Invalid(field.NewPath("spec", "scopes"), q.Spec.Scopes, "field is immutable")
			}
			return found.Errors
		},
		Spec:   func(q *corev1.ResourceQuota) any { return &q.Spec },
		Status: func(q *corev1.ResourceQuota) any { return &q.Status },
		ValidateStatusUpdate: func(_ context.Context, q, _ *corev1.ResourceQuota) field.ErrorList {
			var found problem.List
			found.NonEmpty(field.NewPath("resourceVersion"), q.ResourceVersion)
			quotaAmounts(&found, field.NewPath("status", "hard"), q.Status.Hard)
			quotaAmounts(&found, field.NewPath("status", "used"), q.Status.Used)
			return found.Errors
		},
		ReturnDeletedObject: true,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
			table.String("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
			table.Age(),
		},
		Cells: func(q *corev1.ResourceQuota) []any {
			var requests, limits []string
			for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
				used, hard := q.Status.Used[name], q.Status.Hard[name]
				line := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
				if strings.HasPrefix(string(name), "limits.") {
					limits = append(limits, line)
				} else {
					requests = append(requests, line)
				}
			}
			return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), table.Since(q.CreationTimestamp)}
		},
	}
}

func quotaAmounts(found *problem.List, at *field.Path, list corev1.ResourceList) {
	for name, q := range list {
		itemAt := at.Key(string(name))
		found.Add(quantity.ValidateName(name, itemAt)...)
		if !strings.Contains(string(name), "/") && !quantity.IsStandardForQuota(name) {
			found.Invalid(itemAt, name, "must be a standard resource for quota")
		}
		found.Add(quantity.ValidateValue(name, q, itemAt)...)
	}
}

func validateQuota(s *corev1.ResourceQuotaSpec) field.ErrorList {
	var found problem.List
	quotaAmounts(&found, field.NewPath("spec", "hard"), s.Hard)

	at := field.NewPath("spec", "scopes")
	for _, scope := range s.Scopes {
		if !isScope(scope) {
			found.Invalid(at, s.Scopes, "unsupported scope")
		}
		scopeFits(&found, at, scope, s.Hard, s.Scopes)
	}
	if contradict(s.Scopes) {
		found.Invalid(at, s.Scopes, "conflicting scopes")
	}
	if s.ScopeSelector != nil {
		scopeSelector(&found, field.NewPath("spec", "scopeSelector", "matchExpressions"), s)
	}
	return found.Errors
}

func isScope(s corev1.ResourceQuotaScope) bool {
	switch s {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
		corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass,
		corev1.ResourceQuotaScopeVolumeAttributesClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return true
	}
	return false
}

// scopeFits refuses limits on what the scope does not select: a scope is about pods or
// about claims, and best-effort pods can only be counted.
func scopeFits(found *problem.List, at *field.Path, scope corev1.ResourceQuotaScope, hard corev1.ResourceList, shown any) {
	for _, name := range slices.Sorted(maps.Keys(hard)) {
		if !quantity.IsStandardForQuota(name) {
			continue
		}
		fits := true
		switch scope {
		case corev1.ResourceQuotaScopeBestEffort:
			fits = name == corev1.ResourcePods
		case corev1.ResourceQuotaScopeVolumeAttributesClass:
			fits = name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
		default:
			if isScope(scope) {
				ephemeral := strings.HasSuffix(string(name), string(corev1.ResourceEphemeralStorage))
				fits = name == corev1.ResourcePods || slices.Contains(quantity.Compute(), name) && !ephemeral
			}
		}
		if !fits {
			found.Invalid(at, shown, "unsupported scope applied to resource")
		}
	}
}

func contradict(scopes []corev1.ResourceQuotaScope) bool {
	both := func(a, b corev1.ResourceQuotaScope) bool {
		return slices.Contains(scopes, a) && slices.Contains(scopes, b)
	}
	return both(corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort) ||
		both(corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating)
}

func scopeSelector(found *problem.List, at *field.Path, s *corev1.ResourceQuotaSpec) {
	var scopes []corev1.ResourceQuotaScope
	for _, r := range s.ScopeSelector.MatchExpressions {
		scopes = append(scopes, r.ScopeName)
		if !isScope(r.ScopeName) {
			found.Invalid(at.Child("scopeName"), r.ScopeName, "unsupported scope")
		}
		scopeFits(found, at, r.ScopeName, s.Hard, s.ScopeSelector)
		valued := r.ScopeName == corev1.ResourceQuotaScopePriorityClass || r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass
		if isScope(r.ScopeName) && !valued && r.Operator != corev1.ScopeSelectorOpExists {
			found.Invalid(at.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "+
				"ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
		}
		switch r.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(r.Values) == 0 {
				found.Required(at.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			if len(r.Values) > 0 {
				found.Invalid(at.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
			}
		default:
			found.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator")
		}
	}
	if contradict(scopes) {
		found.Invalid(at, s.Scopes, "conflicting scopes")
	}
}
