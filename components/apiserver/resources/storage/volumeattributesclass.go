package storage

import (
	"context"
	"maps"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// VolumeAttributesClasses are settings of volumes that can be changed later.
// See https://kubernetes.io/docs/concepts/storage/volume-attributes-classes/.
func VolumeAttributesClasses() *resource.Definition[*storagev1.VolumeAttributesClass] {
	return &resource.Definition[*storagev1.VolumeAttributesClass]{
		Identity: resource.Identity{
			GroupVersion: storagev1.SchemeGroupVersion,
			Kind:         "VolumeAttributesClass", Name: "volumeattributesclasses", Singular: "volumeattributesclass",
			ShortNames: []string{"vac"}, ClusterScoped: true,
		},
		New:                 func() *storagev1.VolumeAttributesClass { return &storagev1.VolumeAttributesClass{} },
		NewList:             func() runtime.Object { return &storagev1.VolumeAttributesClassList{} },
		ReturnDeletedObject: true,
		Validate: func(_ context.Context, c *storagev1.VolumeAttributesClass) field.ErrorList {
			return validateAttributesClass(c)
		},
		ValidateUpdate: func(_ context.Context, c, old *storagev1.VolumeAttributesClass) field.ErrorList {
			var found problem.List
			if c.DriverName != old.DriverName {
				found.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden.")
			}
			if !maps.Equal(c.Parameters, old.Parameters) {
				found.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden.")
			}
			found.Add(validateAttributesClass(c)...)
			return found.Errors
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("DriverName", storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"]),
			table.Age(),
		},
		Cells: func(c *storagev1.VolumeAttributesClass) []any {
			return []any{c.Name, c.DriverName, table.Since(c.CreationTimestamp)}
		},
	}
}

func validateAttributesClass(c *storagev1.VolumeAttributesClass) field.ErrorList {
	found := problem.List{Errors: validateDriver(c.DriverName, field.NewPath("driverName"))}
	found.Add(validateParameters(c.Parameters, field.NewPath("parameters"))...)
	if len(c.Parameters) == 0 {
		found.Required(field.NewPath("parameters"), "must contain at least one key/value pair")
	}
	return found.Errors
}
