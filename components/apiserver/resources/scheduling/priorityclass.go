// Package scheduling has the resources of the group scheduling.k8s.io: the
// priorities of pods, and the groups that pods are scheduled in.
package scheduling

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

const (
	// HighestUserPriority is the most that a class of a user may be worth.
	HighestUserPriority int32 = 1_000_000_000
	// SystemCriticalPriority is where the system's own range begins.
	SystemCriticalPriority = 2 * HighestUserPriority
	// SystemPrefix begins the names that are reserved for the system's own classes.
	SystemPrefix = "system-"
)

// SystemPriorityClasses are the classes that every cluster has. The API server
// creates those that are missing when it starts (post-start hook
// "scheduling/bootstrap-system-priority-classes").
func SystemPriorityClasses() []*schedulingv1.PriorityClass {
	class := func(name string, value int32, description string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{
			ObjectMeta:       metav1.ObjectMeta{Name: SystemPrefix + name},
			Value:            value,
			Description:      description,
			PreemptionPolicy: ptr.To(corev1.PreemptLowerPriority),
		}
	}
	return []*schedulingv1.PriorityClass{
		class("node-critical", SystemCriticalPriority+1000, "Used for system critical pods that must not be moved from their current node."),
		class("cluster-critical", SystemCriticalPriority,
			"Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

// PriorityClasses name the priorities that pods may ask for.
// See https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/.
func PriorityClasses() *resource.Definition[*schedulingv1.PriorityClass] {
	docs := schedulingv1.PriorityClass{}.SwaggerDoc()
	return &resource.Definition[*schedulingv1.PriorityClass]{
		Identity: resource.Identity{
			GroupVersion: schedulingv1.SchemeGroupVersion,
			Kind:         "PriorityClass", Name: "priorityclasses", Singular: "priorityclass",
			ShortNames: []string{"pc"}, ClusterScoped: true,
		},
		New:     func() *schedulingv1.PriorityClass { return &schedulingv1.PriorityClass{} },
		NewList: func() runtime.Object { return &schedulingv1.PriorityClassList{} },
		Default: func(c *schedulingv1.PriorityClass) {
			if c.PreemptionPolicy == nil {
				c.PreemptionPolicy = ptr.To(corev1.PreemptLowerPriority)
			}
		},
		PrepareForCreate: func(_ context.Context, c *schedulingv1.PriorityClass) { c.Generation = 1 },
		Validate: func(_ context.Context, c *schedulingv1.PriorityClass) field.ErrorList {
			return validatePriorityClass(c)
		},
		ValidateUpdate: func(_ context.Context, c, old *schedulingv1.PriorityClass) field.ErrorList {
			var found problem.List
			if c.Value != old.Value {
				found.Forbidden(field.NewPath("value"), "may not be changed in an update.")
			}
			found.Add(apivalidation.ValidateImmutableField(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
			return found.Errors
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.Integer("Value", docs["value"]),
			table.Boolean("Global-Default", docs["globalDefault"]),
			table.Age(),
			table.String("PreemptionPolicy", docs["preemptionPolicy"]),
		},
		Cells: func(c *schedulingv1.PriorityClass) []any {
			return []any{c.Name, int64(c.Value), c.GlobalDefault, table.Since(c.CreationTimestamp),
				string(ptr.Deref(c.PreemptionPolicy, ""))}
		},
	}
}

func validatePriorityClass(c *schedulingv1.PriorityClass) field.ErrorList {
	var found problem.List
	if strings.HasPrefix(c.Name, SystemPrefix) {
		if reason := systemMismatch(c); reason != "" {
			found.Forbidden(field.NewPath("metadata", "name"),
				"priority class names with '"+SystemPrefix+"' prefix are reserved for system use only. error: "+reason)
		}
	} else if c.Value > HighestUserPriority {
		found.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", HighestUserPriority))
	}
	at := field.NewPath("preemptionPolicy")
	switch policy := ptr.Deref(c.PreemptionPolicy, corev1.PreemptLowerPriority); policy {
	case "":
		found.Required(at, "")
	default:
		problem.OneOf(&found, at, policy, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	return found.Errors
}

// systemMismatch says how a class with a reserved name differs from the system's own.
func systemMismatch(c *schedulingv1.PriorityClass) string {
	for _, own := range SystemPriorityClasses() {
		switch {
		case own.Name != c.Name:
			continue
		case own.Value != c.Value:
			return fmt.Sprintf("value of %v PriorityClass must be %v", own.Name, own.Value)
		case own.GlobalDefault != c.GlobalDefault:
			return fmt.Sprintf("globalDefault of %v PriorityClass must be %v", own.Name, own.GlobalDefault)
		}
		return ""
	}
	return c.Name + " is not a known system priority class"
}
