package node

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

const probes = tasks + "configure-pod-container/configure-liveness-readiness-startup-probes/"

// probe asks every second and goes by a single answer.
func probe(handler corev1.ProbeHandler) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: handler, PeriodSeconds: 1, FailureThreshold: 1, TimeoutSeconds: 5}
}

func httpGet(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(suite.AgentPort)}}
}

// The agent's gRPC health service.
const grpcPort = 8082

// turn switches one of the answers of a serving agent.
func turn(ctx context.Context, s *suite.Suite, pod *corev1.Pod, name, state string) {
	ginkgo.GinkgoHelper()
	attempt := s.Connect(ctx, pod, suite.URL("127.0.0.1", suite.AgentPort, "/switch/"+name+"/"+state))
	gomega.Expect(attempt.Error).To(gomega.BeEmpty())
}

func probeSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.probe.readiness",
		Promise: "A container is ready exactly as long as its readiness probe succeeds, and is not restarted for it.",
		Source:  probes + "#define-readiness-probes", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		handlers := map[string]corev1.ProbeHandler{
			"readyz": httpGet("/readyz"),
			"grpc":   {GRPC: &corev1.GRPCAction{Port: grpcPort}},
		}
		pods := map[string]*corev1.Pod{}
		for name, handler := range handlers {
			container := suite.AgentContainer("serve")
			container.ReadinessProbe = probe(handler)
			pods[name] = suite.Pod(namespace, name, container)
			s.Create(ctx, pods[name])
		}
		for name, pod := range pods {
			gomega.Expect(s.Watch.Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
			turn(ctx, s, pod, name, "off")
			gomega.Expect(s.Watch.Until(ctx, pod, expect.HaveCondition("Ready", corev1.ConditionFalse))).To(gomega.Succeed())
			gomega.Expect(statusOf(pod, "agent").Ready).To(gomega.BeFalse())
			turn(ctx, s, pod, name, "on")
			gomega.Expect(s.Watch.Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
			gomega.Expect(statusOf(pod, "agent").RestartCount).To(gomega.BeZero())
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.probe.readiness-exec",
		Promise: "A readiness probe by a command goes by the command's exit code.",
		Source:  probes + "#define-a-liveness-command", Judges: judged(),
	}, func(ctx context.Context) {
		container := suite.AgentContainer("pause")
		container.ReadinessProbe = probe(corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/agent", "cat", "/shared/fill-0"}}})
		pod := suite.Pod(s.Namespace(ctx), "exec", container)
		mount(pod, "shared", scratch())
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveContainer("agent", "started and not ready", func(status corev1.ContainerStatus) bool {
			return ptr.Deref(status.Started, false) && !status.Ready
		}))).To(gomega.Succeed())
		_, err := s.Exec(ctx, pod, "/agent", "fill-disk", "--exit", "/shared", "1")
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(s.Watch.Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.probe.liveness",
		Promise: "A container whose liveness probe fails, by HTTP or gRPC, is killed and run again.",
		Source:  probes, Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		handlers := map[string]corev1.ProbeHandler{
			"livez": httpGet("/livez"),
			"grpc":  {GRPC: &corev1.GRPCAction{Port: grpcPort}},
		}
		pods := map[string]*corev1.Pod{}
		for name, handler := range handlers {
			container := suite.ServingContainer()
			container.LivenessProbe = probe(handler)
			container.LivenessProbe.FailureThreshold = 3 // it may ask before the server listens
			pods[name] = suite.Pod(namespace, name, container)
			s.Create(ctx, pods[name])
		}
		for name, pod := range pods {
			gomega.Expect(s.Watch.Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
			turn(ctx, s, pod, name, "off")
		}
		for _, pod := range pods {
			gomega.Expect(s.Watch.Until(ctx, pod, haveRestarted("agent", 1))).To(gomega.Succeed())
			gomega.Expect(s.Watch.Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
			gomega.Expect(statusOf(pod, "agent").LastTerminationState.Terminated).NotTo(gomega.BeNil())
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.probe.liveness-tcp",
		Promise: "A container that its liveness probe cannot connect to is killed and run again, with an event Unhealthy.",
		Source:  probes + "#define-a-tcp-liveness-probe", Judges: judged(),
	}, func(ctx context.Context) {
		container := suite.AgentContainer("pause")
		container.LivenessProbe = probe(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(suite.AgentPort)}})
		pod := suite.Pod(s.Namespace(ctx), "tcp", container)
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveRestarted("agent", 1))).To(gomega.Succeed())
		gomega.Expect(s.Watch.UntilList(ctx, &corev1.EventList{}, haveEvent("Unhealthy"), inNamespace(pod))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.probe.startup",
		Promise: "Until a container's startup probe succeeds, it is neither ready nor judged by its liveness probe.",
		Source:  probes + "#define-startup-probes", Judges: judged(),
	}, func(ctx context.Context) {
		container := suite.AgentContainer("serve", "--start-after=4s")
		container.LivenessProbe = probe(httpGet("/livez"))
		container.StartupProbe = probe(httpGet("/startupz"))
		container.StartupProbe.FailureThreshold = 120
		pod := suite.Pod(s.Namespace(ctx), "slow", container)
		s.Create(ctx, pod)
		gomega.Expect(s.Watch.Until(ctx, pod, haveContainer("agent", "running and not started", func(status corev1.ContainerStatus) bool {
			return status.State.Running != nil && !ptr.Deref(status.Started, true) && !status.Ready
		}))).To(gomega.Succeed())
		gomega.Expect(s.Watch.Until(ctx, pod, expect.BeReady())).To(gomega.Succeed())
		gomega.Expect(statusOf(pod, "agent")).To(gomega.And(
			gomega.HaveField("RestartCount", int32(0)), gomega.HaveField("Started", gomega.HaveValue(gomega.BeTrue()))))
	})
}
