package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// Source finds roles and bindings.
type Source interface {
	// Role finds a role in a namespace.
	Role(ctx context.Context, namespace, name string) (*rbacv1.Role, error)
	// ClusterRole finds a cluster role.
	ClusterRole(ctx context.Context, name string) (*rbacv1.ClusterRole, error)
	// RoleBindings lists the bindings in a namespace.
	RoleBindings(ctx context.Context, namespace string) ([]*rbacv1.RoleBinding, error)
	// ClusterRoleBindings lists the bindings that hold everywhere.
	ClusterRoleBindings(ctx context.Context) ([]*rbacv1.ClusterRoleBinding, error)
}

// RulesOf resolves a reference from a binding in namespace ("" for a ClusterRoleBinding).
func RulesOf(ctx context.Context, from Source, ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "ClusterRole":
		role, err := from.ClusterRole(ctx, ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	case "Role":
		role, err := from.Role(ctx, namespace, ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	}
	return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

// RulesFor are the rules that hold for a user in a namespace ("" for requests
// outside namespaces). They only ever add up, so those that were found are returned
// along with the errors about the others.
func RulesFor(ctx context.Context, from Source, who user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var rules []rbacv1.PolicyRule
	var problems []error
	add := func(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespace string) {
		if !slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool { return Matches(s, who, namespace) }) {
			return
		}
		more, err := RulesOf(ctx, from, ref, namespace)
		rules = append(rules, more...)
		problems = append(problems, err)
	}
	everywhere, err := from.ClusterRoleBindings(ctx)
	problems = append(problems, err)
	for _, b := range everywhere {
		add(b.RoleRef, b.Subjects, "")
	}
	if namespace != "" {
		here, err := from.RoleBindings(ctx, namespace)
		problems = append(problems, err)
		for _, b := range here {
			add(b.RoleRef, b.Subjects, namespace)
		}
	}
	return rules, errors.Join(problems...)
}

// Matches says whether a subject of a binding in namespace means a user.
func Matches(s rbacv1.Subject, who user.Info, namespace string) bool {
	switch s.Kind {
	case rbacv1.UserKind:
		return s.Name == who.GetName()
	case rbacv1.GroupKind:
		return slices.Contains(who.GetGroups(), s.Name)
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		return namespace != "" && serviceaccount.MatchesUsername(namespace, s.Name, who.GetName())
	}
	return false
}

// stores is the Source that reads the API server's own stores.
type stores struct{ env *resource.Env }

func (s stores) of(name string) (*genericregistry.Store, error) {
	return s.env.Store(rbacv1.Resource(name))
}

func (s stores) get(ctx context.Context, resource, namespace, name string) (runtime.Object, error) {
	store, err := s.of(resource)
	if err != nil {
		return nil, err
	}
	return store.Get(genericrequest.WithNamespace(ctx, namespace), name, &metav1.GetOptions{})
}

func (s stores) list(ctx context.Context, resource, namespace string) (runtime.Object, error) {
	store, err := s.of(resource)
	if err != nil {
		return nil, err
	}
	return store.List(genericrequest.WithNamespace(ctx, namespace), &metainternalversion.ListOptions{})
}

func (s stores) Role(ctx context.Context, namespace, name string) (*rbacv1.Role, error) {
	obj, err := s.get(ctx, "roles", namespace, name)
	if err != nil {
		return nil, err
	}
	return obj.(*rbacv1.Role), nil
}

func (s stores) ClusterRole(ctx context.Context, name string) (*rbacv1.ClusterRole, error) {
	obj, err := s.get(ctx, "clusterroles", "", name)
	if err != nil {
		return nil, err
	}
	return obj.(*rbacv1.ClusterRole), nil
}

func (s stores) RoleBindings(ctx context.Context, namespace string) ([]*rbacv1.RoleBinding, error) {
	list, err := s.list(ctx, "rolebindings", namespace)
	if err != nil {
		return nil, err
	}
	return pointers(list.(*rbacv1.RoleBindingList).Items), nil
}

func (s stores) ClusterRoleBindings(ctx context.Context) ([]*rbacv1.ClusterRoleBinding, error) {
	list, err := s.list(ctx, "clusterrolebindings", "")
	if err != nil {
		return nil, err
	}
	return pointers(list.(*rbacv1.ClusterRoleBindingList).Items), nil
}

func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}
