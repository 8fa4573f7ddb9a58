package network

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func externalSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.nodeport.spread",
		Promise: "A node port of any node reaches all of a Service's endpoints from outside, each as likely as the others.",
		Source:  services + "#type-nodeport", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		outside, r := s.FromOutside(ctx), newRoom(ctx, s)
		_, service := r.servers(ctx, "web", 3, asNodePort)
		gomega.Expect(nodePort(service)).To(gomega.BeNumerically(">=", 30000))
		for _, node := range r.nodes {
			url := suite.URL(r.NodeAddress(ctx, node), nodePort(service), "/hostname")
			// No API tells when a node's proxy has come to know the last endpoint: until then the others get its share.
			met := map[string]bool{}
			gomega.Eventually(ctx, func() (int, error) {
				host, err := outside.Get(ctx, url)
				if err == nil {
					met[host] = true
				}
				return len(met), err
			}).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal(3), url)
			hosts := map[string]int{}
			for range 150 {
				host, err := outside.Get(ctx, url)
				gomega.Expect(err).NotTo(gomega.HaveOccurred())
				hosts[host]++
			}
			ok, why := evenly(hosts, 3)
			gomega.Expect(ok).To(gomega.BeTrue(), why)
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.nodeport.from-pod",
		Promise: "A pod reaches a node port on its own node and on others.",
		Source:  services + "#type-nodeport", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		asNodePort(service)
		r.Create(ctx, service)
		for _, from := range r.clients {
			for _, node := range r.nodes {
				r.routed(ctx, from, suite.URL(r.NodeAddress(ctx, node), nodePort(service), "/hostname"))
			}
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.external-traffic-policy.local",
		Promise: "With externalTrafficPolicy Local, a pod sees the address of the client outside, and nodes without an endpoint drop the traffic.",
		Source:  sourceIP + "#source-ip-for-services-with-type-nodeport", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		outside, r := s.FromOutside(ctx), newRoom(ctx, s)
		r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		asNodePort(service)
		service.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		r.Create(ctx, service)

		// Who the client is, a server on the node's own network sees without any Service.
		container := suite.ServingContainer()
		container.Args = []string{"serve", "--http=:18080", "--tcp=", "--udp=", "--grpc="}
		container.Ports[0].ContainerPort = 18080
		witness := suite.OnNode(suite.Pod(r.namespace, "witness", container), r.nodes[0])
		witness.Spec.HostNetwork = true
		r.CreateReady(ctx, witness)
		here := r.NodeAddress(ctx, r.nodes[0])
		client, err := outside.Get(ctx, suite.URL(here, 18080, "/client"))
		gomega.Expect(err).NotTo(gomega.HaveOccurred())

		url := suite.URL(here, nodePort(service), "/client")
		answers(ctx, outside, url)
		seen, err := outside.Get(ctx, url)
		gomega.Expect(err).NotTo(gomega.HaveOccurred())
		gomega.Expect(hostOf(seen)).To(gomega.Equal(hostOf(client)), "the address the pod sees")

		// The second node is programmed once it serves a Service that was made later.
		later := suite.Service(r.namespace, "later")
		asNodePort(later)
		later.Spec.Selector = map[string]string{"app": "web"}
		r.Create(ctx, later)
		there := r.NodeAddress(ctx, r.nodes[1])
		answers(ctx, outside, suite.URL(there, nodePort(later), "/client"))
		_, err = outside.Get(ctx, suite.URL(there, nodePort(service), "/client"))
		gomega.Expect(err).To(gomega.HaveOccurred(), "a node without an endpoint answered")
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.health-check-node-port",
		Promise: "A LoadBalancer Service with externalTrafficPolicy Local has a health check node port, which tells of each node whether it has an endpoint.",
		Source:  "https://kubernetes.io/docs/tasks/access-application-cluster/create-external-load-balancer/#preserving-the-client-source-ip", Judges: []string{"kube-proxy", "kube-apiserver"},
	}, func(ctx context.Context) {
		outside, r := s.FromOutside(ctx), newRoom(ctx, s)
		r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		service.Spec.Type = corev1.ServiceTypeLoadBalancer
		service.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		r.Create(ctx, service)
		gomega.Expect(service.Spec.HealthCheckNodePort).NotTo(gomega.BeZero())
		for i, want := range []int{http.StatusOK, http.StatusServiceUnavailable} {
			url := suite.URL(r.NodeAddress(ctx, r.nodes[i]), service.Spec.HealthCheckNodePort, "/")
			var body string
			gomega.Eventually(ctx, func() (code int) {
				code, body, _ = outside.GetStatus(ctx, url)
				return code
			}).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal(want), url)
			var answer struct{ LocalEndpoints int }
			gomega.Expect(json.Unmarshal([]byte(body), &answer)).To(gomega.Succeed(), body)
			gomega.Expect(answer.LocalEndpoints).To(gomega.Equal(1 - i))
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.service.external-ips",
		Promise: "Traffic that reaches a node with an external IP of a Service as its target and the Service's port is routed to the Service's endpoints.",
		Source:  services + "#external-ips", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		service.Spec.ExternalIPs = []string{"192.0.2.80"} // of the range for documentation, RFC 5737
		r.Create(ctx, service)
		for _, from := range r.clients {
			r.routed(ctx, from, suite.URL("192.0.2.80", 80, "/hostname"))
		}
	})
}

// answers waits until a URL answers from outside: see routed.
func answers(ctx context.Context, outside suite.Outside, url string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func() error { _, err := outside.Get(ctx, url); return err }).
		WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Succeed(), url)
}
