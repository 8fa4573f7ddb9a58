package api

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
)

// fieldSpecs are about what a server makes of fields that are allowed and yet not meant to be set.
func fieldSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.warnings",
		Promise: "What is valid and most likely a mistake is answered with a warning, in a pod and in a workload's template alike.",
		Source:  concepts + "#warnings", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		create := func(text string) string {
			ginkgo.GinkgoHelper()
			_, stderr, err := s.TryKubectl(ctx, "-n", namespace, "create", "--dry-run=server", "-f", manifest(text))
			gomega.Expect(err).NotTo(gomega.HaveOccurred(), stderr)
			return stderr
		}
		const spec = `{nodeSelector: {beta.kubernetes.io/os: linux}, containers: [{name: a, image: a, env: [{name: X, value: "1"}, {name: X, value: "2"}]}]}`
		const label, hidden = `deprecated since v1.14; use "kubernetes.io/os" instead`, `hides previous definition of "X"`
		gomega.Expect(create(`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: ` + spec + `}`)).To(gomega.And(
			gomega.ContainSubstring(`Warning: spec.nodeSelector[beta.kubernetes.io/os]: `+label), gomega.ContainSubstring(`spec.containers[0].env[1]: `+hidden)))
		for kind, more := range map[string]string{"Deployment": "", "DaemonSet": "", "StatefulSet": "serviceName: a, "} {
			gomega.Expect(create(`{apiVersion: apps/v1, kind: `+kind+`, metadata: {name: a}, spec: {`+more+
				`selector: {matchLabels: {a: a}}, template: {metadata: {labels: {a: a}}, spec: `+spec+`}}}`)).To(gomega.And(
				gomega.ContainSubstring(`Warning: spec.template.spec.nodeSelector[beta.kubernetes.io/os]: `+label),
				gomega.ContainSubstring(`spec.template.spec.containers[0].env[1]: `+hidden)), kind)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "api.fields.of-features-off",
		Promise: "A field of a feature that is off by default is accepted and not stored.",
		Source:  "https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/", Judges: judged(),
	}, func(ctx context.Context) {
		pod := idle(s.Namespace(ctx), "early")
		group := "crew"
		pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &group}
		stop := corev1.SIGUSR1
		pod.Spec.OS = &corev1.PodOS{Name: corev1.Linux}
		pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{StopSignal: &stop, PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}}
		s.Create(ctx, pod)
		stored := &corev1.Pod{}
		gomega.Expect(s.Client.Get(ctx, client.ObjectKeyFromObject(pod), stored)).To(gomega.Succeed())
		gomega.Expect(stored.Spec.SchedulingGroup).To(gomega.BeNil())
		gomega.Expect(stored.Spec.Containers[0].Lifecycle.StopSignal).To(gomega.BeNil())
		gomega.Expect(stored.Spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds).To(gomega.BeEquivalentTo(1))
	})
}
