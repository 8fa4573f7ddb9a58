package core

import (
	"context"
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/quantity"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// PersistentVolumes are storage that outlives pods.
// https://kubernetes.io/docs/concepts/storage/persistent-volumes/
func PersistentVolumes() *resource.Definition[*corev1.PersistentVolume] {
	spec, status := corev1.PersistentVolumeSpec{}.SwaggerDoc(), corev1.PersistentVolumeStatus{}.SwaggerDoc()
	return &resource.Definition[*corev1.PersistentVolume]{
		Identity: clusterWide("PersistentVolume", "persistentvolumes", "persistentvolume", "pv"),
		New:      func() *corev1.PersistentVolume { return new(corev1.PersistentVolume) },
		NewList:  func() runtime.Object { return new(corev1.PersistentVolumeList) },
		Default:  defaultVolume,
		PrepareForCreate: func(_ context.Context, v *corev1.PersistentVolume) {
			v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: ptr.To(metav1.Now())}
		},
		Validate: func(_ context.Context, v *corev1.PersistentVolume) field.ErrorList { return validateVolume(v, nil) },
		ValidateUpdate: func(_ context.Context, v, old *corev1.PersistentVolume) field.ErrorList {
			return append(validateVolume(v, old), validateVolumeUpdate(v, old)...)
		},
		Warnings: volumeWarnings,
		Spec:     func(v *corev1.PersistentVolume) any { return &v.Spec },
		Status:   func(v *corev1.PersistentVolume) any { return &v.Status },
		PrepareForStatusUpdate: func(_ context.Context, v, old *corev1.PersistentVolume) {
			now, was := &v.Status, &old.Status
			switch {
			case now.Phase == was.Phase && now.LastPhaseTransitionTime == nil:
				now.LastPhaseTransitionTime = was.LastPhaseTransitionTime
			case now.Phase != was.Phase && (now.LastPhaseTransitionTime == nil || now.LastPhaseTransitionTime.Equal(was.LastPhaseTransitionTime)):
				now.LastPhaseTransitionTime = ptr.To(metav1.Now())
			}
		},
		ValidateStatusUpdate: func(_ context.Context, v, _ *corev1.PersistentVolume) field.ErrorList {
			var found problem.List
			found.NonEmpty(field.NewPath("resourceVersion"), v.ResourceVersion)
			return found.Errors
		},
		ReturnDeletedObject: true,
		Columns: append([]metav1.TableColumnDefinition{
			table.Name(), table.String("Capacity", spec["capacity"]), table.String("Access Modes", spec["accessModes"]),
			table.String("Reclaim Policy", spec["persistentVolumeReclaimPolicy"]), table.String("Status", status["phase"]),
			table.String("Claim", spec["claimRef"]), table.String("StorageClass", "StorageClass of the pv"),
			table.String("VolumeAttributesClass", "VolumeAttributesClass of the pv"), table.String("Reason", status["reason"]), table.Age(),
		}, table.Wide(table.String("VolumeMode", spec["volumeMode"]))...),
		Cells: volumeCells,
	}
}

func defaultVolume(v *corev1.PersistentVolume) {
	if v.Status.Phase == "" {
		v.Status.Phase = corev1.VolumePending
	}
	if v.Spec.PersistentVolumeReclaimPolicy == "" {
		v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	}
	if v.Spec.VolumeMode == nil {
		v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	}
	volume.RoundUp(v.Spec.Capacity)
	volume.DefaultPersistentSource(&v.Spec.PersistentVolumeSource)
}

func validateVolume(v, old *corev1.PersistentVolume) field.ErrorList {
	var found problem.List
	at, s := field.NewPath("spec"), &v.Spec
	if len(s.AccessModes) == 0 {
		found.Required(at.Child("accessModes"), "")
	}
	volume.ValidateAccessModes(&found, at.Child("accessModes"), s.AccessModes)

	sizeAt := at.Child("capacity")
	if len(s.Capacity) == 0 {
		found.Required(sizeAt, "")
	}
	if _, sized := s.Capacity[corev1.ResourceStorage]; !sized || len(s.Capacity) > 1 {
		found.Add(field.NotSupported(sizeAt, s.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for name, q := range s.Capacity {
		found.Add(quantity.ValidateBasic(q, sizeAt.Key(string(name)))...)
		found.Add(quantity.ValidatePositive(q, sizeAt.Key(string(name)))...)
	}
	policyAt := at.Child("persistentVolumeReclaimPolicy")
	if p := s.PersistentVolumeReclaimPolicy; p != "" {
		problem.OneOf(&found, policyAt, p,
			corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
	}
	if a := s.NodeAffinity; a != nil {
		requiredAt := at.Child("nodeAffinity", "required")
		if a.Required == nil {
			found.Required(requiredAt, "must specify required node constraints")
		} else {
			loose := old != nil && old.Spec.NodeAffinity != nil && old.Spec.NodeAffinity.Required != nil &&
				len(pod.ValidateNodeSelector(old.Spec.NodeAffinity.Required, requiredAt, false)) > 0
			found.Add(pod.ValidateNodeSelector(a.Required, requiredAt, loose)...)
		}
	}
	volume.ValidatePersistentSource(&found, at, v.Name, &s.PersistentVolumeSource, s.NodeAffinity != nil)
	if s.HostPath != nil && path.Clean(s.HostPath.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		found.Forbidden(policyAt, "may not be 'recycle' for a hostPath mount of '/'")
	}
	volume.ValidateClassName(&found, at.Child("storageClassName"), s.StorageClassName)
	volume.ValidateMode(&found, at.Child("volumeMode"), s.VolumeMode)
	if class := s.VolumeAttributesClassName; class != nil {
		if *class == "" {
			found.Required(at.Child("volumeAttributesClassName"), "an empty string is disallowed")
		}
		volume.ValidateClassName(&found, at.Child("volumeAttributesClassName"), *class)
		if s.CSI == nil {
			found.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName")
		}
	}
	return found.Errors
}

func validateVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	var found problem.List
	is := v.Spec.PersistentVolumeSource
	// The secret for expansion may be added later.
	if o := old.Spec.CSI; is.CSI != nil && o != nil && o.ControllerExpandSecretRef == nil {
		is.CSI = is.CSI.DeepCopy()
		is.CSI.ControllerExpandSecretRef = nil
	}
	if was := old.Spec.PersistentVolumeSource; !equality.Semantic.DeepEqual(is, was) {
		found.Forbidden(field.NewPath("spec", "persistentvolumesource"),
			"spec.persistentvolumesource is immutable after creation\n"+diff.Diff(was, is))
	}
	found.Add(apivalidation.ValidateImmutableField(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if was := old.Spec.NodeAffinity; was != nil && !equality.Semantic.DeepEqual(withStableLabels(was), v.Spec.NodeAffinity) &&
		!equality.Semantic.DeepEqual(was, v.Spec.NodeAffinity) {
		found.Invalid(field.NewPath("nodeAffinity"), v.Spec.NodeAffinity, "field is immutable, except for updating from beta label to GA")
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		found.Forbidden(field.NewPath("spec", "volumeAttributesClassName"), "update from non-nil value to nil is forbidden")
	}
	return found.Errors
}

// withStableLabels renames the labels that had another name in their beta.
func withStableLabels(a *corev1.VolumeNodeAffinity) *corev1.VolumeNodeAffinity {
	stable := map[string]string{
		corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
		corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
		corev1.LabelInstanceType:            corev1.LabelInstanceTypeStable,
		"beta.kubernetes.io/os":             corev1.LabelOSStable,
		"beta.kubernetes.io/arch":           corev1.LabelArchStable,
	}
	a = a.DeepCopy()
	if a.Required == nil {
		return a
	}
	for _, term := range a.Required.NodeSelectorTerms {
		for i := range term.MatchExpressions {
			if name, renamed := stable[term.MatchExpressions[i].Key]; renamed {
				term.MatchExpressions[i].Key = name
			}
		}
	}
	return a
}

func volumeCells(v *corev1.PersistentVolume) []any {
	claim := ""
	if ref := v.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	phase := string(v.Status.Phase)
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	class := v.Spec.StorageClassName
	if beta, has := v.Annotations[corev1.BetaStorageClassAnnotation]; has {
		class = beta
	}
	size := v.Spec.Capacity[corev1.ResourceStorage]
	return []any{
		v.Name, size.String(), volume.ModesText(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim, class,
		ptr.Deref(v.Spec.VolumeAttributesClassName, table.Unset), v.Status.Reason, table.Since(v.CreationTimestamp),
		string(ptr.Deref(v.Spec.VolumeMode, table.Unset)),
	}
}
