package scheduling

import (
	"context"
	"slices"

	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/features"
	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// Workloads hold the templates of an application's pod groups.
// See https://kubernetes.io/docs/concepts/workloads/workload-api/.
func Workloads() *resource.Definition[*schedulingv1beta1.Workload] {
	version := schedulingv1beta1.SchemeGroupVersion
	return &resource.Definition[*schedulingv1beta1.Workload]{
		Identity: resource.Identity{
			GroupVersion: version, OnRequest: []schema.GroupVersion{version}, Feature: features.GenericWorkload,
			Kind: "Workload", Name: "workloads", Singular: "workload",
		},
		New:     func() *schedulingv1beta1.Workload { return &schedulingv1beta1.Workload{} },
		NewList: func() runtime.Object { return &schedulingv1beta1.WorkloadList{} },
		Off: []resource.Feature{
			{Name: "CompositePodGroup", Fields: []string{"spec.compositePodGroupTemplates"}},
			{Name: "TopologyAwareWorkloadScheduling", Fields: []string{"spec.podGroupTemplates.schedulingConstraints"}},
			{Name: "DRAWorkloadResourceClaims", Fields: []string{"spec.podGroupTemplates.resourceClaims"}},
			{Name: "PodGroupPreemptionPolicy", Fields: []string{"spec.podGroupTemplates.preemptionPolicy"}},
		},
		Validate: func(_ context.Context, w *schedulingv1beta1.Workload) field.ErrorList {
			return validateWorkload(w, nil)
		},
		ValidateUpdate: func(_ context.Context, w, old *schedulingv1beta1.Workload) field.ErrorList {
			return validateWorkload(w, old)
		},
		RequireVersionOnUpdate: true,
		Columns:                []metav1.TableColumnDefinition{table.Name(), table.Age()},
		Cells: func(w *schedulingv1beta1.Workload) []any {
			return []any{w.Name, table.Since(w.CreationTimestamp)}
		},
	}
}

// validateWorkload checks a new workload or, with old, a change of one.
func validateWorkload(w, old *schedulingv1beta1.Workload) field.ErrorList {
	c := &checker{update: old != nil}
	if old == nil {
		old = &schedulingv1beta1.Workload{}
	}
	at, now, was := field.NewPath("spec"), &w.Spec, &old.Spec
	if first := now.PodGroupTemplates; slices.ContainsFunc(first, func(t schedulingv1beta1.PodGroupTemplate) bool { return !samePriority(&t, &first[0]) }) {
		c.Invalid(at, nil, "detected multiple priority configurations")
	}
	if groups, composites := len(now.PodGroupTemplates) > 0, len(now.CompositePodGroupTemplates) > 0; !c.update ||
		groups != (len(was.PodGroupTemplates) > 0) || composites != (len(was.CompositePodGroupTemplates) > 0) {
		c.oneOf(at, member{"podGroupTemplates", groups}, member{"compositePodGroupTemplates", composites})
	}
	if refAt := at.Child("controllerRef"); !c.fixed(refAt, now.ControllerRef, was.ControllerRef) && now.ControllerRef != nil {
		if group := now.ControllerRef.APIGroup; group != "" {
			c.Messages(refAt.Child("apiGroup"), group, content.IsDNS1123Subdomain(group))
		}
		c.pathSegment(refAt.Child("kind"), now.ControllerRef.Kind)
		c.pathSegment(refAt.Child("name"), now.ControllerRef.Name)
	}
	c.templates(at.Child("podGroupTemplates"), now.PodGroupTemplates, was.PodGroupTemplates)
	// Trees of groups are a feature that is off: a stored one may stay as it is.
	if len(now.CompositePodGroupTemplates) > 0 && !equality.Semantic.DeepEqual(now.CompositePodGroupTemplates, was.CompositePodGroupTemplates) {
		c.Forbidden(at.Child("compositePodGroupTemplates"), "")
	}
	return c.Errors
}

func samePriority(a, b *schedulingv1beta1.PodGroupTemplate) bool {
	return a.PriorityClassName == b.PriorityClassName && equality.Semantic.DeepEqual(a.Priority, b.Priority)
}

// templates are told apart by their names; none comes or goes after the workload is created.
func (c *checker) templates(at *field.Path, now, was []schedulingv1beta1.PodGroupTemplate) {
	const limit = schedulingv1beta1.WorkloadMaxPodGroupTemplates
	named := func(list []schedulingv1beta1.PodGroupTemplate, name string) int {
		return slices.IndexFunc(list, func(t schedulingv1beta1.PodGroupTemplate) bool { return t.Name == name })
	}
	before := len(c.Errors)
	if len(now) > limit {
		c.Add(field.TooMany(at, len(now), limit))
	}
	for i := range now {
		if c.update && named(was, now[i].Name) < 0 {
			c.Forbidden(at.Index(i), "item may not be added")
		}
	}
	for i := range was {
		if named(now, was[i].Name) < 0 {
			c.Forbidden(at, "item may not be removed")
		}
	}
	if len(c.Errors) > before {
		return
	}
	for i := range now {
		if named(now, now[i].Name) < i {
			c.Duplicate(at.Index(i), now[i])
		}
	}
	for i := range now {
		itemAt, old := at.Index(i), schedulingv1beta1.PodGroupTemplate{}
		if c.update {
			old = was[named(was, now[i].Name)]
		} else {
			c.shortName(itemAt.Child("name"), now[i].Name)
		}
		c.terms(itemAt, termsOfTemplate(&now[i]), termsOfTemplate(&old))
	}
}

func termsOfTemplate(t *schedulingv1beta1.PodGroupTemplate) terms {
	return terms{
		policy: t.SchedulingPolicy, disruption: t.DisruptionMode, class: t.PriorityClassName, priority: t.Priority,
		constraints: t.SchedulingConstraints, claims: t.ResourceClaims, preemption: t.PreemptionPolicy,
	}
}
