package storage

import (
	"context"
	"fmt"
	"strings"

	"github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// bindingSpecs are about which volume a claim gets.
func bindingSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "storage.binding.smallest",
		Promise: "A claim gets the smallest volume of its class that is large enough, and shows the volume's size.",
		Source:  volumes + "#binding", Judges: binder(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		small, fitting, large := volumeOf(namespace, "small", "1Gi"), volumeOf(namespace, "fitting", "3Gi"), volumeOf(namespace, "large", "9Gi")
		foreign := volumeOf(namespace, "foreign", "2Gi")
		foreign.Spec.StorageClassName += "-other"
		create(ctx, s, large, small, foreign, fitting)
		for _, volume := range []*corev1.PersistentVolume{small, fitting, large, foreign} {
			gomega.Expect(s.Watch.Until(ctx, volume, bePhase(corev1.VolumeAvailable))).To(gomega.Succeed())
		}
		claim := claimOf(namespace, "claim", "2Gi")
		create(ctx, s, claim)
		bound(ctx, s, claim, fitting)
		gomega.Expect(claim.Status.Capacity.Storage().String()).To(gomega.Equal("3Gi"))
		gomega.Expect(s.Watch.Until(ctx, fitting, bePhase(corev1.VolumeBound))).To(gomega.Succeed())
		gomega.Expect(fitting.Spec.ClaimRef.UID).To(gomega.Equal(claim.UID))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.binding.reserved",
		Promise: "A volume that names a claim is that claim's, and no other gets it.",
		Source:  volumes + "#reserving-a-persistentvolume", Judges: binder(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		reserved, free := volumeOf(namespace, "reserved", "1Gi"), volumeOf(namespace, "free", "5Gi")
		reserved.Spec.ClaimRef = &corev1.ObjectReference{Namespace: namespace, Name: "named"}
		create(ctx, s, reserved, free)
		other, named := claimOf(namespace, "other", "1Gi"), claimOf(namespace, "named", "1Gi")
		create(ctx, s, other)
		bound(ctx, s, other, free)
		create(ctx, s, named)
		bound(ctx, s, named, reserved)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.binding.waits",
		Promise: "A pod whose claim is not bound stays Pending and says why, and runs once there is a volume for it.",
		Source:  volumes + "#binding", Judges: all(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		pod := user(namespace, "pod", "claim", "true")
		s.Create(ctx, pod)
		waitsFor(ctx, s, pod, `persistentvolumeclaim "claim" not found`)
		create(ctx, s, claimOf(namespace, "claim", "1Gi"))
		waitsFor(ctx, s, pod, "pod has unbound immediate PersistentVolumeClaims")
		create(ctx, s, volumeOf(namespace, "late", "1Gi"))
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.binding.first-consumer",
		Promise: "A claim whose class waits for its first consumer is not bound before a pod uses it, however many volumes there are.",
		Source:  classes + "#volume-binding-mode", Judges: binder(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		claim := claimOf(namespace, "claim", "1Gi")
		create(ctx, s, lateClass(namespace, static), volumeOf(namespace, "free", "1Gi"), claim)
		gomega.Expect(s.Watch.UntilList(ctx, &corev1.EventList{}, haveEvent("WaitForFirstConsumer", "waiting for first consumer to be created before binding"), client.InNamespace(namespace))).To(gomega.Succeed())
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(claim), claim)).To(gomega.Succeed())
		gomega.Expect(claim.Status.Phase).To(gomega.Equal(corev1.ClaimPending))
		gomega.Expect(claim.Spec.VolumeName).To(gomega.BeEmpty())
		s.CreateReady(ctx, user(namespace, "pod", "claim", "true"))
		bound(ctx, s, claim, nil)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.binding.provisioner",
		Promise: "A claim is marked for its class's provisioner, whose volume is then bound to it.",
		Source:  volumes + "#dynamic", Judges: binder(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		class := lateClass(namespace, "plumbline.dev/by-hand")
		class.VolumeBindingMode = nil
		claim := claimOf(namespace, "claim", "1Gi")
		create(ctx, s, class, claim)
		gomega.Expect(s.Watch.Until(ctx, claim, haveAnnotation("volume.kubernetes.io/storage-provisioner", "plumbline.dev/by-hand"))).To(gomega.Succeed())
		// The spec is the provisioner.
		made := volumeOf(namespace, "made", "1Gi")
		made.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: namespace, Name: "claim", UID: claim.UID}
		create(ctx, s, made)
		bound(ctx, s, claim, made)
	})
}

// haveEvent asks of a list of events that one has a reason and a message.
func haveEvent(reason, message string) types.GomegaMatcher {
	return expect.Satisfy("hold "+reason, func(list *corev1.EventList) string {
		var seen []string
		for i := range list.Items {
			if list.Items[i].Reason == reason && strings.Contains(list.Items[i].Message, message) {
				return ""
			}
			seen = append(seen, list.Items[i].Reason+": "+list.Items[i].Message)
		}
		return strings.Join(seen, "; ")
	})
}

func haveAnnotation(key, value string) types.GomegaMatcher {
	return expect.Satisfy("be annotated "+key+"="+value, func(object metav1.Object) string {
		if object.GetAnnotations()[key] == value {
			return ""
		}
		return fmt.Sprint(object.GetAnnotations())
	})
}
