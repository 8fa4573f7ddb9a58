package storage

import (
	"context"
	"math"

	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// VolumeAttachments say that a volume is to be attached to a node. What is inside
// an inline volume (migrated in-tree volumes) is not validated.
func VolumeAttachments() *resource.Definition[*storagev1.VolumeAttachment] {
	spec := storagev1.VolumeAttachmentSpec{}.SwaggerDoc()
	attacher := table.String("Attacher", spec["attacher"])
	attacher.Format = "name"
	return &resource.Definition[*storagev1.VolumeAttachment]{
		Identity: resource.Identity{
			GroupVersion: storagev1.SchemeGroupVersion,
			Kind:         "VolumeAttachment", Name: "volumeattachments", Singular: "volumeattachment",
			ClusterScoped: true,
		},
		New:                 func() *storagev1.VolumeAttachment { return &storagev1.VolumeAttachment{} },
		NewList:             func() runtime.Object { return &storagev1.VolumeAttachmentList{} },
		ReturnDeletedObject: true,
		Default: func(a *storagev1.VolumeAttachment) {
			if inline := a.Spec.Source.InlineVolumeSpec; inline != nil {
				volume.DefaultPersistentSource(&inline.PersistentVolumeSource)
				volume.RoundUp(inline.Capacity)
			}
		},
		Validate: func(_ context.Context, a *storagev1.VolumeAttachment) field.ErrorList {
			return validateAttachment(a)
		},
		ValidateUpdate: func(_ context.Context, a, old *storagev1.VolumeAttachment) field.ErrorList {
			return append(validateAttachment(a), apivalidation.ValidateImmutableField(a.Spec, old.Spec, field.NewPath("spec"))...)
		},
		RequireVersionOnUpdate: true,
		Spec:                   func(a *storagev1.VolumeAttachment) any { return &a.Spec },
		Status:                 func(a *storagev1.VolumeAttachment) any { return &a.Status },
		StatusResets:           []resource.MetadataField{resource.AllMetadata},
		ValidateStatusUpdate: func(_ context.Context, a, _ *storagev1.VolumeAttachment) field.ErrorList {
			return validateAttachment(a)
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			attacher,
			table.String("PV", storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"]),
			table.String("Node", spec["nodeName"]),
			table.Boolean("Attached", storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"]),
			table.Age(),
		},
		Cells: func(a *storagev1.VolumeAttachment) []any {
			return []any{a.Name, a.Spec.Attacher, ptr.Deref(a.Spec.Source.PersistentVolumeName, ""),
				a.Spec.NodeName, a.Status.Attached, table.Since(a.CreationTimestamp)}
		},
	}
}

// How much text a status may hold.
const (
	longestMetadata = 256 * 1024
	longestMessage  = 1024
)

func validateAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	found.Add(volume.ValidateDriverName(a.Spec.Attacher, at.Child("attacher"))...)
	found.Add(validateSource(&a.Spec.Source, at.Child("source"))...)
	found.Messages(at.Child("nodeName"), a.Spec.NodeName, validation.IsDNS1123Subdomain(a.Spec.NodeName))

	status := field.NewPath("status")
	size := 0
	for key, value := range a.Status.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > longestMetadata {
		found.Add(field.TooLong(status.Child("attachmentMetadata"), "", longestMetadata))
	}
	found.Add(validateError(a.Status.AttachError, status.Child("attachError"))...)
	found.Add(validateError(a.Status.DetachError, status.Child("detachError"))...)
	return found.Errors
}

func validateSource(s *storagev1.VolumeAttachmentSource, at *field.Path) field.ErrorList {
	var found problem.List
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	switch named, inline := s.PersistentVolumeName != nil, s.InlineVolumeSpec != nil; {
	case named && inline:
		found.Forbidden(at, one)
	case !named && !inline:
		found.Required(at, one)
	}
	if name := s.PersistentVolumeName; name != nil {
		if *name == "" {
			found.Required(at.Child("persistentVolumeName"), "must specify non empty persistentVolumeName")
		}
		found.Messages(at.Child("persistentVolumeName"), *name, validation.IsDNS1123Subdomain(*name))
	}
	return found.Errors
}

func validateError(e *storagev1.VolumeError, at *field.Path) field.ErrorList {
	if e == nil {
		return nil
	}
	var found problem.List
	if len(e.Message) > longestMessage {
		found.Add(field.TooLong(at.Child("message"), "", longestMessage))
	}
	if code := ptr.Deref(e.ErrorCode, 0); code < 0 {
		found.Invalid(at.Child("errorCode"), code, validation.InclusiveRangeError(0, math.MaxInt32))
	}
	return found.Errors
}
