// Package node has the resources of the group node.k8s.io/v1: the container
// runtimes that pods may choose from.
package node

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// RuntimeClasses are the runtimes' configurations, by name.
// See https://kubernetes.io/docs/concepts/containers/runtime-class/.
func RuntimeClasses() *resource.Definition[*nodev1.RuntimeClass] {
	return &resource.Definition[*nodev1.RuntimeClass]{
		Identity: resource.Identity{
			GroupVersion: nodev1.SchemeGroupVersion,
			Kind:         "RuntimeClass", Name: "runtimeclasses", Singular: "runtimeclass",
			ClusterScoped: true,
		},
		New:     func() *nodev1.RuntimeClass { return &nodev1.RuntimeClass{} },
		NewList: func() runtime.Object { return &nodev1.RuntimeClassList{} },
		Default: func(c *nodev1.RuntimeClass) {
			if c.Overhead != nil {
				volume.RoundUp(c.Overhead.PodFixed)
			}
		},
		Validate: func(_ context.Context, c *nodev1.RuntimeClass) field.ErrorList {
			return validateRuntimeClass(c)
		},
		ValidateUpdate: func(_ context.Context, c, old *nodev1.RuntimeClass) field.ErrorList {
			return append(validateRuntimeClass(c), apivalidation.ValidateImmutableField(c.Handler, old.Handler, field.NewPath("handler"))...)
		},
		AllowCreateOnUpdate:    true,
		RequireVersionOnUpdate: true,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Handler", metav1.ObjectMeta{}.SwaggerDoc()["handler"]),
			table.Age(),
		},
		Cells: func(c *nodev1.RuntimeClass) []any {
			return []any{c.Name, c.Handler, table.Since(c.CreationTimestamp)}
		},
	}
}

func validateRuntimeClass(c *nodev1.RuntimeClass) field.ErrorList {
	var found problem.List
	if c.Handler == "" {
		found.Required(field.NewPath("handler"), "")
	} else {
		found.Messages(field.NewPath("handler"), c.Handler, validation.IsDNS1123Label(c.Handler))
	}
	if c.Overhead != nil {
		at := field.NewPath("overhead", "limits")
		for name, amount := range c.Overhead.PodFixed {
			found.Messages(at.Key(string(name)), name, validation.IsQualifiedName(string(name)))
			if amount.Sign() < 0 {
				found.Invalid(at.Key(string(name)), amount.String(), apivalidation.IsNegativeErrorMsg)
			}
		}
	}
	if s := c.Scheduling; s != nil {
		at := field.NewPath("scheduling")
		found.Add(metav1validation.ValidateLabels(s.NodeSelector, at.Child("nodeSelector"))...)
		found.Add(pod.ValidateTolerations(s.Tolerations, at.Child("tolerations"))...)
		seen := sets.New[corev1.Toleration]()
		for i, t := range s.Tolerations {
			key := corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
			if seen.Has(key) {
				found.Duplicate(at.Child("tolerations").Index(i), t)
			}
			seen.Insert(key)
		}
	}
	return found.Errors
}
