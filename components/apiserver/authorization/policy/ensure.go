package policy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Writer reads and writes stored RBAC objects.
type Writer interface {
	// List gives all stored objects of the resource, in all namespaces.
	List(ctx context.Context, resource string) ([]runtime.Object, error)
	Create(ctx context.Context, resource string, obj runtime.Object) error
	Update(ctx context.Context, resource string, obj runtime.Object) error
	// Replace deletes the object and creates it again: a binding's role cannot change.
	Replace(ctx context.Context, resource string, obj runtime.Object) error
}

// Ensure creates what is missing and adds to the stored objects what they lack. It takes
// nothing away, and leaves alone objects whose autoupdate annotation is "false".
func (p *Policy) Ensure(ctx context.Context, w Writer) error {
	return errors.Join(
		ensure(ctx, w, "clusterroles", p.ClusterRoles, completeClusterRole),
		ensure(ctx, w, "roles", p.Roles, func(want, have *rbacv1.Role) change { return addRules(&want.Rules, have.Rules) }),
		ensure(ctx, w, "clusterrolebindings", p.ClusterRoleBindings, func(want, have *rbacv1.ClusterRoleBinding) change {
			return addSubjects(want.RoleRef == have.RoleRef, &want.Subjects, have.Subjects)
		}),
		ensure(ctx, w, "rolebindings", p.RoleBindings, func(want, have *rbacv1.RoleBinding) change {
			return addSubjects(want.RoleRef == have.RoleRef, &want.Subjects, have.Subjects)
		}),
	)
}

type change int

const (
	nothing change = iota
	update
	replace
)

type object interface {
	runtime.Object
	metav1.Object
}

// ensure compares the wanted objects with the stored ones. merge grows want into the sum of
// both and says what is to be done.
func ensure[T object](ctx context.Context, w Writer, resource string, wanted []T, merge func(want, have T) change) error {
	stored, err := w.List(ctx, resource)
	if err != nil {
		return err
	}
	have := map[string]T{}
	for _, obj := range stored {
		o := obj.(T)
		have[o.GetNamespace()+"/"+o.GetName()] = o
	}
	var tasks []func() error
	for _, want := range wanted {
		old, exists := have[want.GetNamespace()+"/"+want.GetName()]
		if !exists {
			tasks = append(tasks, func() error { return w.Create(ctx, resource, want) })
			continue
		}
		if old.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
			continue
		}
		todo := max(merge(want, old), addMetadata(want, old))
		switch todo {
		case update:
			want.SetResourceVersion(old.GetResourceVersion())
			want.SetUID(old.GetUID())
			tasks = append(tasks, func() error { return w.Update(ctx, resource, want) })
		case replace:
			tasks = append(tasks, func() error { return w.Replace(ctx, resource, want) })
		}
	}
	return atOnce(tasks)
}

// atOnce runs the tasks a few at a time; a start waits for them.
func atOnce(tasks []func() error) error {
	queue := make(chan func() error)
	errs := make([]error, 8)
	var workers sync.WaitGroup
	for i := range errs {
		workers.Go(func() {
			for task := range queue {
				errs[i] = errors.Join(errs[i], task())
			}
		})
	}
	for _, task := range tasks {
		queue <- task
	}
	close(queue)
	workers.Wait()
	return errors.Join(errs...)
}

func completeClusterRole(want, have *rbacv1.ClusterRole) change {
	if want.AggregationRule != nil {
		// The rules are what the aggregation controller gathered.
		want.Rules = have.Rules
		todo := nothing
		var selectors []metav1.LabelSelector
		if have.AggregationRule != nil {
			selectors = slices.Clone(have.AggregationRule.ClusterRoleSelectors)
		}
		for _, selector := range want.AggregationRule.ClusterRoleSelectors {
			if !slices.ContainsFunc(selectors, func(s metav1.LabelSelector) bool { return maps.Equal(s.MatchLabels, selector.MatchLabels) }) {
				selectors, todo = append(selectors, selector), update
			}
		}
		want.AggregationRule.ClusterRoleSelectors = selectors
		return todo
	}
	return addRules(&want.Rules, have.Rules)
}

func addRules(want *[]rbacv1.PolicyRule, have []rbacv1.PolicyRule) change {
	covered, missing := validation.Covers(have, *want)
	*want = append(slices.Clone(have), missing...)
	if covered {
		return nothing
	}
	return update
}

func addSubjects(sameRole bool, want *[]rbacv1.Subject, have []rbacv1.Subject) change {
	todo, sum := nothing, slices.Clone(have)
	for _, subject := range *want {
		if !slices.Contains(sum, subject) {
			sum, todo = append(sum, subject), update
		}
	}
	*want = sum
	if !sameRole {
		return replace
	}
	return todo
}

// addMetadata keeps the stored labels and annotations and adds the wanted ones.
func addMetadata(want, have metav1.Object) change {
	labels, annotations := maps.Clone(have.GetLabels()), maps.Clone(have.GetAnnotations())
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(labels, want.GetLabels())
	maps.Copy(annotations, want.GetAnnotations())
	want.SetLabels(labels)
	want.SetAnnotations(annotations)
	if maps.Equal(labels, have.GetLabels()) && maps.Equal(annotations, have.GetAnnotations()) {
		return nothing
	}
	return update
}
