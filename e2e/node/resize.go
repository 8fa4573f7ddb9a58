package node

import (
	"context"

	"github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const resizing = tasks + "configure-pod-container/resize-container-resources/"

// resize asks for other limits of the pod's only container, and equal requests.
func resize(ctx context.Context, s *suite.Suite, pod *corev1.Pod, limits corev1.ResourceList) error {
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: limits, Limits: limits}
	return s.Watch.Client().SubResource("resize").Update(ctx, pod)
}

// haveResources is met once a pod's only container has limits, and no resize is under way.
func haveResources(limits corev1.ResourceList) types.GomegaMatcher {
	return expect.Satisfy("have been resized", func(pod *corev1.Pod) string {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodResizePending || c.Type == corev1.PodResizeInProgress {
				return string(c.Type) + " " + c.Reason + ": " + c.Message
			}
		}
		for _, c := range pod.Status.ContainerStatuses {
			if c.Resources == nil || !c.Resources.Limits.Cpu().Equal(*limits.Cpu()) || !c.Resources.Limits.Memory().Equal(*limits.Memory()) {
				return "the status shows other limits"
			}
			if limits.Cpu().Sign() > 0 && !c.AllocatedResources.Cpu().Equal(*limits.Cpu()) {
				return "the status shows other allocated resources"
			}
		}
		if pod.Status.ObservedGeneration < pod.Generation {
			return "the kubelet has not seen it yet"
		}
		return ""
	})
}

// limitsInside are the memory limit and the CPU quota that a container sees of itself.
func limitsInside(ctx context.Context, s *suite.Suite, pod *corev1.Pod) string {
	return s.Kubectl(ctx, "-n", pod.Namespace, "exec", pod.Name, "--", "sh", "-c", `cd /sys/fs/cgroup
cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes
cut -d' ' -f1 cpu.max 2>/dev/null || cat cpu/cpu.cfs_quota_us`)
}

func resizeSpecs(s *suite.Suite) {
	sized := func(ctx context.Context, policy ...corev1.ContainerResizePolicy) *corev1.Pod {
		main := shell("main", "exec sleep 3600")
		main.Resources = corev1.ResourceRequirements{Requests: amounts("20m", "16Mi"), Limits: amounts("20m", "16Mi")}
		main.ResizePolicy = policy
		pod := suite.Pod(s.Namespace(ctx), "sized", main)
		s.CreateReady(ctx, pod)
		return pod
	}

	behaviour.It(behaviour.Behaviour{
		ID:      "node.resize.in-place",
		Promise: "CPU and memory of a running container can be changed by the pod's subresource resize: its control group follows, it is not restarted, and the status shows what it has.",
		Source:  resizing, Judges: []string{"kube-apiserver", "kubelet"},
	}, func(ctx context.Context) {
		pod := sized(ctx)
		before := pod.Status.ContainerStatuses[0].ContainerID
		for _, step := range []struct {
			limits corev1.ResourceList
			inside string
		}{
			{amounts("40m", "32Mi"), "33554432\n4000\n"},
			{amounts("30m", "24Mi"), "25165824\n3000\n"},
		} {
			gomega.Expect(resize(ctx, s, pod, step.limits)).To(gomega.Succeed())
			gomega.Expect(s.Watch.Until(ctx, pod, haveResources(step.limits))).To(gomega.Succeed())
			gomega.Expect(limitsInside(ctx, s, pod)).To(gomega.Equal(step.inside))
		}
		gomega.Expect(pod.Status.ContainerStatuses[0].ContainerID).To(gomega.Equal(before))
		gomega.Expect(pod.Generation).To(gomega.BeEquivalentTo(3))
		gomega.Expect(s.Watch.UntilList(ctx, &corev1.EventList{}, haveEvent("ResizeCompleted"), inNamespace(pod))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.resize.restart",
		Promise: "A container whose resizePolicy for a resource is RestartContainer is restarted once when that resource changes, and not when another does.",
		Source:  resizing + "#container-resize-policies", Judges: judged(),
	}, func(ctx context.Context) {
		pod := sized(ctx, corev1.ContainerResizePolicy{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer})
		more := amounts("40m", "16Mi")
		gomega.Expect(resize(ctx, s, pod, more)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, pod, haveResources(more))).To(gomega.Succeed())
		gomega.Expect(pod.Status.ContainerStatuses[0].RestartCount).To(gomega.BeZero())

		more = amounts("40m", "32Mi")
		gomega.Expect(resize(ctx, s, pod, more)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, pod, haveRestarted("main", 1))).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, pod, gomega.And(expect.BeReady(), haveResources(more)))).To(gomega.Succeed())
		gomega.Expect(limitsInside(ctx, s, pod)).To(gomega.Equal("33554432\n4000\n"))
		gomega.Expect(pod.Status.ContainerStatuses[0].RestartCount).To(gomega.BeEquivalentTo(1))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.resize.deferred",
		Promise: "A resize for which the node has no room beside its other pods is Deferred, and granted once there is.",
		Source:  resizing + "#pod-resize-status", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, name := s.Namespace(ctx), s.Nodes(ctx, 1)[0]
		node := &corev1.Node{}
		gomega.Expect(s.Watch.Client().Get(ctx, client.ObjectKey{Name: name}, node)).To(gomega.Succeed())
		// More than half of what there is: two such pods never fit.
		most := corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(node.Status.Allocatable.Memory().Value()*6/10, resource.BinarySI)}
		asking := func(name string, requests corev1.ResourceList) *corev1.Pod {
			container := suite.AgentContainer("pause")
			container.Resources.Requests = requests
			return suite.OnNode(suite.Pod(namespace, name, container), node.Name)
		}
		big, small := asking("big", most), asking("small", corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("16Mi")})
		s.CreateReady(ctx, big, small)
		small.Spec.Containers[0].Resources.Requests = most
		gomega.Expect(s.Watch.Client().SubResource("resize").Update(ctx, small)).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, small, expect.HaveCondition(string(corev1.PodResizePending), corev1.ConditionTrue))).To(gomega.Succeed())
		gomega.Expect(small.Status.Conditions).To(gomega.ContainElement(gomega.And(
			gomega.HaveField("Type", corev1.PodResizePending), gomega.HaveField("Reason", corev1.PodReasonDeferred))))
		gomega.Expect(small.Status.ContainerStatuses[0].AllocatedResources.Memory().String()).To(gomega.Equal("16Mi"))

		s.Delete(ctx, big, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, small, haveResources(nil))).To(gomega.Succeed())
		gomega.Expect(small.Status.ContainerStatuses[0].AllocatedResources.Memory().Equal(*most.Memory())).To(gomega.BeTrue())
		gomega.Expect(small.Status.ContainerStatuses[0].RestartCount).To(gomega.BeZero())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.resize.too-big",
		Promise: "A resize that the pod's node could not grant even without other pods, or that changes its QoS class, is refused.",
		Source:  resizing, Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		pod := sized(ctx)
		node := &corev1.Node{}
		gomega.Expect(s.Watch.Client().Get(ctx, client.ObjectKey{Name: pod.Spec.NodeName}, node)).To(gomega.Succeed())
		whole := node.Status.Allocatable.Cpu()
		whole.Add(resource.MustParse("1"))
		err := resize(ctx, s, pod.DeepCopy(), amounts(whole.String(), "16Mi"))
		gomega.Expect(apierrors.IsForbidden(err)).To(gomega.BeTrue(), "%v", err)
		gomega.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("node didn't have enough allocatable resources")))

		pod.Spec.Containers[0].Resources.Limits = amounts("30m", "16Mi")
		err = s.Watch.Client().SubResource("resize").Update(ctx, pod)
		gomega.Expect(err).To(gomega.MatchError(gomega.ContainSubstring("Pod QOS Class may not change as a result of resizing")))
	})
}
