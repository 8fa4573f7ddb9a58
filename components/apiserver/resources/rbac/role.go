package rbac

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// Roles are sets of permissions in one namespace.
func Roles() *resource.Definition[*rbacv1.Role] {
	validate := func(_ context.Context, r *rbacv1.Role) field.ErrorList {
		return validateRules(r.Rules, true)
	}
	return &resource.Definition[*rbacv1.Role]{
		Identity: resource.Identity{
			GroupVersion: rbacv1.SchemeGroupVersion,
			Kind:         "Role", Name: "roles", Singular: "role",
		},
		New:           func() *rbacv1.Role { return &rbacv1.Role{} },
		NewList:       func() runtime.Object { return &rbacv1.RoleList{} },
		NameValidator: validName,
		Validate:      validate,
		ValidateUpdate: func(ctx context.Context, r, _ *rbacv1.Role) field.ErrorList {
			return validate(ctx, r)
		},
		AllowCreateOnUpdate: true,
		Attach: func(env *resource.Env, store *genericregistry.Store) error {
			guardRoles(env, store, func(obj, _ runtime.Object) grant {
				return grant{rules: obj.(*rbacv1.Role).Rules}
			})
			return nil
		},
	}
}

// validName allows whatever can stand in a URL, as "system:node".
func validName(name string, _ bool) []string { return content.IsPathSegmentName(name) }

func validateRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var found problem.List
	for i, rule := range rules {
		at := field.NewPath("rules").Index(i)
		if len(rule.Verbs) == 0 {
			found.Required(at.Child("verbs"), "")
		}
		if urls := rule.NonResourceURLs; len(urls) > 0 {
			if namespaced {
				found.Invalid(at.Child("nonResourceURLs"), urls, "namespaced rules cannot apply to non-resource URLs")
			}
			if len(rule.APIGroups)+len(rule.Resources)+len(rule.ResourceNames) > 0 {
				found.Invalid(at.Child("nonResourceURLs"), urls, "rules cannot apply to both regular resources and non-resource URLs")
			}
			continue
		}
		if len(rule.APIGroups) == 0 {
			found.Required(at.Child("apiGroups"), "resource rules must supply at least one api group")
		}
		if len(rule.Resources) == 0 {
			found.Required(at.Child("resources"), "resource rules must supply at least one resource")
		}
	}
	return found.Errors
}
