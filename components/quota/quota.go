// Package quota measures what objects use of a ResourceQuota. Admission and the quota controller share it, so that they
// agree. Pods, claims and Services are measured here; of every other resource, objects are counted.
// https://kubernetes.io/docs/concepts/policy/resource-quotas/
package quota

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/utils/clock"
)

// Evaluators returns the evaluators of the resources that are measured by more than their number. lister finds the
// objects for a full count; admission, which counts single objects, may pass nil.
func Evaluators(lister quotav1.ListerForResourceFunc, clock clock.PassiveClock) []quotav1.Evaluator {
	counted := func(resource schema.GroupVersionResource, alias corev1.ResourceName) quotav1.Evaluator {
		return generic.NewObjectCountEvaluator(resource.GroupResource(), generic.ListResourceUsingListerFunc(lister, resource), alias)
	}
	core := corev1.SchemeGroupVersion
	return []quotav1.Evaluator{
		pods(lister, clock),
		services(lister),
		claims(lister),
		// These have a short name in quotas besides count/NAME, from before everything could be counted.
		counted(core.WithResource("configmaps"), corev1.ResourceConfigMaps),
		counted(core.WithResource("resourcequotas"), corev1.ResourceQuotas),
		counted(core.WithResource("replicationcontrollers"), corev1.ResourceReplicationControllers),
		counted(core.WithResource("secrets"), corev1.ResourceSecrets),
	}
}

// Ignored are resources that are never counted.
func Ignored() map[schema.GroupResource]struct{} {
	return map[schema.GroupResource]struct{}{
		{Resource: "events"}:                                                   {},
		{Group: "events.k8s.io", Resource: "events"}:                           {},
		{Resource: "bindings"}:                                                 {},
		{Resource: "componentstatuses"}:                                        {},
		{Group: "authentication.k8s.io", Resource: "tokenreviews"}:             {},
		{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}:      {},
		{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}: {},
		{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}:  {},
		{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}:   {},
	}
}

// measure is an evaluator put together from what differs between resources.
type measure struct {
	resource schema.GroupVersionResource
	lister   quotav1.ListerForResourceFunc
	// covers tells whether a name in a quota is about this resource.
	covers func(name corev1.ResourceName) bool
	// usage is what one object uses.
	usage func(object runtime.Object) (corev1.ResourceList, error)
	// changed tells whether an update may use more than before; nil: only creation counts.
	changed func(old, object runtime.Object) bool
	// subresources whose update counts like one of the object.
	subresources []string
	// inScope tells whether the object is in a scope; nil: the resource has no scopes.
	inScope generic.MatchesScopeFunc
	// complete refuses objects that leave out what a quota limits; nil refuses none.
	complete func(required []corev1.ResourceName, object runtime.Object) error
}

var _ quotav1.Evaluator = &measure{}

func (m *measure) GroupResource() schema.GroupResource { return m.resource.GroupResource() }

func (m *measure) Constraints(required []corev1.ResourceName, item runtime.Object) error {
	if m.complete == nil {
		return nil
	}
	return m.complete(required, item)
}

func (m *measure) Handles(operation admission.Attributes) bool {
	if sub := operation.GetSubresource(); sub != "" {
		return operation.GetOperation() == admission.Update && slices.Contains(m.subresources, sub)
	}
	switch operation.GetOperation() {
	case admission.Create:
		return true
	case admission.Update:
		return m.changed != nil && m.changed(operation.GetOldObject(), operation.GetObject())
	}
	return false
}

func (m *measure) scope(selector corev1.ScopedResourceSelectorRequirement, object runtime.Object) (bool, error) {
	if m.inScope == nil {
		return false, nil
	}
	return m.inScope(selector, object)
}

func (m *measure) Matches(resourceQuota *corev1.ResourceQuota, item runtime.Object) (bool, error) {
	return generic.Matches(resourceQuota, item, m.MatchingResources, m.scope)
}

func (m *measure) MatchingResources(input []corev1.ResourceName) []corev1.ResourceName {
	own := generic.ObjectCountQuotaResourceNameFor(m.GroupResource())
	var matching []corev1.ResourceName
	for _, name := range input {
		if name == own || m.covers(name) {
			matching = append(matching, name)
		}
	}
	return matching
}

func (m *measure) MatchingScopes(item runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	matching := []corev1.ScopedResourceSelectorRequirement{}
	for _, selector := range scopes {
		in, err := m.scope(selector, item)
		if err != nil {
			return nil, err
		}
		if in {
			matching = append(matching, selector)
		}
	}
	return matching, nil
}

func (m *measure) UncoveredQuotaScopes(limited, matched []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	uncovered := []corev1.ScopedResourceSelectorRequirement{}
	for _, selector := range limited {
		if !slices.ContainsFunc(matched, func(m corev1.ScopedResourceSelectorRequirement) bool { return m.ScopeName == selector.ScopeName }) {
			uncovered = append(uncovered, selector)
		}
	}
	return uncovered, nil
}

func (m *measure) Usage(item runtime.Object) (corev1.ResourceList, error) { return m.usage(item) }

func (m *measure) UsageStats(options quotav1.UsageStatsOptions) (quotav1.UsageStats, error) {
	return generic.CalculateUsageStats(options, generic.ListResourceUsingListerFunc(m.lister, m.resource), m.scope, m.usage)
}
