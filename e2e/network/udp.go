package network

import (
	"context"
	"strings"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// agentEchoPort is where the agent echoes TCP and UDP.
const agentEchoPort = 8081

func udpSpecs(s *suite.Suite) {
	asUDP := func(service *corev1.Service) {
		service.Spec.Ports = []corev1.ServicePort{port("echo", 53, corev1.ProtocolUDP, agentEchoPort)}
	}

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.udp",
		Promise: "A Service carries UDP, also beside TCP on a port of the same number.",
		Source:  "https://kubernetes.io/docs/reference/networking/service-protocols/", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		service.Spec.Ports = []corev1.ServicePort{
			port("udp", 53, corev1.ProtocolUDP, agentEchoPort), port("tcp", 53, corev1.ProtocolTCP, agentEchoPort),
		}
		r.Create(ctx, service)
		for _, from := range r.clients {
			for _, scheme := range []string{"udp", "tcp"} {
				url := scheme + "://" + service.Spec.ClusterIP + ":53"
				r.routed(ctx, from, url)
				gomega.Expect(r.Connect(ctx, from, url).Reply).To(gomega.HavePrefix("web "), "%s from %s", url, from.Spec.NodeName)
			}
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.udp.stale-flow",
		Promise: "A UDP client that keeps its port is sent to a new endpoint when the one it spoke to is gone.",
		Source:  "https://github.com/kubernetes/kubernetes/issues/19029", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		serve := func(name, node string) *corev1.Pod {
			pod := suite.OnNode(suite.Pod(r.namespace, name, suite.ServingContainer()), node)
			pod.Labels = map[string]string{"app": "web"}
			r.CreateReady(ctx, pod)
			return pod
		}
		first := serve("first", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		asUDP(service)
		r.Create(ctx, service)
		from, url := r.clients[1], "udp://"+service.Spec.ClusterIP+":53"
		who := func() string {
			reply, _, _ := strings.Cut(r.Connect(ctx, from, url, "--source-port=40404", "--timeout=300ms").Reply, " ")
			return reply
		}
		gomega.Eventually(ctx, who).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal("first"))
		serve("second", r.nodes[1])
		r.Delete(ctx, first, metav1.DeletePropagationBackground)
		gomega.Expect(r.Watch.Gone(ctx, first)).To(gomega.Succeed())
		gomega.Eventually(ctx, who).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal("second"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.udp.first-endpoint",
		Promise: "A UDP client that asked in vain while a Service had no endpoints is answered from the same port once it has one.",
		Source:  "https://github.com/kubernetes/kubernetes/issues/48370", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		service := suite.Service(r.namespace, "web")
		asUDP(service)
		r.Create(ctx, service)
		from, url := r.clients[0], "udp://"+service.Spec.ClusterIP+":53"
		ask := func() suite.Attempt { return r.Connect(ctx, from, url, "--source-port=40405", "--timeout=300ms") }
		gomega.Expect(ask().Error).NotTo(gomega.BeEmpty())
		r.server(ctx, "web", r.nodes[1])
		gomega.Eventually(ctx, ask).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.HaveField("Reply", gomega.HavePrefix("web ")))
	})
}
