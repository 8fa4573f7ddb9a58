// Package storageprotection keeps volumes, claims and volume attributes classes from vanishing while they
// are in use: controllers take the finalizers off that it puts on.
// See https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection.
package storageprotection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
)

// Name is the plugin's.
const Name = "StorageObjectInUseProtection"

// Plugin implements admission.MutationInterface.
type Plugin struct {
	*admission.Handler
	finalizers map[schema.GroupResource]string
}

var _ admission.MutationInterface = &Plugin{}

// New protects new objects.
func New() *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create), finalizers: map[schema.GroupResource]string{
		corev1.Resource("persistentvolumes"):          "kubernetes.io/pv-protection",
		corev1.Resource("persistentvolumeclaims"):     "kubernetes.io/pvc-protection",
		storagev1.Resource("volumeattributesclasses"): "kubernetes.io/vac-protection",
	}}
}

// Admit adds the finalizer.
func (p *Plugin) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	finalizer, protected := p.finalizers[a.GetResource().GroupResource()]
	obj, ok := a.GetObject().(metav1.Object)
	if !protected || !ok || a.GetSubresource() != "" || slices.Contains(obj.GetFinalizers(), finalizer) {
		return nil
	}
	obj.SetFinalizers(append(obj.GetFinalizers(), finalizer))
	return nil
}
