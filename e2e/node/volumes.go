package node

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func volumeSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.volume.empty-dir",
		Promise: "An emptyDir starts empty, is shared by the pod's containers, and outlives their restarts.",
		Source:  volumes + "#emptydir", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		pod := suite.Pod(namespace, "sharing", shell("one", "echo start >> /shared/log; until test -e /shared/end; do usleep 50000; done; exit 1"))
		pod.Spec.Containers = append(pod.Spec.Containers, suite.AgentContainer("pause"))
		mount(pod, "shared", scratch())
		s.CreateReady(ctx, pod)
		gomega.Expect(s.Exec(ctx, pod, "cat", "/shared/log")).To(gomega.Equal("start\n"))
		gomega.Expect(s.Exec(ctx, pod, "touch", "/shared/end")).To(gomega.BeEmpty())
		gomega.Expect(s.Watch.Until(ctx, pod, haveRestarted("one", 1))).To(gomega.Succeed())
		// The container counts as restarted a moment before its script has printed.
		gomega.Eventually(ctx, func() string {
			return s.Kubectl(ctx, "-n", namespace, "exec", pod.Name, "-c", "agent", "--", "/agent", "cat", "/shared/log")
		}).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.HavePrefix("start\nstart\n"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.volume.empty-dir-memory",
		Promise: "An emptyDir with medium Memory is a tmpfs no larger than its sizeLimit.",
		Source:  volumes + "#emptydir", Judges: judged(),
	}, func(ctx context.Context) {
		pod := task(s.Namespace(ctx), shell("main", "grep ' /shared ' /proc/mounts | cut -d' ' -f3; df -k /shared | tail -1 | awk '{print $2}'"))
		mount(pod, "shared", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: ptr.To(resource.MustParse("8Mi")),
		}})
		gomega.Expect(printed(ctx, s, pod)).To(gomega.Equal([]string{"tmpfs", "8192"}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.volume.host-path",
		Promise: "A hostPath volume is a directory of the node, made if asked for, and stays when the pod is gone.",
		Source:  volumes + "#hostpath", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, node := s.Namespace(ctx), s.Nodes(ctx, 1)[0]
		source := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{
			Path: "/tmp/" + namespace, Type: ptr.To(corev1.HostPathDirectoryOrCreate),
		}}
		writer := suite.OnNode(task(namespace, shell("main", "echo kept > /shared/file")), node)
		mount(writer, "shared", source)
		printed(ctx, s, writer)
		reader := suite.OnNode(task(namespace, shell("main", "cat /shared/file; rm /shared/file")), node)
		reader.Name = "reader"
		mount(reader, "shared", source)
		gomega.Expect(printed(ctx, s, reader)).To(gomega.Equal([]string{"kept"}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.volume.host-path-type",
		Promise: "A pod whose hostPath is not of the type asked for does not start, and an event FailedMount says why.",
		Source:  volumes + "#hostpath-volume-types", Judges: judged(),
	}, func(ctx context.Context) {
		pod := task(s.Namespace(ctx), shell("main", "true"))
		mount(pod, "shared", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{
			Path: "/no/such/directory", Type: ptr.To(corev1.HostPathDirectory),
		}})
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.UntilList(ctx, &corev1.EventList{}, haveEvent("FailedMount"), inNamespace(pod))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.volume.sub-path",
		Promise: "A mount by subPath or subPathExpr shows one folder of the volume, made if it is not there.",
		Source:  volumes + "#using-subpath", Judges: judged(),
	}, func(ctx context.Context) {
		main := shell("main", "echo a > /plain/file; echo b > /expanded/file; cd /whole; find . -type f | sort | xargs grep .")
		main.Env = []corev1.EnvVar{{Name: "NAME", ValueFrom: field("metadata.name")}}
		main.VolumeMounts = []corev1.VolumeMount{
			{Name: "whole", MountPath: "/plain", SubPath: "some/folder"},
			{Name: "whole", MountPath: "/expanded", SubPathExpr: "of/$(NAME)"},
		}
		pod := task(s.Namespace(ctx), main)
		mount(pod, "whole", scratch())
		gomega.Expect(printed(ctx, s, pod)).To(gomega.Equal([]string{"./of/task/file:b", "./some/folder/file:a"}))
	})
}
