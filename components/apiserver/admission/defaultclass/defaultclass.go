// Package defaultclass gives claims and ingresses without a class the one that is marked as the default.
// See https://kubernetes.io/docs/concepts/storage/storage-classes/#default-storageclass.
package defaultclass

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/ptr"
)

// Names of the plugins.
const (
	StorageName = "DefaultStorageClass"
	IngressName = "DefaultIngressClass"
)

const (
	storageMark     = "storageclass.kubernetes.io/is-default-class"
	betaStorageMark = "storageclass.beta.kubernetes.io/is-default-class"
	legacyIngress   = "kubernetes.io/ingress.class"
)

// Plugin implements admission.MutationInterface.
type Plugin struct {
	*admission.Handler
	admit func(ctx context.Context, a admission.Attributes) error
}

var _ admission.MutationInterface = &Plugin{}

// Admit sets the class.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" {
		return nil
	}
	return p.admit(ctx, a)
}

// NewStorage gives claims a storage class.
func NewStorage(list func(ctx context.Context, namespace string) ([]*storagev1.StorageClass, error)) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create), admit: func(ctx context.Context, a admission.Attributes) error {
		claim, ok := a.GetObject().(*corev1.PersistentVolumeClaim)
		if !ok || claim.Spec.StorageClassName != nil || claim.Annotations[corev1.BetaStorageClassAnnotation] != "" {
			return nil
		}
		classes, err := list(ctx, "")
		if err != nil {
			return admission.NewForbidden(a, err)
		}
		class := newest(classes, func(c *storagev1.StorageClass) bool {
			return c.Annotations[storageMark] == "true" || c.Annotations[betaStorageMark] == "true"
		})
		if len(class) > 0 {
			claim.Spec.StorageClassName = ptr.To(class[0].GetName())
		}
		return nil
	}}
}

// NewIngress gives ingresses an ingress class. Two defaults are an error.
func NewIngress(list func(ctx context.Context, namespace string) ([]*networkingv1.IngressClass, error)) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create), admit: func(ctx context.Context, a admission.Attributes) error {
		ingress, ok := a.GetObject().(*networkingv1.Ingress)
		if !ok || ingress.Spec.IngressClassName != nil || ingress.Annotations[legacyIngress] != "" {
			return nil
		}
		classes, err := list(ctx, "")
		if err != nil {
			return admission.NewForbidden(a, err)
		}
		class := newest(classes, func(c *networkingv1.IngressClass) bool {
			return c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
		})
		if len(class) > 1 {
			return admission.NewForbidden(a, fmt.Errorf("%d default IngressClasses were found, only 1 allowed", len(class)))
		}
		if len(class) == 1 {
			ingress.Spec.IngressClassName = ptr.To(class[0].GetName())
		}
		return nil
	}}
}

// newest are the marked classes, the youngest first and of equal age by name.
func newest[T metav1.Object](classes []T, marked func(T) bool) []T {
	classes = slices.DeleteFunc(slices.Clone(classes), func(c T) bool { return !marked(c) })
	slices.SortFunc(classes, func(x, y T) int {
		if older := y.GetCreationTimestamp().Compare(x.GetCreationTimestamp().Time); older != 0 {
			return older
		}
		if x.GetName() < y.GetName() {
			return -1
		}
		return 1
	})
	return classes
}
