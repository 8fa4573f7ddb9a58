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

func ofClusterRoleBinding(b *rbacv1.ClusterRoleBinding) binding {
	return binding{
		meta: &b.ObjectMeta, role: &b.RoleRef, subjects: b.Subjects,
		kind: "clusterRoleBinding", roles: []string{"ClusterRole"},
	}
}

// ClusterRoleBindings give a role's permissions to subjects, everywhere.
func ClusterRoleBindings() *resource.Definition[*rbacv1.ClusterRoleBinding] {
	return &resource.Definition[*rbacv1.ClusterRoleBinding]{
		Identity: resource.Identity{
			GroupVersion: rbacv1.SchemeGroupVersion,
			Kind:         "ClusterRoleBinding", Name: "clusterrolebindings", Singular: "clusterrolebinding",
			ClusterScoped: true,
		},
		New:           func() *rbacv1.ClusterRoleBinding { return &rbacv1.ClusterRoleBinding{} },
		NewList:       func() runtime.Object { return &rbacv1.ClusterRoleBindingList{} },
		NameValidator: validName,
		Default:       func(b *rbacv1.ClusterRoleBinding) { ofClusterRoleBinding(b).complete() },
		Validate: func(_ context.Context, b *rbacv1.ClusterRoleBinding) field.ErrorList {
			return ofClusterRoleBinding(b).validate()
		},
		ValidateUpdate: func(_ context.Context, b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
			return ofClusterRoleBinding(b).validateChange(ofClusterRoleBinding(old))
		},
		AllowCreateOnUpdate: true,
		Columns:             ofClusterRoleBinding(&rbacv1.ClusterRoleBinding{}).columns(strings.TrimSuffix(rbacv1.ClusterRoleBinding{}.SwaggerDoc()["roleRef"], " This field is immutable.")),
		Cells:               func(b *rbacv1.ClusterRoleBinding) []any { return ofClusterRoleBinding(b).cells() },
		Attach: func(env *resource.Env, store *genericregistry.Store) error {
			guardBindings(env, store, func(obj runtime.Object) rbacv1.RoleRef { return obj.(*rbacv1.ClusterRoleBinding).RoleRef })
			return nil
		},
	}
}
