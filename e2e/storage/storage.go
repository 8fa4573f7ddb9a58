// Package storage holds the specs of persistent storage: which volume a claim gets and when, what pods find on it, and
// what becomes of it afterwards.
package storage

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const (
	volumes = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/"
	classes = "https://kubernetes.io/docs/concepts/storage/storage-classes/"

	busybox = "busybox:1.36"
	// static is the provisioner of classes whose volumes are made by hand.
	static = "kubernetes.io/no-provisioner"
)

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("storage", func() {
		bindingSpecs(s)
		placementSpecs(s)
		lifetimeSpecs(s)
	})
}

func binder() []string { return []string{"kube-controller-manager"} }

func all() []string { return []string{"kube-controller-manager", "kube-scheduler", "kubelet"} }

// claimOf is a claim of the class that is named like its namespace.
func claimOf(namespace, name, size string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &namespace, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: amount(size)},
		},
	}
}

func amount(size string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
}

// volumeOf is a retained volume of the namespace's class: a directory of whatever node it is used on.
func volumeOf(namespace, name, size string) *corev1.PersistentVolume {
	name = namespace + "-" + name
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: namespace, Capacity: amount(size),
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{
				Path: "/tmp/" + name, Type: ptr.To(corev1.HostPathDirectoryOrCreate),
			}},
		},
	}
}

// onNode ties a volume to a node.
func onNode(volume *corev1.PersistentVolume, node string) *corev1.PersistentVolume {
	volume.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}}
	return volume
}

// lateClass is the namespace's class, whose claims are bound together with their first pod.
func lateClass(namespace, provisioner string) *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: namespace},
		Provisioner: provisioner, VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
	}
}

// create makes objects; those that are in no namespace go when the spec ends.
func create(ctx context.Context, s *suite.Suite, objects ...client.Object) {
	ginkgo.GinkgoHelper()
	for _, object := range objects {
		s.Create(ctx, object)
		if object.GetNamespace() == "" {
			ginkgo.DeferCleanup(func(ctx context.Context) {
				gomega.Expect(client.IgnoreNotFound(s.Client.Delete(ctx, object))).To(gomega.Succeed())
			})
		}
	}
}

// user is a pod with a claim at /data that runs a script and then stays.
func user(namespace, name, claim, script string) *corev1.Pod {
	pod := suite.Pod(namespace, name, corev1.Container{
		Name: "main", Image: busybox, ImagePullPolicy: corev1.PullIfNotPresent,
		Command:      []string{"sh", "-c", script + "; touch /tmp/done; sleep 3600"},
		VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
		// Ready means that the script has run.
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"test", "-e", "/tmp/done"}}}, PeriodSeconds: 1},
	})
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}}
	return pod
}

// gone deletes a pod and waits until it is gone.
func gone(ctx context.Context, s *suite.Suite, pod *corev1.Pod) {
	ginkgo.GinkgoHelper()
	s.Delete(ctx, pod, metav1.DeletePropagationBackground)
	gomega.Expect(s.Watch.Gone(ctx, pod)).To(gomega.Succeed())
}

// beBoundTo asks of a claim that it has that volume; without a name, any.
func beBoundTo(volume string) types.GomegaMatcher {
	return expect.Satisfy("be bound to "+volume, func(claim *corev1.PersistentVolumeClaim) string {
		if claim.Status.Phase == corev1.ClaimBound && (volume == "" || claim.Spec.VolumeName == volume) {
			return ""
		}
		return fmt.Sprintf("%s, volume %q", claim.Status.Phase, claim.Spec.VolumeName)
	})
}

// bePhase asks of a volume that it is in that phase.
func bePhase(phase corev1.PersistentVolumePhase) types.GomegaMatcher {
	return expect.Satisfy("be "+string(phase), func(volume *corev1.PersistentVolume) string {
		if volume.Status.Phase == phase {
			return ""
		}
		return fmt.Sprintf("%s %s", volume.Status.Phase, volume.Status.Message)
	})
}

// bound waits until a claim is bound, to that volume if one is given.
func bound(ctx context.Context, s *suite.Suite, claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) {
	ginkgo.GinkgoHelper()
	name := ""
	if volume != nil {
		name = volume.Name
	}
	gomega.Expect(s.Watch.Until(ctx, claim, beBoundTo(name))).To(gomega.Succeed())
}

// waitsFor waits until the scheduler says of a pod that it fits nowhere, in words that hold the reason.
func waitsFor(ctx context.Context, s *suite.Suite, pod *corev1.Pod, reason string) {
	ginkgo.GinkgoHelper()
	gomega.Expect(s.Watch.Until(ctx, pod, expect.Satisfy("wait because "+reason, func(p *corev1.Pod) string {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
				if ok, err := gomega.ContainSubstring(reason).Match(c.Message); ok && err == nil {
					return ""
				}
				return c.Message
			}
		}
		return fmt.Sprintf("node %q, conditions %v", p.Spec.NodeName, p.Status.Conditions)
	}))).To(gomega.Succeed())
	gomega.Expect(pod.Status.Phase).To(gomega.Equal(corev1.PodPending))
}
