package scheduling

import (
	"context"
	"slices"

	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/features"
	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// PodGroups are pods that are scheduled together.
// See https://kubernetes.io/docs/concepts/scheduling-eviction/gang-scheduling/.
func PodGroups() *resource.Definition[*schedulingv1beta1.PodGroup] {
	version := schedulingv1beta1.SchemeGroupVersion
	return &resource.Definition[*schedulingv1beta1.PodGroup]{
		Identity: resource.Identity{
			GroupVersion: version, OnRequest: []schema.GroupVersion{version}, Feature: features.GenericWorkload,
			Kind: "PodGroup", Name: "podgroups", Singular: "podgroup",
		},
		New:     func() *schedulingv1beta1.PodGroup { return &schedulingv1beta1.PodGroup{} },
		NewList: func() runtime.Object { return &schedulingv1beta1.PodGroupList{} },
		Default: func(g *schedulingv1beta1.PodGroup) {
			if g.Spec.DisruptionMode == nil {
				g.Spec.DisruptionMode = &schedulingv1beta1.DisruptionMode{Single: &schedulingv1beta1.SingleDisruptionMode{}}
			}
		},
		Off: []resource.Feature{
			{Name: "CompositePodGroup", Fields: []string{"spec.parentCompositePodGroupName"}},
			{Name: "TopologyAwareWorkloadScheduling", Fields: []string{"spec.schedulingConstraints"}},
			{Name: "DRAWorkloadResourceClaims", Fields: []string{"spec.resourceClaims", "status.resourceClaimStatuses"}},
			{Name: "PodGroupPreemptionPolicy", Fields: []string{"spec.preemptionPolicy"}},
		},
		Validate: func(_ context.Context, g *schedulingv1beta1.PodGroup) field.ErrorList {
			return validatePodGroup(g, nil)
		},
		ValidateUpdate: func(_ context.Context, g, old *schedulingv1beta1.PodGroup) field.ErrorList {
			return validatePodGroup(g, old)
		},
		RequireVersionOnUpdate: true,
		Spec:                   func(g *schedulingv1beta1.PodGroup) any { return &g.Spec },
		Status:                 func(g *schedulingv1beta1.PodGroup) any { return &g.Status },
		StatusResets:           []resource.MetadataField{resource.AllMetadata},
		ValidateStatusUpdate: func(_ context.Context, g, _ *schedulingv1beta1.PodGroup) field.ErrorList {
			return validatePodGroupStatus(g)
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Policy", schedulingv1beta1.PodGroupSpec{}.SwaggerDoc()["schedulingPolicy"]),
			table.String("Workload", "Name of the referenced Workload object"),
			table.String("Status", "Status of the PodGroup"),
			table.Age(),
		},
		Cells: func(g *schedulingv1beta1.PodGroup) []any {
			policy, workload := "Basic", table.None
			if g.Spec.SchedulingPolicy.Gang != nil {
				policy = "Gang"
			}
			if ref := g.Spec.WorkloadRef; ref != nil {
				workload = ref.WorkloadName
			}
			return []any{g.Name, policy, workload, podGroupStatus(g.Status.Conditions), table.Since(g.CreationTimestamp)}
		},
	}
}

// podGroupStatus says in a word how far a group has come.
func podGroupStatus(conditions []metav1.Condition) string {
	if disrupted := meta.FindStatusCondition(conditions, schedulingv1beta1.DisruptionTarget); disrupted != nil {
		return disrupted.Reason
	}
	switch scheduled := meta.FindStatusCondition(conditions, schedulingv1beta1.PodGroupInitiallyScheduled); {
	case scheduled == nil:
		return "Pending"
	case scheduled.Status == metav1.ConditionTrue:
		return "Scheduled"
	}
	return "Unschedulable"
}

// validatePodGroup checks a new group or, with old, a change of one.
func validatePodGroup(g, old *schedulingv1beta1.PodGroup) field.ErrorList {
	c := &checker{update: old != nil}
	if old == nil {
		old = &schedulingv1beta1.PodGroup{}
	}
	at, now, was := field.NewPath("spec"), &g.Spec, &old.Spec
	c.fixed(at.Child("parentCompositePodGroupName"), now.ParentCompositePodGroupName, was.ParentCompositePodGroupName)
	if refAt := at.Child("workloadRef"); !c.fixed(refAt, now.WorkloadRef, was.WorkloadRef) && now.WorkloadRef != nil {
		c.longName(refAt.Child("workloadName"), now.WorkloadRef.WorkloadName)
		c.shortName(refAt.Child("templateName"), now.WorkloadRef.TemplateName)
	}
	if now.DisruptionMode == nil {
		c.Required(at.Child("disruptionMode"), "")
	}
	c.terms(at, termsOfGroup(now), termsOfGroup(was))
	return c.Errors
}

func termsOfGroup(s *schedulingv1beta1.PodGroupSpec) terms {
	return terms{
		policy: s.SchedulingPolicy, disruption: s.DisruptionMode, class: s.PriorityClassName, priority: s.Priority,
		constraints: s.SchedulingConstraints, claims: s.ResourceClaims, preemption: s.PreemptionPolicy,
	}
}

func validatePodGroupStatus(g *schedulingv1beta1.PodGroup) field.ErrorList {
	at := field.NewPath("status")
	c := &checker{}
	c.Add(metav1validation.ValidateConditions(g.Status.Conditions, at.Child("conditions"))...)
	at = at.Child("resourceClaimStatuses")
	if n := len(g.Status.ResourceClaimStatuses); n > schedulingv1beta1.MaxPodGroupResourceClaims {
		c.Add(field.TooMany(at, n, schedulingv1beta1.MaxPodGroupResourceClaims))
	}
	for i, status := range g.Status.ResourceClaimStatuses {
		if !slices.ContainsFunc(g.Spec.ResourceClaims, func(claim schedulingv1beta1.PodGroupResourceClaim) bool { return claim.Name == status.Name }) {
			c.Invalid(at.Index(i).Child("name"), status.Name, "must match the name of an entry in `spec.resourceClaims`")
		}
		if name := status.ResourceClaimName; name != nil {
			c.Messages(at.Index(i).Child("resourceClaimName"), *name, content.IsDNS1123Subdomain(*name))
		}
	}
	return c.Errors
}
