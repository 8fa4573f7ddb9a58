// Package network holds the specs of pod networking, Services and DNS.
package network

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// Sources of promises.
const (
	networkModel    = "https://kubernetes.io/docs/concepts/services-networking/#the-kubernetes-network-model"
	services        = "https://kubernetes.io/docs/concepts/services-networking/service/"
	virtualIPs      = "https://kubernetes.io/docs/reference/networking/virtual-ips/"
	dnsForPods      = "https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/"
	sourceIP        = "https://kubernetes.io/docs/tutorials/services/source-ip/"
	terminationFlow = "https://kubernetes.io/docs/tutorials/services/pods-and-endpoint-termination-flow/"
)

// Specs adds the specs to the tree.
func Specs(s *suite.Suite) {
	ginkgo.Describe("network", func() {
		podSpecs(s)
		clusterIPSpecs(s)
		externalSpecs(s)
		endpointSpecs(s)
		udpSpecs(s)
		hostPortSpecs(s)
		serviceCIDRSpecs(s)
		dnsSpecs(s)
	})
}

// room is a spec's namespace with a client pod on each of two nodes.
type room struct {
	*suite.Suite
	namespace string
	nodes     []string
	clients   []*corev1.Pod
}

func newRoom(ctx context.Context, s *suite.Suite) room {
	ginkgo.GinkgoHelper()
	r := room{Suite: s, namespace: s.Namespace(ctx), nodes: s.Nodes(ctx, 2)[:2]}
	for i, node := range r.nodes {
		pod := suite.Pod(r.namespace, fmt.Sprintf("client-%d", i), suite.AgentContainer("pause"))
		r.clients = append(r.clients, suite.OnNode(pod, node))
	}
	s.CreateReady(ctx, r.clients...)
	return r
}

// servers runs a Deployment of serving pods spread over the nodes, with a Service of the
// same name, and waits until every endpoint is listed as ready.
func (r room) servers(ctx context.Context, name string, replicas int32, change func(*corev1.Service)) (*appsv1.Deployment, *corev1.Service) {
	ginkgo.GinkgoHelper()
	deployment := suite.Deployment(r.namespace, name, replicas, suite.ServingContainer())
	deployment.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: deployment.Spec.Selector,
	}}
	service := suite.Service(r.namespace, name)
	if change != nil {
		change(service)
	}
	r.Create(ctx, service)
	r.CreateRolledOut(ctx, deployment)
	r.awaitReady(ctx, name, int(replicas))
	return deployment, service
}

// server runs one serving pod, labelled app=name, on a node.
func (r room) server(ctx context.Context, name, node string) *corev1.Pod {
	ginkgo.GinkgoHelper()
	pod := suite.OnNode(suite.Pod(r.namespace, name, suite.ServingContainer()), node)
	r.CreateReady(ctx, pod)
	return pod
}

// awaitReady waits until the slices of a Service list so many ready endpoints.
func (r room) awaitReady(ctx context.Context, service string, count int) {
	ginkgo.GinkgoHelper()
	matcher := expect.Satisfy(fmt.Sprintf("list %d ready endpoints", count), func(list *discoveryv1.EndpointSliceList) string {
		ready := 0
		for _, slice := range list.Items {
			for _, endpoint := range slice.Endpoints {
				if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
					ready++
				}
			}
		}
		if ready != count {
			return fmt.Sprintf("%d are ready", ready)
		}
		return ""
	})
	gomega.Expect(r.Watch.UntilList(ctx, &discoveryv1.EndpointSliceList{}, matcher,
		client.InNamespace(r.namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service})).To(gomega.Succeed())
}

// routed waits until a client is answered at a URL: endpoints are listed before each node's
// packet filter knows them, and nothing in the API says when it does.
func (r room) routed(ctx context.Context, from *corev1.Pod, url string) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func() string { return r.Connect(ctx, from, url).Error }).
		WithTimeout(expect.Scaled(expect.Short)).Should(gomega.BeEmpty(), "%s answers %s", url, from.Name)
}

// routedToAll waits until a client was answered by so many hosts: a node's packet filter may
// learn of one endpoint later than of another.
func (r room) routedToAll(ctx context.Context, from *corev1.Pod, url string, hosts int) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func() map[string]int { return r.Hammer(ctx, from, 20, url).Hosts }).
		WithTimeout(expect.Scaled(expect.Short)).Should(gomega.HaveLen(hosts), "%s reaches all behind %s", from.Name, url)
}

// evenly is true unless the counts are so uneven that a fair choice would give them less
// than once in a million runs: Pearson's chi-squared test, by the Wilson-Hilferty
// approximation.
func evenly(counts map[string]int, kinds int) (bool, string) {
	total := 0
	for _, n := range counts {
		total += n
	}
	mean := float64(total) / float64(kinds)
	statistic := float64(kinds-len(counts)) * mean // those never chosen
	for _, n := range counts {
		statistic += (float64(n) - mean) * (float64(n) - mean) / mean
	}
	freedom := float64(kinds - 1)
	const quantile = 4.753 // of the normal distribution, at 1 - 1e-6
	limit := freedom * math.Pow(1-2/(9*freedom)+quantile*math.Sqrt(2/(9*freedom)), 3)
	return statistic <= limit && len(counts) <= kinds, fmt.Sprintf("chi-squared %.1f, at most %.1f: %v", statistic, limit, counts)
}

func expectEven(tally suite.Tally, kinds int) {
	ginkgo.GinkgoHelper()
	gomega.Expect(tally.Failed).To(gomega.BeZero(), "failed requests: %v", tally.Errors)
	ok, why := evenly(tally.Hosts, kinds)
	gomega.Expect(ok).To(gomega.BeTrue(), why)
}

func hostOf(address string) string {
	return address[:strings.LastIndex(address, ":")]
}

func nodePort(service *corev1.Service) int32 { return service.Spec.Ports[0].NodePort }

func asNodePort(service *corev1.Service) { service.Spec.Type = corev1.ServiceTypeNodePort }

func keyOf(namespace, name string) client.ObjectKey {
	return client.ObjectKey{Namespace: namespace, Name: name}
}

func port(name string, number int32, protocol corev1.Protocol, target int) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: number, Protocol: protocol, TargetPort: intstr.FromInt(target)}
}
