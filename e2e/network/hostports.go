package network

import (
	"context"
	"fmt"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func hostPortSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "network.pods.host-port",
		Promise: "A container's hostPort is a port of its pod's node: from other nodes, from pods beside it and from the node itself, on the hostIP alone if one is given, for as long as the pod is there.",
		Source:  "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports", Judges: []string{"kubelet", "plumb-network"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		const port, localPort = 54330, 54331
		asking := func(name, hostIP string, hostPort int32) *corev1.Pod {
			container := suite.ServingContainer()
			container.Ports[0].HostPort, container.Ports[0].HostIP = hostPort, hostIP
			return suite.OnNode(suite.Pod(r.namespace, name, container), r.nodes[0])
		}
		everywhere, local := asking("everywhere", "", port), asking("local", "127.0.0.1", localPort)
		onHost := suite.OnNode(suite.Pod(r.namespace, "on-host", suite.AgentContainer("pause")), r.nodes[0])
		onHost.Spec.HostNetwork = true
		r.CreateReady(ctx, everywhere, local, onHost)

		address := r.NodeAddress(ctx, r.nodes[0])
		for _, from := range append(r.clients, everywhere, onHost) {
			url := suite.URL(address, port, "/hostname")
			r.routed(ctx, from, url)
			gomega.Expect(r.Connect(ctx, from, url).Reply).To(gomega.Equal("everywhere"), "from %s", from.Name)
		}
		url := suite.URL("127.0.0.1", localPort, "/hostname")
		r.routed(ctx, onHost, url)
		gomega.Expect(r.Connect(ctx, onHost, url).Reply).To(gomega.Equal("local"))
		gomega.Expect(r.Connect(ctx, r.clients[1], suite.URL(address, localPort, "/hostname")).Error).To(gomega.Equal("refused"))

		r.Delete(ctx, everywhere, metav1.DeletePropagationBackground)
		gomega.Expect(r.Watch.Gone(ctx, everywhere)).To(gomega.Succeed())
		gomega.Eventually(ctx, func() string { return r.Connect(ctx, r.clients[1], suite.URL(address, port, "/hostname")).Error }).
			WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Equal("refused"), fmt.Sprintf("port %d of a node whose pod is gone", port))
	})
}
