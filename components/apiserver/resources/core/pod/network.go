package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// network checks what a pod is called and how it resolves names.
// https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
func (c *checker) network(at *field.Path) {
	s := c.spec
	if s.HostNetwork {
		c.hostNetworkPorts(at.Child("containers"))
	}
	if s.DNSPolicy == "" {
		c.Required(at.Child("dnsPolicy"), "")
	} else {
		problem.OneOf(&c.List, at.Child("dnsPolicy"), s.DNSPolicy,
			corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	}
	c.dnsConfig(at.Child("dnsConfig"))
	if s.Hostname != "" {
		c.label(at.Child("hostname"), s.Hostname)
	}
	if s.Subdomain != "" {
		c.label(at.Child("subdomain"), s.Subdomain)
	}
	if s.HostnameOverride != nil {
		c.hostnameOverride(at.Child("hostnameOverride"), *s.HostnameOverride)
	}
	for i, alias := range s.HostAliases {
		aliasAt := at.Child("hostAliases").Index(i)
		c.Add(validation.IsValidIPForLegacyField(aliasAt.Child("ip"), alias.IP, true, nil)...)
		for j, name := range alias.Hostnames {
			c.subdomain(aliasAt.Child("hostnames").Index(j), name)
		}
	}
}

func (c *checker) hostNetworkPorts(at *field.Path) {
	for i, ctr := range c.spec.Containers {
		for j, p := range ctr.Ports {
			if p.HostPort != p.ContainerPort && (c.meta != nil || p.HostPort != 0) {
				c.Invalid(at.Index(i).Child("ports").Index(j).Child("hostPort"), p.HostPort,
					"must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
}

func (c *checker) dnsConfig(at *field.Path) {
	const mostServers, mostSearches, longestSearchList = 3, 32, 2048
	config := c.spec.DNSConfig
	if c.spec.DNSPolicy == corev1.DNSNone {
		switch {
		case config == nil:
			c.Required(at, "must provide `dnsConfig` when `dnsPolicy` is None")
		case len(config.Nameservers) == 0:
			c.Required(at.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")
			return
		}
	}
	if config == nil {
		return
	}
	serversAt, searchesAt := at.Child("nameservers"), at.Child("searches")
	if len(config.Nameservers) > mostServers {
		c.Invalid(serversAt, config.Nameservers, fmt.Sprintf("must not have more than %v nameservers", mostServers))
	}
	for i, server := range config.Nameservers {
		c.Add(validation.IsValidIPForLegacyField(serversAt.Index(i), server, true, nil)...)
	}
	if len(config.Searches) > mostSearches {
		c.Invalid(searchesAt, config.Searches, fmt.Sprintf("must not have more than %v search paths", mostSearches))
	}
	if len(strings.Join(config.Searches, " ")) > longestSearchList {
		c.Invalid(searchesAt, config.Searches,
			fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", longestSearchList))
	}
	for i, domain := range config.Searches {
		if domain == "." {
			continue
		}
		domain = strings.TrimSuffix(domain, ".")
		for _, m := range validation.IsDNS1123SubdomainWithUnderscore(domain) {
			c.Invalid(searchesAt.Index(i), domain, m)
		}
	}
	for i, option := range config.Options {
		if option.Name == "" {
			c.Required(at.Child("options").Index(i), "must not be empty")
		}
	}
}

func (c *checker) hostnameOverride(at *field.Path, name string) {
	if q := c.spec.SetHostnameAsFQDN; q != nil && *q {
		c.Forbidden(at, "may not be specified when setHostnameAsFQDN is true")
	}
	if c.spec.HostNetwork {
		c.Forbidden(at, "may not be specified when hostNetwork is true")
	}
	const longest = 64
	if len(name) > longest {
		c.Add(field.TooLong(at, "", longest))
	}
	c.subdomain(at, name)
}
