package storage

import (
	"context"
	"fmt"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// placementSpecs are about where pods go for the sake of their volumes.
func placementSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "storage.placement.local",
		Promise: "A pod goes to the node of the local volume that its claim gets, and finds there what an earlier pod wrote.",
		Source:  "https://kubernetes.io/docs/concepts/storage/volumes/#local", Judges: all(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := s.Nodes(ctx, 2)[:2]
		create(ctx, s, lateClass(namespace, static))
		for i, node := range nodes {
			name := fmt.Sprintf("disk-%d", i)
			volume := onNode(volumeOf(namespace, name, "1Gi"), node)
			path := volume.Spec.HostPath.Path
			maker := suite.OnNode(user(namespace, "maker-"+name, "", "true"), node)
			maker.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{HostPath: volume.Spec.HostPath}
			s.CreateReady(ctx, maker)
			volume.Labels = map[string]string{"disk": name}
			volume.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}}
			create(ctx, s, volume)
		}
		for i, node := range nodes {
			name := fmt.Sprintf("disk-%d", i)
			claim := claimOf(namespace, name, "1Gi")
			claim.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"disk": name}}
			create(ctx, s, claim)
			writer := user(namespace, "writer-"+name, name, "echo kept on "+node+" > /data/file")
			s.CreateReady(ctx, writer)
			gomega.Expect(writer.Spec.NodeName).To(gomega.Equal(node))
			gone(ctx, s, writer)
			reader := user(namespace, "reader-"+name, name, "true")
			s.CreateReady(ctx, reader)
			gomega.Expect(reader.Spec.NodeName).To(gomega.Equal(node))
			gomega.Expect(s.Exec(ctx, reader, "cat", "/data/file")).To(gomega.Equal("kept on " + node + "\n"))
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.placement.conflict",
		Promise: "A pod that must run elsewhere than its volume stays Pending, and says that the volume's node does not match.",
		Source:  volumes + "#node-affinity", Judges: []string{"kube-scheduler"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := s.Nodes(ctx, 2)
		volume, claim := onNode(volumeOf(namespace, "there", "1Gi"), nodes[0]), claimOf(namespace, "claim", "1Gi")
		create(ctx, s, volume, claim)
		bound(ctx, s, claim, volume)
		pod := user(namespace, "pod", "claim", "true")
		pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: nodes[1]}
		s.Create(ctx, pod)
		waitsFor(ctx, s, pod, "1 node(s) didn't match PersistentVolume's node affinity")
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.placement.none-free",
		Promise: "A pod whose claim waits for it and finds no free volume on any node stays Pending, and runs once there is one.",
		Source:  classes + "#volume-binding-mode", Judges: all(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		node := s.Nodes(ctx, 1)[0]
		create(ctx, s, lateClass(namespace, static), onNode(volumeOf(namespace, "small", "1Gi"), node), claimOf(namespace, "claim", "2Gi"))
		pod := user(namespace, "pod", "claim", "true")
		s.Create(ctx, pod)
		waitsFor(ctx, s, pod, "node(s) didn't find available persistent volumes to bind")
		create(ctx, s, onNode(volumeOf(namespace, "large", "2Gi"), node))
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
		gomega.Expect(pod.Spec.NodeName).To(gomega.Equal(node))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.placement.provisioned",
		Promise: "A volume is provisioned for the node that the pod goes to, one of those that the class allows.",
		Source:  classes + "#allowed-topologies", Judges: []string{"kube-controller-manager", "kube-scheduler"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		nodes := s.Nodes(ctx, 2)
		node := nodes[len(nodes)-1]
		class := lateClass(namespace, "plumbline.dev/by-hand")
		class.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: corev1.LabelHostname, Values: []string{node}}}}}
		claim, pod := claimOf(namespace, "claim", "1Gi"), user(namespace, "pod", "claim", "true")
		create(ctx, s, class, claim, pod)
		gomega.Expect(s.Watch.Until(ctx, claim, haveAnnotation("volume.kubernetes.io/selected-node", node))).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, claim, haveAnnotation("volume.kubernetes.io/storage-provisioner", "plumbline.dev/by-hand"))).To(gomega.Succeed())
		made := onNode(volumeOf(namespace, "made", "1Gi"), node)
		made.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: namespace, Name: "claim", UID: claim.UID}
		create(ctx, s, made)
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
		gomega.Expect(pod.Spec.NodeName).To(gomega.Equal(node))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "storage.placement.once-pod",
		Promise: "A claim of access mode ReadWriteOncePod is one pod's at a time; the next waits until that is gone.",
		Source:  volumes + "#access-modes", Judges: []string{"kube-scheduler"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		volume, claim := volumeOf(namespace, "single", "1Gi"), claimOf(namespace, "claim", "1Gi")
		volume.Spec.AccessModes[0], claim.Spec.AccessModes[0] = corev1.ReadWriteOncePod, corev1.ReadWriteOncePod
		create(ctx, s, volume, claim)
		first, second := user(namespace, "first", "claim", "true"), user(namespace, "second", "claim", "true")
		s.CreateReady(ctx, first)
		s.Create(ctx, second)
		waitsFor(ctx, s, second, "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod")
		gone(ctx, s, first)
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, second, expect.BeReady())).To(gomega.Succeed())
	})
}
