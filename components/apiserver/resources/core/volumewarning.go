package core

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
)

const classAnnotationWarning = `deprecated since v1.8; use "storageClassName" attribute instead`

// volumeWarnings tells of what is deprecated in a persistent volume, or works no more.
func volumeWarnings(_ context.Context, v, _ *corev1.PersistentVolume) []string {
	var said []string
	say := func(at *field.Path, message string) { said = append(said, at.String()+": "+message) }
	spec, annotations := field.NewPath("spec"), field.NewPath("metadata", "annotations")
	if _, set := v.Annotations[corev1.BetaStorageClassAnnotation]; set {
		say(annotations.Key(corev1.BetaStorageClassAnnotation), classAnnotationWarning)
	}
	if _, set := v.Annotations[corev1.MountOptionAnnotation]; set {
		say(annotations.Key(corev1.MountOptionAnnotation), `deprecated since v1.31; use "mountOptions" attribute instead`)
	}
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		say(spec.Child("persistentVolumeReclaimPolicy"), "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	if v.Spec.NodeAffinity != nil && v.Spec.NodeAffinity.Required != nil {
		for i, term := range v.Spec.NodeAffinity.Required.NodeSelectorTerms {
			said = append(said, pod.NodeTermWarnings(term, false, spec.Child("nodeAffinity", "required", "nodeSelectorTerms").Index(i))...)
		}
	}
	for _, kind := range []struct {
		used             bool
		name, since, off string
	}{
		{v.Spec.CephFS != nil, "cephfs", "v1.28", "v1.31"},
		{v.Spec.PhotonPersistentDisk != nil, "photonPersistentDisk", "v1.11", "v1.16"},
		{v.Spec.ScaleIO != nil, "scaleIO", "v1.16", "v1.22"},
		{v.Spec.StorageOS != nil, "storageOS", "v1.22", "v1.25"},
		{v.Spec.Glusterfs != nil, "glusterfs", "v1.25", "v1.26"},
		{v.Spec.RBD != nil, "rbd", "v1.28", "v1.31"},
	} {
		if kind.used {
			say(spec.Child(kind.name), fmt.Sprintf("deprecated in %s, non-functional in %s+", kind.since, kind.off))
		}
	}
	return said
}

// claimWarnings tells of the old annotation and of parts of a byte.
func claimWarnings(_ context.Context, c, _ *corev1.PersistentVolumeClaim) []string {
	var said []string
	if _, set := c.Annotations[corev1.BetaStorageClassAnnotation]; set {
		said = append(said, field.NewPath("metadata", "annotations").Key(corev1.BetaStorageClassAnnotation).String()+": "+classAnnotationWarning)
	}
	for _, list := range []struct {
		name    string
		amounts corev1.ResourceList
	}{{"requests", c.Spec.Resources.Requests}, {"limits", c.Spec.Resources.Limits}} {
		if amount := list.amounts[corev1.ResourceStorage]; amount.MilliValue()%1000 != 0 {
			said = append(said, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer",
				field.NewPath("spec", "resources", list.name).Key(string(corev1.ResourceStorage)), amount.String()))
		}
	}
	return said
}
