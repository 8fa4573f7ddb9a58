package network

import (
	"context"
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

// resolve looks a name up inside a pod.
func (r room) resolve(ctx context.Context, from *corev1.Pod, kind, name string) ([]string, error) {
	output, err := r.Exec(ctx, from, "/agent", "resolve", "--type", kind, name)
	return strings.Fields(strings.ReplaceAll(output, " ", "|")), err
}

// resolves waits until a name has records: CoreDNS learns of Services and endpoints by a
// watch of its own, and nothing in the API says when it has.
func (r room) resolves(ctx context.Context, from *corev1.Pod, kind, name string, want any) {
	ginkgo.GinkgoHelper()
	gomega.Eventually(ctx, func() ([]string, error) { return r.resolve(ctx, from, kind, name) }).
		WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.ConsistOf(want), "%s records of %s", kind, name)
}

func dnsSpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "network.dns.service",
		Promise: "A Service's name resolves to its cluster IP, short within its namespace and in full from everywhere.",
		Source:  dnsForPods + "#services", Judges: []string{"kubelet", "kube-proxy"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		service := suite.Service(r.namespace, "web")
		r.Create(ctx, service)
		for _, name := range []string{"web", "web." + r.namespace, "web." + r.namespace + ".svc", "web." + r.namespace + ".svc.cluster.local."} {
			r.resolves(ctx, r.clients[0], "A", name, []string{service.Spec.ClusterIP})
		}
		r.resolves(ctx, r.clients[1], "A", "kubernetes.default.svc.cluster.local.", []string{r.clusterIPOf(ctx, "default", "kubernetes")})
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.dns.headless",
		Promise: "A headless Service's name resolves to the addresses of its ready pods, and each pod with a hostname has a name of its own.",
		Source:  dnsForPods + "#services", Judges: []string{"kube-controller-manager", "kubelet"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		var addresses []string
		for i, node := range r.nodes {
			pod := suite.OnNode(suite.Pod(r.namespace, fmt.Sprintf("db-%d", i), suite.ServingContainer()), node)
			pod.Labels = map[string]string{"app": "db"}
			pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, "db"
			r.CreateReady(ctx, pod)
			addresses = append(addresses, pod.Status.PodIP)
		}
		service := suite.Service(r.namespace, "db")
		service.Spec.ClusterIP = corev1.ClusterIPNone
		r.Create(ctx, service)
		domain := "db." + r.namespace + ".svc.cluster.local."
		r.resolves(ctx, r.clients[0], "A", domain, addresses)
		r.resolves(ctx, r.clients[0], "A", "db-1."+domain, addresses[1:])
		r.resolves(ctx, r.clients[0], "SRV", "_http._tcp."+domain, []any{
			gomega.HaveSuffix("|8080|db-0." + domain), gomega.HaveSuffix("|8080|db-1." + domain),
		})
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.dns.srv",
		Promise: "Each named port of a Service has an SRV record with the port's number.",
		Source:  dnsForPods + "#srv-records", Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		r.Create(ctx, suite.Service(r.namespace, "web"))
		domain := "web." + r.namespace + ".svc.cluster.local."
		r.resolves(ctx, r.clients[0], "SRV", "_http._tcp."+domain, []string{"0|100|80|" + domain})
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "network.dns.external-name",
		Promise: "A Service of type ExternalName resolves to a CNAME record with its external name.",
		Source:  services + "#externalname", Judges: []string{"kube-apiserver"},
	}, func(ctx context.Context) {
		r := newRoom(ctx, s)
		target := suite.Service(r.namespace, "web")
		alias := suite.Service(r.namespace, "alias")
		alias.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web." + r.namespace + ".svc.cluster.local"}
		r.Create(ctx, target, alias)
		r.resolves(ctx, r.clients[0], "CNAME", "alias."+r.namespace+".svc.cluster.local.", []string{alias.Spec.ExternalName + "."})
	})
}

func (r room) clusterIPOf(ctx context.Context, namespace, name string) string {
	var service corev1.Service
	gomega.Expect(r.Client.Get(ctx, keyOf(namespace, name), &service)).To(gomega.Succeed())
	return service.Spec.ClusterIP
}
