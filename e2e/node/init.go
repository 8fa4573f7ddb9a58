package node

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const (
	initContainers      = concepts + "workloads/pods/init-containers/"
	sidecarContainers   = concepts + "workloads/pods/sidecar-containers/"
	ephemeralContainers = tasks + "debug/debug-application/debug-running-pod/#ephemeral-container"
)

func initSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.init.order",
		Promise: "Init containers run one after the other, each to its end, before the pod's containers start.",
		Source:  initContainers, Judges: judged(),
	}, func(ctx context.Context) {
		pod := task(s.Namespace(ctx), shell("main", "echo main >> /shared/log; cat /shared/log"))
		pod.Spec.InitContainers = []corev1.Container{
			shell("first", "echo first >> /shared/log"), shell("second", "echo second >> /shared/log"),
		}
		mount(pod, "shared", scratch())
		gomega.Expect(printed(ctx, s, pod)).To(gomega.Equal([]string{"first", "second", "main"}))
		first, second, main := statusOf(pod, "first"), statusOf(pod, "second"), statusOf(pod, "main")
		gomega.Expect(first.State.Terminated.FinishedAt.After(second.State.Terminated.StartedAt.Time)).To(gomega.BeFalse())
		gomega.Expect(second.State.Terminated.FinishedAt.After(main.State.Terminated.StartedAt.Time)).To(gomega.BeFalse())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.init.failure",
		Promise: "A pod whose init container fails, and is not to be restarted, fails without starting its containers.",
		Source:  initContainers, Judges: judged(),
	}, func(ctx context.Context) {
		pod := task(s.Namespace(ctx), suite.AgentContainer("pause"))
		pod.Spec.InitContainers = []corev1.Container{shell("broken", "exit 3"), shell("later", "true")}
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, expect.HavePhase(corev1.PodFailed))).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "broken").State.Terminated).To(gomega.HaveField("ExitCode", int32(3)))
		gomega.Expect(statusOf(pod, "later").State.Waiting).NotTo(gomega.BeNil())
		gomega.Expect(statusOf(pod, "agent").State.Waiting).To(gomega.HaveField("Reason", "PodInitializing"))
		gomega.Expect(pod).To(expect.HaveCondition("Initialized", corev1.ConditionFalse))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.init.retry",
		Promise: "An init container that fails is run again until it succeeds, where the pod's restart policy is not Never.",
		Source:  initContainers + "#detailed-behavior", Judges: judged(),
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "retry", suite.AgentContainer("pause"))
		pod.Spec.InitContainers = []corev1.Container{shell("again", "test -e /shared/tried || { touch /shared/tried; exit 1; }")}
		mount(pod, "shared", scratch())
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "again").RestartCount).To(gomega.Equal(int32(1)))
		gomega.Expect(statusOf(pod, "again").State.Terminated).To(gomega.HaveField("Reason", "Completed"))
	})
}

func sidecarSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.sidecar.around",
		Promise: "A sidecar has started before the pod's containers do, and ends after them; the pod completes without it.",
		Source:  sidecarContainers + "#sidecar-containers-and-pod-lifecycle", Judges: judged(),
	}, func(ctx context.Context) {
		sidecar := suite.AgentContainer("signal-log", "--end-on=terminated", "--file=/shared/sidecar")
		sidecar.Name, sidecar.RestartPolicy = "sidecar", ptr.To(corev1.ContainerRestartPolicyAlways)
		sidecar.StartupProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/agent", "cat", "/shared/sidecar"}}},
			PeriodSeconds: 1,
		}
		pod := task(s.Namespace(ctx), shell("main", "cat /shared/sidecar"))
		pod.Spec.InitContainers = []corev1.Container{sidecar, shell("between", "grep ready /shared/sidecar")}
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](20)
		mount(pod, "shared", scratch())
		gomega.Expect(printed(ctx, s, pod)).To(gomega.Equal([]string{"ready"}), "no signal reached the sidecar while the container ran")
		around, main := statusOf(pod, "sidecar").State.Terminated, statusOf(pod, "main").State.Terminated
		gomega.Expect(around).NotTo(gomega.BeNil())
		gomega.Expect(around.StartedAt.After(main.StartedAt.Time)).To(gomega.BeFalse())
		gomega.Expect(around.FinishedAt.Time.Before(main.FinishedAt.Time)).To(gomega.BeFalse())
		gomega.Expect(around.ExitCode).To(gomega.BeZero(), "it was asked to end and given time for it")
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.ephemeral.debug",
		Promise: "kubectl debug runs a container in a running pod, among the processes of the one it targets.",
		Source:  ephemeralContainers, Judges: []string{"kubelet", "kube-apiserver"},
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "web", suite.AgentContainer("pause"))
		s.CreateReady(ctx, pod)
		s.Kubectl(ctx, "-n", pod.Namespace, "debug", pod.Name, "--image="+busybox, "--container=look", "--target=agent",
			"--profile=general", "--", "ps", "-o", "args")
		gomega.Expect(s.Watch.Until(ctx, pod, haveTerminated("look"))).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "look").State.Terminated).To(gomega.HaveField("ExitCode", int32(0)))
		gomega.Expect(s.Kubectl(ctx, "-n", pod.Namespace, "logs", pod.Name, "-c", "look")).To(gomega.ContainSubstring("/agent pause"))
		gomega.Expect(pod).To(expect.BeReady())
	})
}
