// Package protection keeps objects from vanishing while they are in use: volumes, claims, volume attributes classes and
// pod groups. Controllers take the finalizers off that it puts on.
// See https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection.
package protection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
)

// Names of the plugins.
const (
	StorageName  = "StorageObjectInUseProtection"
	PodGroupName = "PodGroupProtection"
)

// Plugin implements admission.MutationInterface.
type Plugin struct {
	*admission.Handler
	finalizers map[schema.GroupResource]string
}

var _ admission.MutationInterface = &Plugin{}

func protect(finalizers map[schema.GroupResource]string) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create), finalizers: finalizers}
}

// NewStorage protects what is about volumes.
func NewStorage() *Plugin {
	return protect(map[schema.GroupResource]string{
		corev1.Resource("persistentvolumes"):          "kubernetes.io/pv-protection",
		corev1.Resource("persistentvolumeclaims"):     "kubernetes.io/pvc-protection",
		storagev1.Resource("volumeattributesclasses"): "kubernetes.io/vac-protection",
	})
}

// NewPodGroup protects pod groups.
func NewPodGroup() *Plugin {
	return protect(map[schema.GroupResource]string{
		schedulingv1beta1.Resource("podgroups"): "scheduling.k8s.io/podgroup-protection",
	})
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
