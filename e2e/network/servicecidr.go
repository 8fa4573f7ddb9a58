package network

import (
	"context"
	"fmt"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func serviceCIDRSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "network.service-cidr",
		Promise: "A ServiceCIDR adds addresses for Services that pods and nodes reach, and once deleted goes only when no Service has one of them.",
		Source:  "https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/", Judges: []string{"kube-apiserver", "kube-controller-manager", "kube-proxy", "plumb-network"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		// A range for documentation, RFC 5737: nothing else in the cluster has it.
		cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"203.0.113.0/28"}}}
		r.Create(ctx, cidr)
		ginkgo.DeferCleanup(func(ctx context.Context) {
			gomega.Expect(client.IgnoreNotFound(s.Client.Delete(ctx, cidr))).To(gomega.Succeed())
		})
		gomega.Expect(s.Watch.Until(ctx, cidr, expect.HaveCondition(networkingv1.ServiceCIDRConditionReady, metav1.ConditionTrue))).To(gomega.Succeed())

		r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "web")
		service.Spec.ClusterIP = "203.0.113.10"
		// The API server's allocator hears of the range by its own watch.
		gomega.Eventually(ctx, func() error { return s.Client.Create(ctx, service) }).WithTimeout(expect.Scaled(expect.Short)).Should(gomega.Succeed())
		onNode := suite.OnNode(suite.Pod(r.namespace, "on-node", suite.AgentContainer("pause")), r.nodes[1])
		onNode.Spec.HostNetwork = true
		s.CreateReady(ctx, onNode)
		url := suite.URL(service.Spec.ClusterIP, 80, "/hostname")
		for _, from := range append(r.clients, onNode) {
			r.routed(ctx, from, url)
			gomega.Expect(r.Connect(ctx, from, url).Reply).To(gomega.Equal("web"))
		}

		s.Delete(ctx, cidr, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Until(ctx, cidr, expect.Satisfy("say what it waits for", func(cidr *networkingv1.ServiceCIDR) string {
			ready := meta.FindStatusCondition(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
			if ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != networkingv1.ServiceCIDRReasonTerminating {
				return fmt.Sprintf("%+v", ready)
			}
			return ""
		}))).To(gomega.Succeed())
		gomega.Expect(r.Connect(ctx, r.clients[0], url).Reply).To(gomega.Equal("web"))
		s.Delete(ctx, service, metav1.DeletePropagationBackground)
		gomega.Expect(s.Watch.Within(expect.Long).Gone(ctx, cidr)).To(gomega.Succeed())
	})
}
