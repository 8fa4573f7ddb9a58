package node

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
)

func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func resourceSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.resources.qos",
		Promise: "A pod's QoS class is Guaranteed if all its containers' requests equal their limits, BestEffort if there are none, else Burstable.",
		Source:  concepts + "workloads/pods/pod-qos/", Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		for class, resources := range map[corev1.PodQOSClass]corev1.ResourceRequirements{
			corev1.PodQOSGuaranteed: {Requests: amounts("10m", "16Mi"), Limits: amounts("10m", "16Mi")},
			corev1.PodQOSBurstable:  {Requests: amounts("10m", "16Mi"), Limits: amounts("20m", "16Mi")},
			corev1.PodQOSBestEffort: {},
		} {
			container := suite.AgentContainer("pause")
			container.Resources = resources
			pod := suite.Pod(namespace, "", container)
			pod.GenerateName, pod.Labels = "qos-", nil
			s.Create(ctx, pod)
			gomega.Expect(pod.Status.QOSClass).To(gomega.Equal(class))
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.resources.limits",
		Promise: "A container's CPU and memory limits are those of its control group.",
		Source:  concepts + "configuration/manage-resources-containers/#how-pods-with-resource-limits-are-run", Judges: judged(),
	}, func(ctx context.Context) {
		// Version 2 of control groups has one file for quota and period, version 1 two.
		container := shell("main", `cd /sys/fs/cgroup
cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes
cat cpu.max 2>/dev/null || echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us)`)
		container.Resources.Limits = amounts("250m", "64Mi")
		gomega.Expect(printed(ctx, s, task(s.Namespace(ctx), container))).To(gomega.Equal([]string{"67108864", "25000 100000"}))
	})
}
