package node

import (
	"context"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Objects reads what the decision hangs on. Its pods come from the watch cache that also feeds the
// kubelet, so a kubelet that has seen a pod is never turned away for our not having seen it.
type Objects interface {
	// PodsOn are the pods bound to a node: as known, or with latest set as stored.
	PodsOn(ctx context.Context, node string, latest bool) ([]*corev1.Pod, error)
	// Get reads another object.
	Get(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error)
}

type target struct{ resource, namespace, name string }

// refersTo says whether the object belongs to the node or is referred to, directly or by way of
// claims and volumes, by a pod on it.
func refersTo(ctx context.Context, objects Objects, node string, t target) bool {
	switch t.resource {
	case "volumeattachments", "resourceslices", "podcertificaterequests":
		return belongsTo(ctx, objects, node, t)
	}
	for _, latest := range []bool{false, true} {
		pods, err := objects.PodsOn(ctx, node, latest)
		if err == nil && slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return podRefersTo(ctx, objects, pod, t) }) {
			return true
		}
	}
	return false
}

func belongsTo(ctx context.Context, objects Objects, node string, t target) bool {
	groups := map[string]string{"volumeattachments": "storage.k8s.io", "resourceslices": "resource.k8s.io", "podcertificaterequests": "certificates.k8s.io"}
	obj, err := objects.Get(ctx, schema.GroupResource{Group: groups[t.resource], Resource: t.resource}, t.namespace, t.name)
	if err != nil {
		return false
	}
	switch o := obj.(type) {
	case *storagev1.VolumeAttachment:
		return o.Spec.NodeName == node
	case *resourcev1.ResourceSlice:
		return o.Spec.NodeName != nil && *o.Spec.NodeName == node
	case *certificatesv1.PodCertificateRequest:
		return string(o.Spec.NodeName) == node
	case *certificatesv1beta1.PodCertificateRequest:
		return string(o.Spec.NodeName) == node
	}
	return false
}

func podRefersTo(ctx context.Context, objects Objects, pod *corev1.Pod, t target) bool {
	if t.resource == "pods" {
		return pod.Namespace == t.namespace && pod.Name == t.name
	}
	// A node writes its mirror pods itself; they must not open anything to it.
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return false
	}
	if t.namespace != "" && t.namespace != pod.Namespace {
		// Only a volume's secrets may be in another namespace.
		return t.resource == "secrets" && volumeUses(ctx, objects, pod, t)
	}
	switch t.resource {
	case "serviceaccounts":
		return pod.Spec.ServiceAccountName == t.name
	case "configmaps":
		return usesConfigMap(pod, t.name)
	case "secrets":
		return usesSecret(pod, t.name) || volumeUses(ctx, objects, pod, t)
	case "persistentvolumeclaims":
		return slices.Contains(claimsOf(pod), t.name)
	case "persistentvolumes":
		return volumeUses(ctx, objects, pod, t)
	case "resourceclaims":
		return usesResourceClaim(pod, t.name)
	}
	return false
}

// containersOf are all containers of a pod, of whatever kind.
func containersOf(pod *corev1.Pod) []corev1.Container {
	all := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	for _, c := range pod.Spec.EphemeralContainers {
		all = append(all, corev1.Container(c.EphemeralContainerCommon))
	}
	return all
}

func usesConfigMap(pod *corev1.Pod, name string) bool {
	for _, c := range containersOf(pod) {
		for _, from := range c.EnvFrom {
			if from.ConfigMapRef != nil && from.ConfigMapRef.Name == name {
				return true
			}
		}
		for _, env := range c.Env {
			if from := env.ValueFrom; from != nil && from.ConfigMapKeyRef != nil && from.ConfigMapKeyRef.Name == name {
				return true
			}
		}
	}
	for _, v := range pod.Spec.Volumes {
		if v.ConfigMap != nil && v.ConfigMap.Name == name {
			return true
		}
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ConfigMap != nil && s.ConfigMap.Name == name }) {
			return true
		}
	}
	return false
}

func usesSecret(pod *corev1.Pod, name string) bool {
	for _, pull := range pod.Spec.ImagePullSecrets {
		if pull.Name == name {
			return true
		}
	}
	for _, c := range containersOf(pod) {
		for _, from := range c.EnvFrom {
			if from.SecretRef != nil && from.SecretRef.Name == name {
				return true
			}
		}
		for _, env := range c.Env {
			if from := env.ValueFrom; from != nil && from.SecretKeyRef != nil && from.SecretKeyRef.Name == name {
				return true
			}
		}
	}
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return slices.Contains(secretsOf(&v.VolumeSource), name) })
}

// secretsOf are the secrets in the pod's namespace that a volume names.
func secretsOf(v *corev1.VolumeSource) []string {
	var names []string
	local := func(ref *corev1.LocalObjectReference) {
		if ref != nil {
			names = append(names, ref.Name)
		}
	}
	switch {
	case v.Secret != nil:
		names = append(names, v.Secret.SecretName)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				names = append(names, s.Secret.Name)
			}
		}
	case v.CSI != nil:
		local(v.CSI.NodePublishSecretRef)
	case v.AzureFile != nil:
		names = append(names, v.AzureFile.SecretName)
	case v.CephFS != nil:
		local(v.CephFS.SecretRef)
	case v.Cinder != nil:
		local(v.Cinder.SecretRef)
	case v.FlexVolume != nil:
		local(v.FlexVolume.SecretRef)
	case v.ISCSI != nil:
		local(v.ISCSI.SecretRef)
	case v.RBD != nil:
		local(v.RBD.SecretRef)
	case v.ScaleIO != nil:
		local(v.ScaleIO.SecretRef)
	case v.StorageOS != nil:
		local(v.StorageOS.SecretRef)
	}
	return names
}

func claimsOf(pod *corev1.Pod) []string {
	var names []string
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, pod.Name+"-"+v.Name)
		}
	}
	return names
}

func usesResourceClaim(pod *corev1.Pod, name string) bool {
	for _, claim := range pod.Spec.ResourceClaims {
		if claim.ResourceClaimName != nil && *claim.ResourceClaimName == name {
			return true
		}
	}
	for _, status := range pod.Status.ResourceClaimStatuses {
		if status.ResourceClaimName != nil && *status.ResourceClaimName == name {
			return true
		}
	}
	extended := pod.Status.ExtendedResourceClaimStatus
	return extended != nil && extended.ResourceClaimName == name
}

// volumeUses follows a pod's claims to their volumes: the volume itself, or a secret that a
// kubelet needs to mount it.
func volumeUses(ctx context.Context, objects Objects, pod *corev1.Pod, t target) bool {
	for _, claimName := range claimsOf(pod) {
		obj, err := objects.Get(ctx, corev1.Resource("persistentvolumeclaims"), pod.Namespace, claimName)
		if err != nil {
			continue
		}
		obj, err = objects.Get(ctx, corev1.Resource("persistentvolumes"), "", obj.(*corev1.PersistentVolumeClaim).Spec.VolumeName)
		if err != nil {
			continue
		}
		volume := obj.(*corev1.PersistentVolume)
		if ref := volume.Spec.ClaimRef; ref == nil || ref.Namespace != pod.Namespace || ref.Name != claimName {
			continue
		}
		if t.resource == "persistentvolumes" && volume.Name == t.name {
			return true
		}
		if t.resource == "secrets" && slices.Contains(volumeSecrets(volume, pod.Namespace), target{"secrets", t.namespace, t.name}) {
			return true
		}
	}
	return false
}

// volumeSecrets are the secrets of a volume that kubelets see; a reference without a
// namespace means the claim's.
func volumeSecrets(volume *corev1.PersistentVolume, namespace string) []target {
	var refs []*corev1.SecretReference
	switch s := volume.Spec.PersistentVolumeSource; {
	case s.CSI != nil:
		refs = []*corev1.SecretReference{s.CSI.NodePublishSecretRef, s.CSI.NodeStageSecretRef, s.CSI.NodeExpandSecretRef}
	case s.CephFS != nil:
		refs = []*corev1.SecretReference{s.CephFS.SecretRef}
	case s.Cinder != nil:
		refs = []*corev1.SecretReference{s.Cinder.SecretRef}
	case s.FlexVolume != nil:
		refs = []*corev1.SecretReference{s.FlexVolume.SecretRef}
	case s.ISCSI != nil:
		refs = []*corev1.SecretReference{s.ISCSI.SecretRef}
	case s.RBD != nil:
		refs = []*corev1.SecretReference{s.RBD.SecretRef}
	case s.ScaleIO != nil:
		refs = []*corev1.SecretReference{s.ScaleIO.SecretRef}
	}
	var secrets []target
	for _, ref := range refs {
		if ref == nil {
			continue
		}
		in := ref.Namespace
		if in == "" {
			in = namespace
		}
		secrets = append(secrets, target{"secrets", in, ref.Name})
	}
	return secrets
}
