// Package quota measures what a new object takes of a namespace's quota. Enforcement is the library's
// ResourceQuota plugin.
// See https://kubernetes.io/docs/concepts/policy/resource-quotas/.
package quota

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

// Configuration measures pods, Services and claims by what they ask for, and every other resource
// by its number.
func Configuration() quotav1.Configuration {
	evaluators := []quotav1.Evaluator{pods(), services(), claims()}
	for name, alias := range map[string]corev1.ResourceName{
		"configmaps":             corev1.ResourceConfigMaps,
		"resourcequotas":         corev1.ResourceQuotas,
		"replicationcontrollers": corev1.ResourceReplicationControllers,
		"secrets":                corev1.ResourceSecrets,
	} {
		evaluators = append(evaluators, generic.NewObjectCountEvaluator(corev1.Resource(name), nil, alias))
	}
	// Events pass: counting them would cost more than they do.
	ignored := map[schema.GroupResource]struct{}{{Resource: "events"}: {}, {Group: "events.k8s.io", Resource: "events"}: {}}
	return generic.NewConfiguration(evaluators, ignored)
}

// measure is an evaluator of one resource.
type measure[T runtime.Object] struct {
	resource schema.GroupResource
	// covers says whether a quota's name is about the resource.
	covers func(corev1.ResourceName) bool
	usage  func(T) corev1.ResourceList
	// changes says whether a write can change the usage.
	changes func(a admission.Attributes) bool
	// inScope says whether an object is in a quota's scope; nil where there are no scopes.
	inScope func(T, corev1.ScopedResourceSelectorRequirement) (bool, error)
	// demands refuses objects that do not say what a quota must count; nil for none.
	demands func(required []corev1.ResourceName, obj T) error
}

var _ quotav1.Evaluator = &measure[*corev1.Pod]{}

func (m *measure[T]) of(obj runtime.Object) (T, error) {
	typed, ok := obj.(T)
	if !ok {
		return typed, fmt.Errorf("expected %T, got %T", typed, obj)
	}
	return typed, nil
}

// GroupResource names the resource.
func (m *measure[T]) GroupResource() schema.GroupResource { return m.resource }

// Handles says whether a write can change the usage.
func (m *measure[T]) Handles(a admission.Attributes) bool { return m.changes(a) }

// Constraints refuses what cannot be counted.
func (m *measure[T]) Constraints(required []corev1.ResourceName, item runtime.Object) error {
	obj, err := m.of(item)
	if err != nil || m.demands == nil {
		return err
	}
	return m.demands(required, obj)
}

// MatchingResources are the names that are about the resource.
func (m *measure[T]) MatchingResources(names []corev1.ResourceName) []corev1.ResourceName {
	var matching []corev1.ResourceName
	for _, name := range names {
		if m.covers(name) {
			matching = append(matching, name)
		}
	}
	return matching
}

func (m *measure[T]) scope(selector corev1.ScopedResourceSelectorRequirement, item runtime.Object) (bool, error) {
	obj, err := m.of(item)
	if err != nil || m.inScope == nil {
		return false, err
	}
	return m.inScope(obj, selector)
}

// Matches says whether a quota counts the object.
func (m *measure[T]) Matches(quota *corev1.ResourceQuota, item runtime.Object) (bool, error) {
	return generic.Matches(quota, item, m.MatchingResources, m.scope)
}

// MatchingScopes are those that the object is in.
func (m *measure[T]) MatchingScopes(item runtime.Object, selectors []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	matching := []corev1.ScopedResourceSelectorRequirement{}
	for _, selector := range selectors {
		in, err := m.scope(selector, item)
		if err != nil {
			return nil, fmt.Errorf("error on matching scope %v: %w", selector, err)
		}
		if in {
			matching = append(matching, selector)
		}
	}
	return matching, nil
}

// UncoveredQuotaScopes are the limited scopes that no quota covers.
func (m *measure[T]) UncoveredQuotaScopes(limited, covered []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	has := map[corev1.ResourceQuotaScope]bool{}
	for _, selector := range covered {
		has[selector.ScopeName] = true
	}
	uncovered := []corev1.ScopedResourceSelectorRequirement{}
	for _, selector := range limited {
		if !has[selector.ScopeName] {
			uncovered = append(uncovered, selector)
		}
	}
	return uncovered, nil
}

// Usage is what one object takes.
func (m *measure[T]) Usage(item runtime.Object) (corev1.ResourceList, error) {
	obj, err := m.of(item)
	if err != nil {
		return nil, err
	}
	return m.usage(obj), nil
}

// UsageStats is the quota controller's business, not admission's.
func (m *measure[T]) UsageStats(quotav1.UsageStatsOptions) (quotav1.UsageStats, error) {
	return quotav1.UsageStats{}, fmt.Errorf("usage of %s in a whole namespace is not measured here", m.resource)
}

func count(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

func created(a admission.Attributes) bool {
	return a.GetSubresource() == "" && a.GetOperation() == admission.Create
}

func written(a admission.Attributes) bool {
	return a.GetSubresource() == "" && (a.GetOperation() == admission.Create || a.GetOperation() == admission.Update)
}
