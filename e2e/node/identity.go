package node

import (
	"context"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
)

const (
	dnsForPods = concepts + "services-networking/dns-pod-service/"
	hostsFile  = tasks + "network/customize-hosts-file-for-pods/"
)

func identitySpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "node.identity.hostname",
		Promise: "A pod's hostname is its name unless it asks for another; with a subdomain it has a name in the cluster's domain.",
		Source:  dnsForPods + "#pod-s-hostname-and-subdomain-fields", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		gomega.Expect(printed(ctx, s, task(namespace, shell("main", "hostname")))).To(gomega.Equal([]string{"task"}))
		named := task(namespace, shell("main", "hostname; grep db.group /etc/hosts"))
		named.Name, named.Spec.Hostname, named.Spec.Subdomain = "named", "db", "group"
		got := printed(ctx, s, named)
		gomega.Expect(got).To(gomega.Equal([]string{
			"db", named.Status.PodIP + "\tdb.group." + namespace + ".svc.cluster.local\tdb",
		}))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.identity.hosts",
		Promise: "A pod's hosts file has the pod itself and its hostAliases.",
		Source:  hostsFile, Judges: judged(),
	}, func(ctx context.Context) {
		pod := task(s.Namespace(ctx), suite.AgentContainer("cat", "/etc/hosts"))
		pod.Spec.HostAliases = []corev1.HostAlias{{IP: "10.1.2.3", Hostnames: []string{"foo.remote", "bar.remote"}}}
		got := printed(ctx, s, pod)
		gomega.Expect(got).To(gomega.ContainElements("127.0.0.1\tlocalhost", pod.Status.PodIP+"\ttask", "10.1.2.3\tfoo.remote\tbar.remote"))
	})

	behaviour.It(behaviour.Behaviour{
		ID:      "node.identity.resolver",
		Promise: "A pod asks the cluster's DNS, searching its namespace first; with dnsPolicy None it has just what dnsConfig says.",
		Source:  dnsForPods + "#pod-s-dns-policy", Judges: judged(),
	}, func(ctx context.Context) {
		namespace := s.Namespace(ctx)
		var dns corev1.Service
		gomega.Expect(s.Client.Get(ctx, clientKey("kube-system", "kube-dns"), &dns)).To(gomega.Succeed())
		first := task(namespace, suite.AgentContainer("cat", "/etc/resolv.conf"))
		first.Spec.DNSConfig = &corev1.PodDNSConfig{Searches: []string{"example.test"}}
		got := printed(ctx, s, first)
		gomega.Expect(got).To(gomega.ContainElement("nameserver " + dns.Spec.ClusterIP))
		gomega.Expect(got).To(gomega.ContainElement(gomega.And(
			gomega.HavePrefix("search "+namespace+".svc.cluster.local svc.cluster.local cluster.local"), gomega.HaveSuffix(" example.test"))))
		gomega.Expect(got).To(gomega.ContainElement("options ndots:5"))
		alone := task(namespace, suite.AgentContainer("cat", "/etc/resolv.conf"))
		alone.Name, alone.Spec.DNSPolicy = "alone", corev1.DNSNone
		alone.Spec.DNSConfig = &corev1.PodDNSConfig{
			Nameservers: []string{"10.9.8.7"}, Searches: []string{"my.test"},
			Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr.To("2")}, {Name: "edns0"}},
		}
		gomega.Expect(printed(ctx, s, alone)).To(gomega.ConsistOf("nameserver 10.9.8.7", "search my.test",
			gomega.Or(gomega.Equal("options ndots:2 edns0"), gomega.Equal("options edns0 ndots:2"))))
	})
}
