package dra

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/quantity"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// DeviceClasses are kinds of devices that can be claimed by name.
func DeviceClasses() *resource.Definition[*resourcev1.DeviceClass] {
	return &resource.Definition[*resourcev1.DeviceClass]{
		Identity: resource.Identity{
			GroupVersion: resourcev1.SchemeGroupVersion,
			Kind:         "DeviceClass", Name: "deviceclasses", Singular: "deviceclass",
			ClusterScoped: true,
		},
		New:                 func() *resourcev1.DeviceClass { return &resourcev1.DeviceClass{} },
		NewList:             func() runtime.Object { return &resourcev1.DeviceClassList{} },
		ReturnDeletedObject: true,
		Validate: func(_ context.Context, c *resourcev1.DeviceClass) field.ErrorList {
			return validateClass(&c.Spec, nil)
		},
		ValidateUpdate: func(_ context.Context, c, old *resourcev1.DeviceClass) field.ErrorList {
			return validateClass(&c.Spec, &old.Spec)
		},
		Spec:             func(c *resourcev1.DeviceClass) any { return &c.Spec },
		TracksGeneration: true,
		Columns:          []metav1.TableColumnDefinition{table.Name(), table.Age()},
		Cells: func(c *resourcev1.DeviceClass) []any {
			return []any{c.Name, table.Since(c.CreationTimestamp)}
		},
	}
}

func validateClass(spec, old *resourcev1.DeviceClassSpec) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	sameSelectors := old != nil && apiequality.Semantic.DeepEqual(spec.Selectors, old.Selectors)
	found.Add(validateSelectors(spec.Selectors, sameSelectors, at.Child("selectors"))...)
	sameConfig := old != nil && apiequality.Semantic.DeepEqual(spec.Config, old.Config)
	found.Add(validateList[resourcev1.DeviceClassConfiguration, string](spec.Config, resourcev1.DeviceConfigMaxSize, at.Child("config"), nil,
		func(c resourcev1.DeviceClassConfiguration, at *field.Path) field.ErrorList {
			return validateConfiguration(&c.DeviceConfiguration, sameConfig, at)
		})...)
	if name := spec.ExtendedResourceName; name != nil && !quantity.IsExtended(corev1.ResourceName(*name)) {
		found.Invalid(at.Child("extendedResourceName"), *name, "must be a valid extended resource name")
	}
	return found.Errors
}
