package network

import (
	"context"
	"fmt"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func endpointSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "network.endpoints.unready",
		Promise: "A pod that is not Ready gets no traffic from its Service, and gets it again once it is Ready.",
		Source:  "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#types-of-probe", Judges: []string{"kubelet", "kube-controller-manager", "kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		_, service := r.servers(ctx, "web", 2, nil)
		pods := r.PodsOf(ctx, r.namespace, "web")
		sick := &pods[0]
		url := suite.URL(service.Spec.ClusterIP, 80, "/hostname")
		r.routed(ctx, r.clients[0], url)

		r.flip(ctx, sick, "off")
		r.awaitReady(ctx, "web", 1)
		gomega.Eventually(ctx, func() map[string]int { return r.Hammer(ctx, r.clients[0], 30, url).Hosts }).
			WithTimeout(expect.Scaled(expect.Short)). // how long a node may take to programme a change
			Should(gomega.Equal(map[string]int{pods[1].Name: 30}))

		r.flip(ctx, sick, "on")
		r.awaitReady(ctx, "web", 2)
		gomega.Eventually(ctx, func() map[string]int { return r.Hammer(ctx, r.clients[0], 30, url).Hosts }).
			WithTimeout(expect.Scaled(expect.Short)).Should(gomega.HaveLen(2))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.endpoints.publish-not-ready",
		Promise: "With publishNotReadyAddresses, pods that are not Ready are endpoints too.",
		Source:  dnsForPods, Judges: []string{"kube-controller-manager", "kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		container := suite.ServingContainer()
		container.Args = []string{"serve", "--ready-after=1h"}
		pod := suite.OnNode(suite.Pod(r.namespace, "web", container), r.nodes[0])
		r.Create(ctx, pod)
		gomega.Expect(r.Watch.Until(ctx, pod, expect.BeRunning())).To(gomega.Succeed())
		service := suite.Service(r.namespace, "web")
		service.Spec.PublishNotReadyAddresses = true
		r.Create(ctx, service)
		r.awaitReady(ctx, "web", 1)
		r.routed(ctx, r.clients[1], suite.URL(service.Spec.ClusterIP, 80, "/hostname"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.endpoints.terminating",
		Promise: "While all endpoints of a Service are terminating, those that still serve get its traffic.",
		Source:  terminationFlow, Judges: []string{"kube-controller-manager", "kube-proxy", "kubelet"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		container := suite.ServingContainer()
		container.Args = []string{"serve", "--drain=1h"}
		pod := suite.OnNode(suite.Pod(r.namespace, "web", container), r.nodes[0])
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](60)
		r.CreateReady(ctx, pod)
		service := suite.Service(r.namespace, "web")
		r.Create(ctx, service)
		url := suite.URL(service.Spec.ClusterIP, 80, "/hostname")
		r.routed(ctx, r.clients[1], url)

		r.Delete(ctx, pod, metav1.DeletePropagationBackground)
		gomega.Expect(r.Watch.UntilList(ctx, &discoveryv1.EndpointSliceList{}, expect.Satisfy("list the endpoint as serving and terminating", func(list *discoveryv1.EndpointSliceList) string {
			for _, slice := range list.Items {
				for _, e := range slice.Endpoints {
					if ptr.Deref(e.Conditions.Terminating, false) && ptr.Deref(e.Conditions.Serving, false) && !ptr.Deref(e.Conditions.Ready, true) {
						return ""
					}
				}
			}
			return fmt.Sprint(list.Items)
		}), client.InNamespace(r.namespace), client.MatchingLabels{discoveryv1.LabelServiceName: "web"})).To(gomega.Succeed())
		tally := r.Hammer(ctx, r.clients[1], 50, url)
		gomega.Expect(tally).To(gomega.HaveField("Hosts", map[string]int{"web": 50}), "%v", tally.Errors)
		gomega.Expect(r.Client.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(gomega.Succeed())
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.endpoints.manual",
		Promise: "A Service without a selector leads to the endpoints of the EndpointSlices that name it.",
		Source:  services + "#services-without-selectors", Judges: []string{"kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		server := r.server(ctx, "web", r.nodes[0])
		service := suite.Service(r.namespace, "manual")
		service.Spec.Selector = nil
		r.Create(ctx, service, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: r.namespace, Name: "manual-1", Labels: map[string]string{discoveryv1.LabelServiceName: "manual"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](suite.AgentPort), Protocol: ptr.To(corev1.ProtocolTCP)}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{server.Status.PodIP}}},
		})
		r.routed(ctx, r.clients[1], suite.URL(service.Spec.ClusterIP, 80, "/hostname"))
	})
}

// flip turns a pod's readiness on or off.
func (r room) flip(ctx context.Context, pod *corev1.Pod, state string) {
	attempt := r.Connect(ctx, r.clients[0], suite.URL(pod.Status.PodIP, suite.AgentPort, "/switch/readyz/"+state))
	gomega.Expect(attempt.Error).To(gomega.BeEmpty())
}
