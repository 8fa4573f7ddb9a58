package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/quantity"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// PersistentVolumeClaims ask for storage.
// https://kubernetes.io/docs/concepts/storage/persistent-volumes/#persistentvolumeclaims
func PersistentVolumeClaims() *resource.Definition[*corev1.PersistentVolumeClaim] {
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	at := field.NewPath("spec")
	return &resource.Definition[*corev1.PersistentVolumeClaim]{
		Identity: identity("PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", "pvc"),
		New:      func() *corev1.PersistentVolumeClaim { return new(corev1.PersistentVolumeClaim) },
		NewList:  func() runtime.Object { return new(corev1.PersistentVolumeClaimList) },
		Default:  volume.DefaultClaim,
		Off:      []resource.Feature{{Name: "CSIVolumeHealth", Fields: []string{"status.healthStatus"}}},
		PrepareForCreate: func(_ context.Context, c *corev1.PersistentVolumeClaim) {
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
			alignDataSources(&c.Spec, nil)
		},
		PrepareForUpdate: func(_ context.Context, c, old *corev1.PersistentVolumeClaim) {
			alignDataSources(&c.Spec, &old.Spec)
			alignDataSources(&old.Spec, &old.Spec)
		},
		Validate: func(_ context.Context, c *corev1.PersistentVolumeClaim) field.ErrorList {
			return volume.ValidateClaimSpec(&c.Spec, at, volume.ClaimOptions{})
		},
		ValidateUpdate: func(_ context.Context, c, old *corev1.PersistentVolumeClaim) field.ErrorList {
			return append(volume.ValidateClaimSpec(&c.Spec, at, volume.ClaimOptionsFor(&old.Spec)), validateClaimUpdate(c, old)...)
		},
		Warnings:             claimWarnings,
		Spec:                 func(c *corev1.PersistentVolumeClaim) any { return &c.Spec },
		Status:               func(c *corev1.PersistentVolumeClaim) any { return &c.Status },
		ValidateStatusUpdate: validateClaimStatus,
		ReturnDeletedObject:  true,
		Columns: append([]metav1.TableColumnDefinition{
			table.Name(), table.String("Status", status["phase"]), table.String("Volume", spec["volumeName"]),
			table.String("Capacity", status["capacity"]), table.String("Access Modes", status["accessModes"]),
			table.String("StorageClass", "StorageClass of the pvc"), table.String("VolumeAttributesClass", "VolumeAttributesClass of the pvc"), table.Age(),
		}, table.Wide(table.String("VolumeMode", spec["volumeMode"]))...),
		Cells: claimCells,
	}
}

// alignDataSources keeps dataSource and dataSourceRef the same. Through the older field
// only claims and snapshots can be named; others are dropped, as they always were.
func alignDataSources(s, old *corev1.PersistentVolumeClaimSpec) {
	if ref := s.DataSourceRef; ref != nil && ptr.Deref(ref.Namespace, "") != "" && (old == nil || old.DataSourceRef == nil) {
		// A source in another namespace is a feature that is off by default.
		s.DataSourceRef = nil
	}
	inUse := old != nil && (old.DataSource != nil || old.DataSourceRef != nil)
	if d := s.DataSource; d != nil && s.DataSourceRef == nil && !inUse {
		group := ptr.Deref(d.APIGroup, "")
		claim := group == "" && d.Kind == "PersistentVolumeClaim"
		snapshot := group == "snapshot.storage.k8s.io" && d.Kind == "VolumeSnapshot"
		if !claim && !snapshot {
			s.DataSource = nil
		}
	}
	switch d, ref := s.DataSource, s.DataSourceRef; {
	case d != nil && ref == nil:
		s.DataSourceRef = &corev1.TypedObjectReference{APIGroup: d.APIGroup, Kind: d.Kind, Name: d.Name}
	case d == nil && ref != nil && ptr.Deref(ref.Namespace, "") == "":
		s.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
}

// validateClaimUpdate: once a claim is made only its binding can be filled in, and a
// bound one can grow and change its attributes class.
func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	var found problem.List
	rest, was := c.Spec.DeepCopy(), old.Spec.DeepCopy()
	if was.VolumeName == "" {
		rest.VolumeName = ""
	}
	storageClassMayChange(&found, rest, c, old)
	if c.Status.Phase == corev1.ClaimBound {
		if rest.Resources.Requests != nil {
			rest.Resources.Requests[corev1.ResourceStorage] = was.Resources.Requests[corev1.ResourceStorage]
		}
		rest.VolumeAttributesClassName = was.VolumeAttributesClassName
	}
	if !equality.Semantic.DeepEqual(*rest, *was) {
		found.Forbidden(field.NewPath("spec"), "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"+
			diff.Diff(*was, *rest))
	}
	size, before, actual := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage], old.Status.Capacity[corev1.ResourceStorage]
	if size.Cmp(before) < 0 && size.Cmp(actual) <= 0 {
		found.Forbidden(field.NewPath("spec", "resources", "requests", "storage"), "field can not be less than status.capacity")
	}
	found.Add(apivalidation.ValidateImmutableField(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	classAt := field.NewPath("spec", "volumeAttributesClassName")
	if class := c.Spec.VolumeAttributesClassName; old.Status.CurrentVolumeAttributesClassName != nil && !equality.Semantic.DeepEqual(class, old.Spec.VolumeAttributesClassName) {
		switch {
		case class == nil:
			found.Forbidden(classAt, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil")
		case *class == "":
			found.Forbidden(classAt, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil")
		}
	}
	return found.Errors
}

// storageClassMayChange lets a claim that has no class be given one, and one that has it
// by annotation be moved to the field.
func storageClassMayChange(found *problem.List, rest *corev1.PersistentVolumeClaimSpec, c, old *corev1.PersistentVolumeClaim) {
	const annotation = corev1.BetaStorageClassAnnotation
	was, annotated := old.Annotations[annotation]
	is, still := c.Annotations[annotation]
	given := old.Spec.StorageClassName == nil && c.Spec.StorageClassName != nil && (!annotated || *c.Spec.StorageClassName == was)
	moved := given && annotated && (!still || is == was)
	if !moved && is != was {
		found.Invalid(field.NewPath("metadata", "annotations", annotation), is, "field is immutable")
	}
	if given {
		rest.StorageClassName = nil
	}
}

func validateClaimStatus(_ context.Context, c, _ *corev1.PersistentVolumeClaim) field.ErrorList {
	var found problem.List
	at := field.NewPath("status")
	found.NonEmpty(field.NewPath("resourceVersion"), c.ResourceVersion)
	if len(c.Spec.AccessModes) == 0 {
		found.Required(field.NewPath("Spec", "accessModes"), "")
	}
	for name, q := range c.Status.Capacity {
		found.Add(quantity.ValidateBasic(q, at.Child("capacity").Key(string(name)))...)
	}
	storageOnly := func(keyAt *field.Path, name corev1.ResourceName) bool {
		before := len(found.Errors)
		messages := validation.IsQualifiedName(string(name))
		found.Messages(keyAt, string(name), messages)
		if messages == nil && quantity.IsNative(name) && name != corev1.ResourceStorage {
			found.Add(field.NotSupported(keyAt, string(name), []corev1.ResourceName{corev1.ResourceStorage}))
		}
		return len(found.Errors) == before
	}
	for name, s := range c.Status.AllocatedResourceStatuses {
		keyAt := at.Child("allocatedResourceStatuses")
		storageOnly(keyAt, name)
		problem.OneOf(&found, keyAt, s, corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
			corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending)
	}
	for name, q := range c.Status.AllocatedResources {
		keyAt := at.Child("allocatedResources")
		if storageOnly(keyAt, name) {
			found.Add(quantity.ValidateBasic(q, keyAt.Key(string(name)))...)
		}
	}
	return found.Errors
}

func claimCells(c *corev1.PersistentVolumeClaim) []any {
	phase := string(c.Status.Phase)
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	class := ptr.Deref(c.Spec.StorageClassName, "")
	if beta, has := c.Annotations[corev1.BetaStorageClassAnnotation]; has {
		class = beta
	}
	capacity, modes := "", ""
	if c.Spec.VolumeName != "" {
		size := c.Status.Capacity[corev1.ResourceStorage]
		capacity, modes = size.String(), volume.ModesText(c.Status.AccessModes)
	}
	return []any{
		c.Name, phase, c.Spec.VolumeName, capacity, modes, class, ptr.Deref(c.Spec.VolumeAttributesClassName, table.Unset),
		table.Since(c.CreationTimestamp), string(ptr.Deref(c.Spec.VolumeMode, table.Unset)),
	}
}
