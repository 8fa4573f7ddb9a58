package node

import (
	"context"
	"fmt"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const securityContext = tasks + "configure-pod-container/security-context/"

func securitySpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.security.user",
		Promise: "A container's processes have the user and groups asked for, and volumes belong to fsGroup.",
		Source:  securityContext + "#set-the-security-context-for-a-pod", Judges: judged(),
	}, func(ctx context.Context) {
		pod := task(s.Namespace(ctx), shell("main", "id -u; id -g; id -G; touch /shared/file; stat -c '%u:%g' /shared/file"))
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{
			RunAsUser: ptr.To[int64](1000), RunAsGroup: ptr.To[int64](3000), FSGroup: ptr.To[int64](2000), SupplementalGroups: []int64{4000},
		}
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr.To[int64](1001)}
		mount(pod, "shared", scratch())
		got := printed(ctx, s, pod)
		gomega.Expect(got).To(gomega.HaveLen(4))
		gomega.Expect(got[:2]).To(gomega.Equal([]string{"1001", "3000"}), "the container's user, the pod's group")
		gomega.Expect(got[2]).To(gomega.And(gomega.ContainSubstring("2000"), gomega.ContainSubstring("4000")))
		gomega.Expect(got[3]).To(gomega.Equal("1001:2000"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.security.non-root",
		Promise: "A container that must not run as root, and would, is not started: CreateContainerConfigError.",
		Source:  securityContext, Judges: judged(),
	}, func(ctx context.Context) {
		container := shell("main", "true")
		container.SecurityContext = &corev1.SecurityContext{RunAsNonRoot: ptr.To(true)}
		pod := task(s.Namespace(ctx), container)
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveWaiting("main", "CreateContainerConfigError"))).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "main").State.Waiting.Message).To(gomega.ContainSubstring("container has runAsNonRoot and image will run as root"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.security.read-only",
		Promise: "With readOnlyRootFilesystem a container writes to its volumes alone.",
		Source:  securityContext, Judges: judged(),
	}, func(ctx context.Context) {
		container := shell("main", "touch /file 2>/dev/null || echo refused; touch /shared/file && echo written")
		container.SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)}
		pod := task(s.Namespace(ctx), container)
		mount(pod, "shared", scratch())
		gomega.Expect(printed(ctx, s, pod)).To(gomega.Equal([]string{"refused", "written"}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.security.capabilities",
		Promise: "A container has the capabilities asked for and no others once all are dropped.",
		Source:  securityContext + "#set-capabilities-for-a-container", Judges: judged(),
	}, func(ctx context.Context) {
		container := shell("main", "grep CapEff /proc/self/status | cut -f2; chown 1:1 /etc/hostname 2>/dev/null || echo refused")
		container.SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"},
		}}
		pod := task(s.Namespace(ctx), container)
		// CAP_NET_BIND_SERVICE is bit 10 of capability.h.
		gomega.Expect(printed(ctx, s, pod)).To(gomega.Equal([]string{"0000000000000400", "refused"}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.security.host-users",
		Promise: "With hostUsers false a pod has users of its own: its root is another user on the host, other than that of any other such pod, and its volumes look as ever.",
		Source:  concepts + "workloads/pods/user-namespaces/", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		node := s.Nodes(ctx, 1)[0]
		settings := configMap(namespace, map[string]string{"key": "value"})
		s.Create(ctx, settings)
		first := map[string]string{}
		for _, name := range []string{"one", "two"} {
			main := shell("main", "id -u; awk '{print $1, $2, $3}' /proc/self/uid_map; touch /scratch/mine; stat -c %u /scratch/mine /settings/key; cat /settings/key; echo; exec sleep 3600")
			pod := suite.OnNode(suite.Pod(namespace, name, main), node)
			pod.Spec.HostUsers = ptr.To(false)
			mount(pod, "scratch", scratch())
			mount(pod, "settings", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: settings.Name}}})
			s.CreateReady(ctx, pod)
			var said []string
			gomega.Eventually(ctx, func() []string { said = lines(s.Logs(ctx, pod)); return said }).
				WithTimeout(expect.Scaled(expect.Short)).Should(gomega.HaveLen(5))
			var inside, outside, length int64
			_, err := fmt.Sscan(said[1], &inside, &outside, &length)
			gomega.Expect(err).NotTo(gomega.HaveOccurred(), said[1])
			gomega.Expect([]int64{inside, length}).To(gomega.Equal([]int64{0, 65536}), said[1])
			gomega.Expect(outside).To(gomega.BeNumerically(">=", 65536))
			gomega.Expect([]string{said[0], said[2], said[3], said[4]}).To(gomega.Equal([]string{"0", "0", "0", "value"}))
			first[name] = fmt.Sprint(outside)
		}
		gomega.Expect(first["one"]).NotTo(gomega.Equal(first["two"]))
	})
}
