package node

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const restartPolicy = podLifecycle + "#restart-policy"

func restartSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.exit.reasons",
		Promise: "A container that has ended is reported with its exit code, and the reason Completed or Error.",
		Source:  podLifecycle + "#container-states", Judges: judged(),
	}, func(ctx context.Context) {
		good, bad := suite.AgentContainer("exit", "0"), suite.AgentContainer("exit", "42")
		good.Name, bad.Name = "good", "bad"
		pod := task(s.Namespace(ctx), good, bad)
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, expect.HavePhase(corev1.PodFailed))).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "good").State.Terminated).To(gomega.And(
			gomega.HaveField("Reason", "Completed"), gomega.HaveField("ExitCode", int32(0))))
		gomega.Expect(statusOf(pod, "bad").State.Terminated).To(gomega.And(
			gomega.HaveField("Reason", "Error"), gomega.HaveField("ExitCode", int32(42))))
		for _, name := range []string{"good", "bad"} {
			gomega.Expect(statusOf(pod, name).RestartCount).To(gomega.BeZero(), name)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.restart.on-failure",
		Promise: "With restartPolicy OnFailure a container is run until it succeeds, and not again.",
		Source:  restartPolicy, Judges: judged(),
	}, func(ctx context.Context) {
		pod := task(s.Namespace(ctx), shell("main", "test -e /shared/tried || { touch /shared/tried; exit 1; }"))
		pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		mount(pod, "shared", scratch())
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, pod, expect.HavePhase(corev1.PodSucceeded))).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "main").RestartCount).To(gomega.Equal(int32(1)))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.restart.back-off",
		Promise: "A container that keeps ending is run again after growing delays, in which it waits with the reason CrashLoopBackOff.",
		Source:  restartPolicy, Judges: judged(),
	}, func(ctx context.Context) {
		pod := suite.Pod(s.Namespace(ctx), "crashing", suite.AgentContainer("exit", "7"))
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveWaiting("agent", "CrashLoopBackOff"))).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "agent").LastTerminationState.Terminated).To(gomega.HaveField("ExitCode", int32(7)))
		gomega.Expect(pod.Status.Phase).To(gomega.Equal(corev1.PodRunning), "a pod that will go on has not failed")
		gomega.Expect(pod).To(expect.HaveCondition("Ready", corev1.ConditionFalse))
		// The first delay is 10 s, the second 20 s.
		gomega.Expect(s.Watch.Within(expect.Long).Until(ctx, pod, haveRestarted("agent", 2))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.restart.out-of-memory",
		Promise: "A container that needs more memory than its limit is killed, with the reason OOMKilled and exit code 137.",
		Source:  tasks + "configure-pod-container/assign-memory-resource/#exceed-a-container-s-memory-limit", Judges: judged(),
	}, func(ctx context.Context) {
		container := suite.AgentContainer("alloc-memory", "256Mi")
		container.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
		pod := task(s.Namespace(ctx), container)
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveTerminated("agent"))).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "agent").State.Terminated).To(gomega.And(
			gomega.HaveField("Reason", "OOMKilled"), gomega.HaveField("ExitCode", int32(137))))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.exit.message",
		Promise: "What a container wrote to its termination message file is reported; if nothing and it failed, the end of its log where asked for.",
		Source:  tasks + "debug/debug-application/determine-reason-pod-failure/", Judges: judged(),
	}, func(ctx context.Context) {
		file, log := suite.AgentContainer("exit", "--message=from the file", "--message-file=/dev/note", "1"), shell("log", "echo from the log; exit 1")
		file.Name, file.TerminationMessagePath = "file", "/dev/note"
		log.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
		silent := shell("silent", "echo to nobody; exit 1")
		pod := task(s.Namespace(ctx), file, log, silent)
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, expect.HavePhase(corev1.PodFailed))).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "file").State.Terminated).To(gomega.HaveField("Message", "from the file"))
		gomega.Expect(statusOf(pod, "log").State.Terminated).To(gomega.HaveField("Message", "from the log\n"))
		gomega.Expect(statusOf(pod, "silent").State.Terminated).To(gomega.HaveField("Message", ""))
	})
}
