package rbac

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// binding is what RoleBindings and ClusterRoleBindings have in common.
type binding struct {
	meta     *metav1.ObjectMeta
	role     *rbacv1.RoleRef
	subjects []rbacv1.Subject
	// kind is the singular in descriptions, roles the kinds that may be bound.
	kind  string
	roles []string
}

func (b binding) namespaced() bool { return len(b.roles) > 1 }

func (b binding) complete() {
	if b.role.APIGroup == "" {
		b.role.APIGroup = rbacv1.GroupName
	}
	for i := range b.subjects {
		s := &b.subjects[i]
		if s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}

func (b binding) validate() field.ErrorList {
	var found problem.List
	role := field.NewPath("roleRef")
	problem.OneOf(&found, role.Child("apiGroup"), b.role.APIGroup, rbacv1.GroupName)
	problem.OneOf(&found, role.Child("kind"), b.role.Kind, b.roles...)
	if b.role.Name == "" {
		found.Required(role.Child("name"), "")
	} else {
		found.Messages(role.Child("name"), b.role.Name, validName(b.role.Name, false))
	}
	for i, s := range b.subjects {
		found.Add(b.validateSubject(s, field.NewPath("subjects").Index(i))...)
	}
	return found.Errors
}

func (b binding) validateSubject(s rbacv1.Subject, at *field.Path) field.ErrorList {
	var found problem.List
	found.NonEmpty(at.Child("name"), s.Name)
	switch s.Kind {
	case rbacv1.UserKind, rbacv1.GroupKind:
		problem.OneOf(&found, at.Child("apiGroup"), s.APIGroup, rbacv1.GroupName)
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			found.Messages(at.Child("name"), s.Name, apivalidation.ValidateServiceAccountName(s.Name, false))
		}
		problem.OneOf(&found, at.Child("apiGroup"), s.APIGroup, "")
		if !b.namespaced() {
			found.NonEmpty(at.Child("namespace"), s.Namespace)
		}
	default:
		problem.OneOf(&found, at.Child("kind"), s.Kind, rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)
	}
	return found.Errors
}

// validateChange holds the role fixed: a binding to another role is another binding.
func (b binding) validateChange(old binding) field.ErrorList {
	return append(b.validate(), apivalidation.ValidateImmutableField(*b.role, *old.role, field.NewPath("roleRef"))...)
}

func (b binding) columns(roleDescription string) []metav1.TableColumnDefinition {
	return append([]metav1.TableColumnDefinition{
		table.Name(), table.String("Role", roleDescription), table.Age(),
	}, table.Wide(
		table.String("Users", "Users in the "+b.kind),
		table.String("Groups", "Groups in the "+b.kind),
		table.String("ServiceAccounts", "ServiceAccounts in the "+b.kind),
	)...)
}

func (b binding) cells() []any {
	byKind := map[string][]string{}
	for _, s := range b.subjects {
		name := s.Name
		if s.Kind == rbacv1.ServiceAccountKind {
			name = s.Namespace + "/" + s.Name
		}
		byKind[s.Kind] = append(byKind[s.Kind], name)
	}
	list := func(kind string) string { return strings.Join(byKind[kind], ", ") }
	return []any{
		b.meta.Name, b.role.Kind + "/" + b.role.Name, table.Since(b.meta.CreationTimestamp),
		list(rbacv1.UserKind), list(rbacv1.GroupKind), list(rbacv1.ServiceAccountKind),
	}
}
