package network

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func clusterIPSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.clusterip.spread",
		Promise: "A Service's cluster IP reaches all of its endpoints from every node, each as likely as the others.",
		Source:  virtualIPs, Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		_, service := r.servers(ctx, "web", 4, nil)
		for _, from := range r.clients {
			url := suite.URL(service.Spec.ClusterIP, 80, "/hostname")
			r.routedToAll(ctx, from, url, 4)
			expectEven(r.Hammer(ctx, from, 200, url), 4)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.clusterip.source",
		Promise: "Packets sent to a cluster IP from within the cluster are never source NAT'd.",
		Source:  sourceIP, Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		r.Create(ctx, service)
		for _, from := range r.clients {
			url := suite.URL(service.Spec.ClusterIP, 80, "/client")
			r.routed(ctx, from, url)
			gomega.Expect(hostOf(r.Connect(ctx, from, url).Reply)).To(gomega.Equal(from.Status.PodIP), "from %s", from.Spec.NodeName)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.hairpin",
		Promise: "A pod reaches itself through its own Service.",
		Source:  "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/#a-pod-fails-to-reach-itself-via-the-service-ip", Judges: []string{"kube-proxy", "plumb-network"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		server := r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		r.Create(ctx, service)
		r.routed(ctx, server, suite.URL(service.Spec.ClusterIP, 80, "/hostname"))
		gomega.Expect(r.Hammer(ctx, server, 20, suite.URL(service.Spec.ClusterIP, 80, "/hostname"))).
			To(gomega.HaveField("Hosts", map[string]int{"web": 20}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.affinity.client-ip",
		Promise: "With session affinity ClientIP, connections of one client go to the same pod each time.",
		Source:  virtualIPs + "#session-affinity", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		_, service := r.servers(ctx, "web", 3, func(service *corev1.Service) {
			service.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		})
		for _, from := range r.clients {
			url := suite.URL(service.Spec.ClusterIP, 80, "/hostname")
			r.routed(ctx, from, url)
			tally := r.Hammer(ctx, from, 40, url)
			gomega.Expect(tally.Failed).To(gomega.BeZero(), "%v", tally.Errors)
			// Three endpoints by chance: one in 3^39.
			gomega.Expect(tally.Hosts).To(gomega.HaveLen(1), "the pods that answered %s", from.Name)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.affinity.endpoint-gone",
		Promise: "A client with session affinity is sent to another pod when its own is gone.",
		Source:  virtualIPs + "#session-affinity", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		pods := map[string]*corev1.Pod{}
		for i, node := range r.nodes {
			pod := suite.OnNode(suite.Pod(r.namespace, []string{"web-a", "web-b"}[i], suite.ServingContainer()), node)
			pod.Labels = map[string]string{"app": "web"}
			pods[pod.Name] = pod
			r.CreateReady(ctx, pod)
		}
		service := suite.Service(r.namespace, "web")
		service.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		r.Create(ctx, service)
		r.awaitReady(ctx, "web", 2)
		url := suite.URL(service.Spec.ClusterIP, 80, "/hostname")
		from := r.clients[0]
		r.routed(ctx, from, url)
		first := r.Connect(ctx, from, url).Reply
		gomega.Expect(pods).To(gomega.HaveKey(first))
		r.Delete(ctx, pods[first], metav1.DeletePropagationBackground)
		gomega.Expect(r.Watch.Gone(ctx, pods[first])).To(gomega.Succeed())
		gomega.Eventually(ctx, func() string { return r.Connect(ctx, from, url).Reply }).
			WithTimeout(expect.Scaled(expect.Short)). // how long a node may take to programme a change
			Should(gomega.And(gomega.Not(gomega.BeEmpty()), gomega.Not(gomega.Equal(first))))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.internal-traffic-policy.local",
		Promise: "With internalTrafficPolicy Local, traffic from a node's pods goes only to endpoints on that node, and nowhere where there is none.",
		Source:  virtualIPs + "#internal-traffic-policy", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		service.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
		r.Create(ctx, service)
		url := suite.URL(service.Spec.ClusterIP, 80, "/hostname")
		r.routed(ctx, r.clients[0], url)
		// That the first node is programmed says nothing of the second: a second Service that
		// is made later and answers there does.
		later := suite.Service(r.namespace, "later")
		later.Spec.Selector = map[string]string{"app": "web"}
		r.Create(ctx, later)
		r.routed(ctx, r.clients[1], suite.URL(later.Spec.ClusterIP, 80, "/hostname"))
		gomega.Expect(r.Connect(ctx, r.clients[1], url).Error).NotTo(gomega.BeEmpty(), "the other node's endpoint answered")
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.named-port",
		Promise: "A Service's target port may be a name, which each pod resolves by its own container ports.",
		Source:  services + "#field-spec-ports", Judges: []string{"kube-controller-manager", "kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		for i, listen := range []int32{8080, 9090} {
			container := suite.ServingContainer()
			if listen != suite.AgentPort {
				container.Args = []string{"serve", "--http=:9090"}
				container.Ports[0].ContainerPort = listen
			}
			pod := suite.OnNode(suite.Pod(r.namespace, []string{"web-8080", "web-9090"}[i], container), r.nodes[i])
			pod.Labels = map[string]string{"app": "web"}
			r.CreateReady(ctx, pod)
		}
		service := suite.Service(r.namespace, "web")
		r.Create(ctx, service)
		r.awaitReady(ctx, "web", 2)
		url := suite.URL(service.Spec.ClusterIP, 80, "/hostname")
		r.routedToAll(ctx, r.clients[0], url, 2)
		expectEven(r.Hammer(ctx, r.clients[0], 100, url), 2)
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.deleted",
		Promise: "After a Service is deleted its addresses and node port answer nobody.",
		Source:  services, Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		outside, r := s.FromOutside(ctx), newRoom(ctx, s)
		r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		asNodePort(service)
		r.Create(ctx, service)
		url := suite.URL(service.Spec.ClusterIP, 80, "/hostname")
		for _, from := range r.clients {
			r.routed(ctx, from, url)
		}
		r.Delete(ctx, service, metav1.DeletePropagationBackground)
		for _, from := range r.clients {
			gomega.Eventually(ctx, func() string { return r.Connect(ctx, from, url).Error }).
				WithTimeout(expect.Scaled(expect.Short)).ShouldNot(gomega.BeEmpty(), "the cluster IP from %s", from.Spec.NodeName)
		}
		for _, node := range r.nodes {
			gomega.Eventually(ctx, func() error {
				_, err := outside.Get(ctx, suite.URL(r.NodeAddress(ctx, node), nodePort(service), "/hostname"))
				return err
			}).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.HaveOccurred(), "the node port of %s", node)
		}
	})

	ginkgo.Describe("without endpoints", func() {
		behaviour.It(behaviour.Behaviour{
			ID:      "network.service.no-endpoints.refused",
			Promise: "A connection to a Service without endpoints is refused at once, at its cluster IP and at its node port.",
			Source:  virtualIPs, Judges: []string{"kube-proxy"},
		}, func(ctx context.Context) {
			r := newRoom(ctx, s)
			service := suite.Service(r.namespace, "empty")
			asNodePort(service)
			r.Create(ctx, service)
			for _, from := range r.clients {
				for _, url := range []string{
					suite.URL(service.Spec.ClusterIP, 80, "/"),
					suite.URL(r.NodeAddress(ctx, from.Spec.NodeName), nodePort(service), "/"),
				} {
					gomega.Eventually(ctx, func() string { return r.Connect(ctx, from, url, "--timeout=1s").Error }).
						WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal("refused"), "%s from %s", url, from.Spec.NodeName)
				}
			}
		})
	})
}
