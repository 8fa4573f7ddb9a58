package node

import (
	"context"
	"fmt"
	"time"

	"github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func statusSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.status.conditions",
		Promise: "A ready pod's conditions are all true, and its status says where and since when it runs.",
		Source:  podLifecycle + "#pod-conditions", Judges: judged(),
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "web", suite.ServingContainer())
		s.CreateReady(ctx, pod)
		for _, condition := range []corev1.PodConditionType{
			corev1.PodScheduled, corev1.PodInitialized, corev1.PodReadyToStartContainers, corev1.ContainersReady, corev1.PodReady,
		} {
			gomega.Expect(pod).To(expect.HaveCondition(string(condition), corev1.ConditionTrue))
		}
		gomega.Expect(pod.Status.HostIP).To(gomega.Equal(s.NodeAddress(ctx, pod.Spec.NodeName)))
		gomega.Expect(pod.Status.PodIPs).To(gomega.ConsistOf(corev1.PodIP{IP: pod.Status.PodIP}))
		gomega.Expect(pod.Status.StartTime).NotTo(gomega.BeNil())
		container := statusOf(pod, "agent")
		gomega.Expect(container.ContainerID).To(gomega.HavePrefix("containerd://"))
		gomega.Expect(container.ImageID).To(gomega.ContainSubstring("sha256:"))
		gomega.Expect(container.State.Running.StartedAt.Time).To(gomega.BeTemporally(">=", pod.Status.StartTime.Time))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.status.readiness-gate",
		Promise: "A pod with a readiness gate is ready only while the gate's condition is true.",
		Source:  podLifecycle + "#pod-readiness-gate", Judges: judged(),
	}, func(ctx context.Context) {
		const gate = "plumbline.dev/opened"
		pod := suite.Pod(s.Namespace(ctx), "gated", suite.AgentContainer("pause"))
		pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gate}}
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, expect.HaveCondition(string(corev1.ContainersReady), corev1.ConditionTrue))).To(gomega.Succeed())
		gomega.Expect(pod).To(expect.HaveCondition("Ready", corev1.ConditionFalse))
		_, err := s.Clientset.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, strategicMerge,
			fmt.Appendf(nil, `{"status":{"conditions":[{"type":%q,"status":"True"}]}}`, gate), metav1.PatchOptions{}, "status")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(s.Watch.Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.status.lease",
		Promise: "Every node has a Lease in kube-node-lease that it owns and keeps renewing.",
		Source:  concepts + "architecture/leases/#node-heart-beats", Judges: judged(),
	}, func(ctx context.Context) {
		for _, name := range s.Nodes(ctx, 1) {
			lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}}
			var first time.Time
			gomega.Expect(s.Watch.Until(ctx, lease, expect.Satisfy("be renewed", func(l *coordinationv1.Lease) string {
				if l.Spec.RenewTime == nil {
					return "it was never renewed"
				}
				if first.IsZero() {
					first = l.Spec.RenewTime.Time
				}
				if !l.Spec.RenewTime.After(first) {
					return "it is as it was at " + first.String()
				}
				return ""
			}))).To(gomega.Succeed())
			gomega.Expect(lease.Spec.HolderIdentity).To(gomega.HaveValue(gomega.Equal(name)))
			gomega.Expect(lease.OwnerReferences).To(gomega.HaveExactElements(gomega.And(
				gomega.HaveField("Kind", "Node"), gomega.HaveField("Name", name))))
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.status.fields",
		Promise: "A node reports its addresses, its conditions, its versions, its images, and how much it has for pods.",
		Source:  "https://kubernetes.io/docs/reference/node/node-status/", Judges: judged(),
	}, func(ctx context.Context) {
		name := s.Nodes(ctx, 1)[0]
		var node corev1.Node
		gomega.Expect(s.Client.Get(ctx, clientKey("", name), &node)).To(gomega.Succeed())
		gomega.Expect(&node).To(expect.BeReady())
		for _, pressure := range []string{"MemoryPressure", "DiskPressure", "PIDPressure"} {
			gomega.Expect(&node).To(expect.HaveCondition(pressure, corev1.ConditionFalse))
		}
		gomega.Expect(node.Labels).To(gomega.HaveKeyWithValue(corev1.LabelHostname, name))
		gomega.Expect(node.Labels).To(gomega.HaveKeyWithValue(corev1.LabelOSStable, "linux"))
		info := node.Status.NodeInfo
		for _, value := range []string{info.KubeletVersion, info.ContainerRuntimeVersion, info.KernelVersion, info.OSImage, info.MachineID, info.BootID, info.SystemUUID} {
			gomega.Expect(value).NotTo(gomega.BeEmpty(), "%+v", info)
		}
		for _, resource := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourcePods, corev1.ResourceEphemeralStorage} {
			capacity, allocatable := node.Status.Capacity[resource], node.Status.Allocatable[resource]
			gomega.Expect(allocatable.IsZero()).To(gomega.BeFalse(), "%s", resource)
			gomega.Expect(allocatable.Cmp(capacity)).To(gomega.BeNumerically("<=", 0), "%s", resource)
		}
		gomega.Expect(node.Status.DaemonEndpoints.KubeletEndpoint.Port).To(gomega.BeNumerically(">", 0))
	})
}
