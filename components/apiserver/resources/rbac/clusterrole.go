package rbac

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// ClusterRoles are sets of permissions for bindings anywhere.
func ClusterRoles() *resource.Definition[*rbacv1.ClusterRole] {
	return &resource.Definition[*rbacv1.ClusterRole]{
		Identity: resource.Identity{
			GroupVersion: rbacv1.SchemeGroupVersion,
			Kind:         "ClusterRole", Name: "clusterroles", Singular: "clusterrole",
			ClusterScoped: true,
		},
		New:           func() *rbacv1.ClusterRole { return &rbacv1.ClusterRole{} },
		NewList:       func() runtime.Object { return &rbacv1.ClusterRoleList{} },
		NameValidator: validName,
		Validate: func(_ context.Context, r *rbacv1.ClusterRole) field.ErrorList {
			return validateClusterRole(r, nil)
		},
		ValidateUpdate: func(_ context.Context, r, old *rbacv1.ClusterRole) field.ErrorList {
			return validateClusterRole(r, old)
		},
		AllowCreateOnUpdate: true,
		Attach: func(env *resource.Env, store *genericregistry.Store) error {
			guardRoles(env, store, func(obj, old runtime.Object) grant {
				role := obj.(*rbacv1.ClusterRole)
				before, _ := old.(*rbacv1.ClusterRole)
				// An aggregated role may come to hold anything, and then not be reduced.
				return grant{rules: role.Rules, everything: aggregates(role) || aggregates(before)}
			})
			return nil
		},
	}
}

func aggregates(role *rbacv1.ClusterRole) bool {
	return role != nil && role.AggregationRule != nil && len(role.AggregationRule.ClusterRoleSelectors) > 0
}

func validateClusterRole(role, old *rbacv1.ClusterRole) field.ErrorList {
	found := problem.List{Errors: validateRules(role.Rules, false)}
	if role.AggregationRule == nil {
		return found.Errors
	}
	path := field.NewPath("aggregationRule", "clusterRoleSelectors")
	selectors := role.AggregationRule.ClusterRoleSelectors
	if len(selectors) == 0 {
		found.Required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")
	}
	options := metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: hadBrokenSelector(old)}
	for i := range selectors {
		found.Add(metav1validation.ValidateLabelSelector(&selectors[i], options, path.Index(i))...)
		if parsed, err := metav1.LabelSelectorAsSelector(&selectors[i]); err != nil {
			found.Invalid(path.Index(i), parsed, "invalid label selector.")
		}
	}
	return found.Errors
}

func hadBrokenSelector(old *rbacv1.ClusterRole) bool {
	if !aggregates(old) {
		return false
	}
	for i := range old.AggregationRule.ClusterRoleSelectors {
		if metav1validation.LabelSelectorHasInvalidLabelValue(&old.AggregationRule.ClusterRoleSelectors[i]) {
			return true
		}
	}
	return false
}
