// Package podnetwork makes what a pod sees of names: its resolver's configuration,
// its host name and its hosts file.
package podnetwork

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The limits of resolv.conf that Kubernetes promises to work everywhere.
const (
	maxNameservers   = 3
	maxSearches      = 32
	maxSearchesChars = 2048
	maxSearchLength  = 253
)

// DNS makes resolver configurations.
// See https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/.
type DNS struct {
	// Servers and Domain are the cluster's.
	Servers []net.IP
	Domain  string
	// HostConfig is the host's resolv.conf; empty means that the host has none to share.
	HostConfig string
	// Warn is told of limits that were exceeded and of settings that are missing.
	Warn func(pod *v1.Pod, reason, message string)
}

// For is the resolver configuration of a pod.
func (d *DNS) For(pod *v1.Pod) (*runtimeapi.DNSConfig, error) {
	policy := pod.Spec.DNSPolicy
	switch policy {
	case v1.DNSClusterFirstWithHostNet:
		policy = v1.DNSClusterFirst
	case v1.DNSClusterFirst, "":
		policy = v1.DNSClusterFirst
		if pod.Spec.HostNetwork {
			policy = v1.DNSDefault
		}
	}
	if policy == v1.DNSClusterFirst && len(d.Servers) == 0 {
		d.Warn(pod, "MissingClusterDNS", fmt.Sprintf("pod: %q. kubelet does not have ClusterDNS IP configured and cannot create Pod using %q policy. Falling back to %q policy.",
			fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID), v1.DNSClusterFirst, v1.DNSDefault))
		policy = v1.DNSDefault
	}
	config := &runtimeapi.DNSConfig{}
	if policy != v1.DNSNone {
		host, err := readResolvConf(d.HostConfig)
		if err != nil {
			return nil, err
		}
		config = host
	}
	if policy == v1.DNSClusterFirst {
		config.Servers = nil
		for _, ip := range d.Servers {
			config.Servers = append(config.Servers, ip.String())
		}
		if d.Domain != "" {
			cluster := []string{pod.Namespace + ".svc." + d.Domain, "svc." + d.Domain, d.Domain}
			config.Searches = unique(append(cluster, config.Searches...))
		}
		config.Options = []string{"ndots:5"}
	}
	if policy == v1.DNSDefault && d.HostConfig == "" {
		config.Servers, config.Searches = []string{"127.0.0.1"}, []string{"."}
	}
	if own := pod.Spec.DNSConfig; own != nil {
		config.Servers = unique(append(config.Servers, own.Nameservers...))
		config.Searches = unique(append(config.Searches, own.Searches...))
		config.Options = mergeOptions(config.Options, own.Options)
	}
	d.limit(pod, config)
	return config, nil
}

func (d *DNS) limit(pod *v1.Pod, config *runtimeapi.DNSConfig) {
	if len(config.Servers) > maxNameservers {
		config.Servers = config.Servers[:maxNameservers]
		d.Warn(pod, "DNSConfigForming", "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(config.Servers, " "))
	}
	var kept []string
	length := 0
	for _, search := range config.Searches {
		next := length + len(search)
		if len(kept) > 0 {
			next++
		}
		if len(search) > maxSearchLength {
			continue
		}
		if len(kept) == maxSearches || next > maxSearchesChars {
			break
		}
		kept, length = append(kept, search), next
	}
	if len(kept) < len(config.Searches) {
		config.Searches = kept
		d.Warn(pod, "DNSConfigForming", "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(kept, " "))
	}
}

// mergeOptions lets the pod's own options take the place of those with the same name.
func mergeOptions(base []string, own []v1.PodDNSConfigOption) []string {
	name := func(option string) string { n, _, _ := strings.Cut(option, ":"); return n }
	out := slices.Clone(base)
	for _, o := range own {
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		if i := slices.IndexFunc(out, func(have string) bool { return name(have) == o.Name }); i >= 0 {
			out[i] = text
		} else {
			out = append(out, text)
		}
	}
	return out
}

func unique(in []string) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func readResolvConf(path string) (*runtimeapi.DNSConfig, error) {
	config := &runtimeapi.DNSConfig{}
	if path == "" {
		return config, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("resolvConf: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			config.Servers = append(config.Servers, words[1])
		case "search":
			config.Searches = nil
			for _, domain := range words[1:] {
				if domain != "." {
					domain = strings.TrimSuffix(domain, ".")
				}
				config.Searches = append(config.Searches, domain)
			}
		case "options":
			config.Options = words[1:]
		}
	}
	return config, lines.Err()
}
