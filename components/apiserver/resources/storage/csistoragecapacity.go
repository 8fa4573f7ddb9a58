package storage

import (
	"context"

	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// CSIStorageCapacities say how much a driver can still provide, and where.
// See https://kubernetes.io/docs/concepts/storage/storage-capacity/.
func CSIStorageCapacities() *resource.Definition[*storagev1.CSIStorageCapacity] {
	return &resource.Definition[*storagev1.CSIStorageCapacity]{
		Identity: resource.Identity{
			GroupVersion: storagev1.SchemeGroupVersion,
			Kind:         "CSIStorageCapacity", Name: "csistoragecapacities", Singular: "csistoragecapacity",
		},
		New:     func() *storagev1.CSIStorageCapacity { return &storagev1.CSIStorageCapacity{} },
		NewList: func() runtime.Object { return &storagev1.CSIStorageCapacityList{} },
		Validate: func(_ context.Context, c *storagev1.CSIStorageCapacity) field.ErrorList {
			return validateCapacity(c, nil)
		},
		ValidateUpdate: func(_ context.Context, c, old *storagev1.CSIStorageCapacity) field.ErrorList {
			return validateCapacity(c, old)
		},
		RequireVersionOnUpdate: true,
	}
}

func validateCapacity(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
	var found problem.List
	topology, class := field.NewPath("nodeTopology"), field.NewPath("storageClassName")
	options := metav1validation.LabelSelectorValidationOptions{
		AllowInvalidLabelValueInSelector: old != nil && metav1validation.LabelSelectorHasInvalidLabelValue(old.NodeTopology),
	}
	found.Add(metav1validation.ValidateLabelSelector(c.NodeTopology, options, topology)...)
	found.Messages(class, c.StorageClassName, validation.IsDNS1123Subdomain(c.StorageClassName))
	if c.Capacity != nil && c.Capacity.Sign() < 0 {
		found.Invalid(field.NewPath("capacity"), c.Capacity.String(), apivalidation.IsNegativeErrorMsg)
	}
	if old == nil {
		return found.Errors
	}
	if !apiequality.Semantic.DeepEqual(c.NodeTopology, old.NodeTopology) {
		found.Invalid(topology, c.NodeTopology, apivalidation.FieldImmutableErrorMsg)
	}
	if c.StorageClassName != old.StorageClassName {
		found.Invalid(class, c.StorageClassName, apivalidation.FieldImmutableErrorMsg)
	}
	return found.Errors
}
