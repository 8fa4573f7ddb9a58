package podnetwork

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// FuzzResolvConf gives the host any resolv.conf, and a pod a domain of its own. What the pod
// gets keeps to what works everywhere.
func FuzzResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 10.0.0.1\nsearch a.example. b.example\noptions ndots:2 rotate\n"), "own.example")
	f.Add([]byte("search .\nnameserver\nnameserver ::1\nnameserver 1\nnameserver 2\nnameserver 3\n"), strings.Repeat("a.", 200))
	path := filepath.Join(f.TempDir(), "resolv.conf")
	f.Fuzz(func(t *testing.T, host []byte, domain string) {
		if err := os.WriteFile(path, host, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, policy := range []v1.DNSPolicy{v1.DNSClusterFirst, v1.DNSDefault, v1.DNSNone} {
			dns := DNS{Servers: []net.IP{net.IPv4(10, 96, 0, 10)}, Domain: "cluster.local", HostConfig: path, Warn: func(*v1.Pod, string, string) {}}
			pod := &v1.Pod{Spec: v1.PodSpec{DNSPolicy: policy, DNSConfig: &v1.PodDNSConfig{
				Nameservers: []string{"10.0.0.9"}, Searches: []string{domain}, Options: []v1.PodDNSConfigOption{{Name: "ndots"}},
			}}}
			config, err := dns.For(pod)
			if err != nil {
				continue
			}
			if servers := len(config.Servers); servers > maxNameservers {
				t.Errorf("%s: %d servers", policy, servers)
			}
			if searches := strings.Join(config.Searches, " "); len(config.Searches) > maxSearches || len(searches) > maxSearchesChars {
				t.Errorf("%s: %d domains of %d characters are searched", policy, len(config.Searches), len(searches))
			}
		}
	})
}
