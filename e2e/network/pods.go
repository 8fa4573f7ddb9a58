package network

import (
	"context"

	"github.com/onsi/gomega"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
)

func podSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "network.pods.flat",
		Promise: "Pods reach pods on every node at their own addresses, without address translation.",
		Source:  networkModel, Judges: []string{"kubelet", "plumb-network"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		for i, node := range r.nodes {
			server := r.server(ctx, "server-"+r.clients[i].Name, node)
			for _, from := range r.clients {
				attempt := r.Connect(ctx, from, suite.URL(server.Status.PodIP, suite.AgentPort, "/client"))
				gomega.Expect(attempt.Error).To(gomega.BeEmpty())
				gomega.Expect(hostOf(attempt.Reply)).To(gomega.Equal(from.Status.PodIP),
					"the server on %s sees the address of %s, which is on %s", node, from.Name, from.Spec.NodeName)
			}
		}
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.pods.from-node",
		Promise: "Agents on a node can reach the pods on that node, and host-network pods share the node's addresses.",
		Source:  networkModel, Judges: []string{"kubelet", "plumb-network"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		server := r.server(ctx, "server", r.nodes[0])
		onHost := suite.OnNode(suite.Pod(r.namespace, "on-host", suite.AgentContainer("pause")), r.nodes[0])
		onHost.Spec.HostNetwork = true
		r.CreateReady(ctx, onHost)
		gomega.Expect(onHost.Status.PodIP).To(gomega.Equal(r.NodeAddress(ctx, r.nodes[0])))
		attempt := r.Connect(ctx, onHost, suite.URL(server.Status.PodIP, suite.AgentPort, "/hostname"))
		gomega.Expect(attempt).To(gomega.HaveField("Reply", "server"))
	})
}
