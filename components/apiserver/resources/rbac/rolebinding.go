package rbac

import (
	"context"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

func ofRoleBinding(b *rbacv1.RoleBinding) binding {
	return binding{
		meta: &b.ObjectMeta, role: &b.RoleRef, subjects: b.Subjects,
		kind: "roleBinding", roles: []string{"Role", "ClusterRole"},
	}
}

// RoleBindings give a role's permissions to subjects, in the binding's namespace.
func RoleBindings() *resource.Definition[*rbacv1.RoleBinding] {
	return &resource.Definition[*rbacv1.RoleBinding]{
		Identity: resource.Identity{
			GroupVersion: rbacv1.SchemeGroupVersion,
			Kind:         "RoleBinding", Name: "rolebindings", Singular: "rolebinding",
		},
		New:           func() *rbacv1.RoleBinding { return &rbacv1.RoleBinding{} },
		NewList:       func() runtime.Object { return &rbacv1.RoleBindingList{} },
		NameValidator: validName,
		Default:       func(b *rbacv1.RoleBinding) { ofRoleBinding(b).complete() },
		Validate: func(_ context.Context, b *rbacv1.RoleBinding) field.ErrorList {
			return ofRoleBinding(b).validate()
		},
		ValidateUpdate: func(_ context.Context, b, old *rbacv1.RoleBinding) field.ErrorList {
			return ofRoleBinding(b).validateChange(ofRoleBinding(old))
		},
		AllowCreateOnUpdate: true,
		Columns:             ofRoleBinding(&rbacv1.RoleBinding{}).columns(strings.TrimSuffix(rbacv1.RoleBinding{}.SwaggerDoc()["roleRef"], " This field is immutable.")),
		Cells:               func(b *rbacv1.RoleBinding) []any { return ofRoleBinding(b).cells() },
		Attach: func(env *resource.Env, store *genericregistry.Store) error {
			guardBindings(env, store, func(obj runtime.Object) rbacv1.RoleRef { return obj.(*rbacv1.RoleBinding).RoleRef })
			return nil
		},
	}
}
