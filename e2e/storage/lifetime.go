package storage

import (
	"context"
	"fmt"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// lifetimeSpecs are about what becomes of claims, volumes and data.
func lifetimeSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "storage.lifetime.protection",
		Promise: "A claim stays while a pod uses it, and a volume while it is bound, though both are deleted.",
		Source:  volumes + "#storage-object-in-use-protection", Judges: []string{"kube-apiserver", "kube-controller-manager"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		volume, claim, pod := volumeOf(namespace, "used", "1Gi"), claimOf(namespace, "claim", "1Gi"), user(namespace, "pod", "claim", "true")
		create(ctx, s, volume, claim)
		s.CreateReady(ctx, pod)
		for _, object := range []client.Object{claim, volume} {
			s.Delete(ctx, object, metav1.DeletePropagationBackground)
			gomega.Expect(s.Watch.Until(ctx, object, expect.BeTerminating())).To(gomega.Succeed())
		}
		// What is deleted later is gone while these stay.
		late := claimOf(namespace, "late", "1Gi")
		create(ctx, s, late)
		s.Delete(ctx, late, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, late)).To(gomega.Succeed())
		for _, object := range []client.Object{claim, volume} {
			gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(gomega.Succeed(), "it went while it was in use")
		}
		gone(ctx, s, pod)
		gomega.Expect(s.Watch.Gone(ctx, claim)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Gone(ctx, volume)).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.lifetime.retained",
		Promise: "The retained volume of a deleted claim is Released, and is not given to the next claim.",
		Source:  volumes + "#retain", Judges: binder(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		kept, claim := volumeOf(namespace, "kept", "1Gi"), claimOf(namespace, "claim", "1Gi")
		create(ctx, s, kept, claim)
		bound(ctx, s, claim, kept)
		s.Delete(ctx, claim, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, claim)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, kept, bePhase(corev1.VolumeReleased))).To(gomega.Succeed())
		// The kept one would fit better.
		spare, next := volumeOf(namespace, "spare", "9Gi"), claimOf(namespace, "claim", "1Gi")
		create(ctx, s, next, spare)
		bound(ctx, s, next, spare)
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(kept), kept)).To(gomega.Succeed())
		gomega.Expect(kept.Status.Phase).To(gomega.Equal(corev1.VolumeReleased))
		gomega.Expect(kept.Spec.ClaimRef.UID).To(gomega.Equal(claim.UID))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.lifetime.deleted",
		Promise: "A volume whose reclaim policy is Delete goes with its claim.",
		Source:  volumes + "#delete", Judges: binder(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		volume, claim := volumeOf(namespace, "fleeting", "1Gi"), claimOf(namespace, "claim", "1Gi")
		volume.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
		create(ctx, s, volume, claim)
		bound(ctx, s, claim, volume)
		s.Delete(ctx, claim, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Gone(ctx, volume)).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.lifetime.ephemeral",
		Promise: "A pod's ephemeral volume is a claim that is made for the pod and goes with it.",
		Source:  "https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes", Judges: all(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		volume, pod := volumeOf(namespace, "scratch", "1Gi"), user(namespace, "pod", "", "touch /data/file")
		create(ctx, s, lateClass(namespace, static), volume)
		pod.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
			VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: claimOf(namespace, "", "1Gi").Spec},
		}}
		s.CreateReady(ctx, pod)
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pod-data"}}
		bound(ctx, s, claim, volume)
		gomega.Expect(metav1.IsControlledBy(claim, pod)).To(gomega.BeTrue())
		gone(ctx, s, pod)
		gomega.Expect(s.Watch.Gone(ctx, claim)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, volume, bePhase(corev1.VolumeReleased))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.lifetime.stateful-set",
		Promise: "A pod of a StatefulSet finds its data when it comes back, on the node where its volume is.",
		Source:  "https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-storage", Judges: all(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		create(ctx, s, lateClass(namespace, static))
		for i, node := range s.Nodes(ctx, 2)[:2] {
			create(ctx, s, onNode(volumeOf(namespace, fmt.Sprint(i), "1Gi"), node))
		}
		// Each pod writes its name once and goes on with what it finds.
		template := user(namespace, "db", "", "test -e /data/owner || hostname > /data/owner; echo >> /data/starts")
		template.Spec.Volumes = nil
		claim := claimOf(namespace, "data", "1Gi")
		claim.Namespace = ""
		set := &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db"},
			Spec: appsv1.StatefulSetSpec{
				ServiceName: "db", Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: template.Labels},
				Template:             corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: template.Labels}, Spec: template.Spec},
				VolumeClaimTemplates: []corev1.PersistentVolumeClaim{*claim},
			},
		}
		s.Create(ctx, set)
		pods := []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db-0"}}, {ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db-1"}}}
		for _, pod := range pods {
			gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
		}
		gomega.Expect(pods[0].Spec.NodeName).NotTo(gomega.Equal(pods[1].Spec.NodeName), "each node has one volume")
		for _, pod := range pods {
			was := pod.DeepCopy()
			s.Delete(ctx, pod, metav1.DeletePropagationBackground)
			gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, pod, expect.Satisfy("be another, and Ready", func(p *corev1.Pod) string {
				if ok, err := expect.BeReady().Match(p); p.UID != was.UID && ok && err == nil {
					return ""
				}
				return fmt.Sprintf("%s of %s", p.Status.Phase, p.CreationTimestamp)
			}))).To(gomega.Succeed())
			gomega.Expect(pod.Spec.NodeName).To(gomega.Equal(was.Spec.NodeName))
			gomega.Expect(s.Exec(ctx, pod, "cat", "/data/owner", "/data/starts")).To(gomega.Equal(pod.Name + "\n\n\n"))
		}
	})
}
