// Package claimresize lets claims grow where their storage class says that volumes can.
// See https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims.
package claimresize

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apiserver/pkg/admission"
)

// Name is the plugin's.
const Name = "PersistentVolumeClaimResize"

// Lookup finds a storage class.
type Lookup func(ctx context.Context, namespace, name string) (*storagev1.StorageClass, error)

// Plugin implements admission.ValidationInterface.
type Plugin struct {
	*admission.Handler
	class Lookup
}

var _ admission.ValidationInterface = &Plugin{}

// New finds storage classes by class.
func New(class Lookup) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Update), class: class}
}

// Validate refuses to grow what cannot.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	claim, ok := a.GetObject().(*corev1.PersistentVolumeClaim)
	old, also := a.GetOldObject().(*corev1.PersistentVolumeClaim)
	if !ok || !also || a.GetSubresource() != "" {
		return nil
	}
	size, before := claim.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	if size.Cmp(before) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return admission.NewForbidden(a, errors.New("only bound persistent volume claims can be expanded"))
	}
	name := claim.Annotations[corev1.BetaStorageClassAnnotation]
	if name == "" && claim.Spec.StorageClassName != nil {
		name = *claim.Spec.StorageClassName
	}
	if name != "" {
		if class, err := p.class(ctx, "", name); err == nil && class.AllowVolumeExpansion != nil && *class.AllowVolumeExpansion {
			return nil
		}
	}
	return admission.NewForbidden(a, errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
}
