package quota

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/utils/ptr"
)

// classSuffix follows the storage class in names like gold.storageclass.storage.k8s.io/requests.storage.
const classSuffix = ".storageclass.storage.k8s.io/"

func claims(lister quotav1.ListerForResourceFunc) quotav1.Evaluator {
	return &measure{
		resource: corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"),
		lister:   lister,
		covers: func(name corev1.ResourceName) bool {
			return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage ||
				strings.HasSuffix(string(name), classSuffix+string(corev1.ResourcePersistentVolumeClaims)) ||
				strings.HasSuffix(string(name), classSuffix+string(corev1.ResourceRequestsStorage))
		},
		usage:   claimUsage,
		changed: func(_, _ runtime.Object) bool { return true },
		inScope: func(selector corev1.ScopedResourceSelectorRequirement, object runtime.Object) (bool, error) {
			claim, err := as[*corev1.PersistentVolumeClaim](object)
			if err != nil || selector.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
				return false, err
			}
			return selects(selector, ptr.Deref(claim.Spec.VolumeAttributesClassName, ""))
		},
	}
}

// claimUsage counts a claim and the storage that it requests, in all and of its class. One that has grown counts what
// it was given.
func claimUsage(object runtime.Object) (corev1.ResourceList, error) {
	claim, err := as[*corev1.PersistentVolumeClaim](object)
	if err != nil {
		return nil, err
	}
	one := *resource.NewQuantity(1, resource.DecimalSI)
	usage := corev1.ResourceList{
		generic.ObjectCountQuotaResourceNameFor(corev1.Resource("persistentvolumeclaims")): one,
		corev1.ResourcePersistentVolumeClaims:                                              one,
	}
	class := claim.Annotations[corev1.BetaStorageClassAnnotation]
	if class == "" {
		class = ptr.Deref(claim.Spec.StorageClassName, "")
	}
	inClass := func(name corev1.ResourceName) corev1.ResourceName {
		return corev1.ResourceName(class+classSuffix) + name
	}
	if class != "" {
		usage[inClass(corev1.ResourcePersistentVolumeClaims)] = one
	}
	storage, requested := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !requested {
		return usage, nil
	}
	if given, ok := claim.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(storage) > 0 {
		storage = given
	}
	usage[corev1.ResourceRequestsStorage] = storage
	if class != "" {
		usage[inClass(corev1.ResourceRequestsStorage)] = storage
	}
	return usage, nil
}
