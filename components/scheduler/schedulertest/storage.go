package schedulertest

import (
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// Mounts adds volumes that are claims.
func Mounts(claims ...string) func(*v1.Pod) {
	return func(pod *v1.Pod) {
		for _, name := range claims {
			pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: name, VolumeSource: v1.VolumeSource{
				PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name},
			}})
		}
	}
}

// Claim makes a claim in the namespace default of the class "class", which is bound to no volume.
func Claim(name, size string, edits ...func(*v1.PersistentVolumeClaim)) *v1.PersistentVolumeClaim {
	class := "class"
	claim := &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name), ResourceVersion: "1", Annotations: map[string]string{}},
		Spec: v1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			Resources: v1.VolumeResourceRequirements{Requests: Resources(map[v1.ResourceName]string{v1.ResourceStorage: size})},
		},
		Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending},
	}
	for _, edit := range edits {
		edit(claim)
	}
	return claim
}

// BoundTo completes a claim's binding.
func BoundTo(volume string) func(*v1.PersistentVolumeClaim) {
	return func(claim *v1.PersistentVolumeClaim) {
		claim.Spec.VolumeName, claim.Status.Phase = volume, v1.ClaimBound
		claim.Annotations[volumehelpers.AnnBindCompleted] = "yes"
	}
}

// Volume makes an available volume of the class "class".
func Volume(name, size string, edits ...func(*v1.PersistentVolume)) *v1.PersistentVolume {
	volume := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), ResourceVersion: "1", Labels: map[string]string{}},
		Spec: v1.PersistentVolumeSpec{
			StorageClassName: "class", AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			Capacity: Resources(map[v1.ResourceName]string{v1.ResourceStorage: size}),
		},
		Status: v1.PersistentVolumeStatus{Phase: v1.VolumeAvailable},
	}
	for _, edit := range edits {
		edit(volume)
	}
	return volume
}

// LocalTo ties a volume to the node of that name.
func LocalTo(node string) func(*v1.PersistentVolume) {
	return func(volume *v1.PersistentVolume) {
		volume.Spec.NodeAffinity = &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
			MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{node}}},
		}}}}
	}
}

// OfDriver makes a volume a CSI driver's.
func OfDriver(driver string) func(*v1.PersistentVolume) {
	return func(volume *v1.PersistentVolume) {
		volume.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: volume.Name}
	}
}

// Class makes the storage class "class".
func Class(provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "class"}, Provisioner: provisioner, VolumeBindingMode: &mode}
}
