package api

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// protectionSpecs are about objects that stay as long as something names them.
func protectionSpecs(s *suite.Suite) {
	const storage = "https://kubernetes.io/docs/concepts/storage/"
	both := []string{"kube-apiserver", "kube-controller-manager"}

	behaviour.It(behaviour.Behaviour{
		ID:      "api.protection.claim",
		Promise: "A claim and a volume that nothing uses are gone once they are deleted, the finalizers that protect them notwithstanding.",
		Source:  storage + "persistent-volumes/#storage-object-in-use-protection", Judges: both,
	}, func(ctx context.Context) {
		claim := claimOf(s.Namespace(ctx), "free")
		volume := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: claim.Namespace},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName: claim.Namespace, AccessModes: claim.Spec.AccessModes, Capacity: claim.Spec.Resources.Requests,
				PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
				PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/tmp"}},
			},
		}
		for _, object := range []client.Object{claim, volume} {
			s.Create(ctx, object)
			gomega.Expect(object.GetFinalizers()).NotTo(gomega.BeEmpty())
			s.Delete(ctx, object, metav1.DeletePropagationBackground)
			gomega.Expect(s.Watch.Gone(ctx, object)).To(gomega.Succeed())
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.protection.attributes-class",
		Promise: "A volume attributes class that a claim names is deleted once no claim does.",
		Source:  storage + "volume-attributes-classes/", Judges: both,
	}, func(ctx context.Context) {
		claim := claimOf(s.Namespace(ctx), "fast")
		class := &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: claim.Namespace}, DriverName: "plumbline.dev", Parameters: map[string]string{"speed": "high"}}
		s.Create(ctx, class)
		claim.Spec.VolumeAttributesClassName = &class.Name
		s.Create(ctx, claim)
		s.Delete(ctx, class, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, class, expect.BeTerminating())).To(gomega.Succeed())
		// A later write is refused or seen after the controller had its turn at the deletion.
		late := claimOf(claim.Namespace, "late")
		s.Create(ctx, late)
		s.Delete(ctx, late, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, late)).To(gomega.Succeed())
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(class), class)).To(gomega.Succeed(), "the class went while a claim named it")
		s.Delete(ctx, claim, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, class)).To(gomega.Succeed())
	})
}

// claimOf is a claim that no provisioner serves.
func claimOf(namespace, name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &namespace, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		},
	}
}
