package storage

import (
	"context"
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

const longestNodeID = 256

// CSINodes say which drivers run on a node.
func CSINodes() *resource.Definition[*storagev1.CSINode] {
	return &resource.Definition[*storagev1.CSINode]{
		Identity: resource.Identity{
			GroupVersion: storagev1.SchemeGroupVersion,
			Kind:         "CSINode", Name: "csinodes", Singular: "csinode",
			ClusterScoped: true,
		},
		New:                 func() *storagev1.CSINode { return &storagev1.CSINode{} },
		NewList:             func() runtime.Object { return &storagev1.CSINodeList{} },
		ReturnDeletedObject: true,
		Validate: func(_ context.Context, n *storagev1.CSINode) field.ErrorList {
			return validateDrivers(n.Spec.Drivers)
		},
		ValidateUpdate: func(_ context.Context, n, old *storagev1.CSINode) field.ErrorList {
			return append(validateDrivers(n.Spec.Drivers), validateDriversChange(n.Spec.Drivers, old.Spec.Drivers)...)
		},
		RequireVersionOnUpdate: true,
		Spec:                   func(n *storagev1.CSINode) any { return &n.Spec },
		Status:                 func(n *storagev1.CSINode) any { return &n.Status },
		StatusResets:           []resource.MetadataField{resource.AllMetadata},
		Off:                    []resource.Feature{{Name: "CSIVolumeHealth", Fields: []string{"status.storageHealth"}}},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.Integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node"),
			table.Age(),
		},
		Cells: func(n *storagev1.CSINode) []any {
			return []any{n.Name, int64(len(n.Spec.Drivers)), table.Since(n.CreationTimestamp)}
		},
	}
}

func validateDrivers(drivers []storagev1.CSINodeDriver) field.ErrorList {
	var found problem.List
	names := sets.New[string]()
	for i, d := range drivers {
		at := field.NewPath("spec", "drivers").Index(i)
		found.Add(volume.ValidateDriverName(d.Name, at.Child("name"))...)
		found.NonEmpty(at.Child("nodeID"), d.NodeID)
		if len(d.NodeID) > longestNodeID {
			found.Invalid(at.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", longestNodeID))
		}
		if d.Allocatable != nil {
			found.NotNegative(at.Child("allocatable", "count"), int64(ptr.Deref(d.Allocatable.Count, 0)))
		}
		if names.Has(d.Name) {
			found.Duplicate(at.Child("name"), d.Name)
		}
		names.Insert(d.Name)
		keys := sets.New[string]()
		for _, key := range d.TopologyKeys {
			found.NonEmpty(at, key)
			if keys.Has(key) {
				found.Duplicate(at, key)
			}
			keys.Insert(key)
			found.Messages(at, key, validation.IsQualifiedName(key))
		}
	}
	return found.Errors
}

// validateDriversChange lets drivers come and go, and only their capacity change.
func validateDriversChange(now, was []storagev1.CSINodeDriver) field.ErrorList {
	var found problem.List
	before := map[string]storagev1.CSINodeDriver{}
	for _, d := range was {
		before[d.Name] = d
	}
	for _, d := range now {
		if old, kept := before[d.Name]; kept {
			old.Allocatable, d.Allocatable = nil, nil
			found.Add(apivalidation.ValidateImmutableField(d, old, field.NewPath("spec", "drivers"))...)
		}
	}
	return found.Errors
}
