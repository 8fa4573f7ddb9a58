package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}},
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

// at makes an endpoint from a word: r(eady), d(raining) or n(either), its node, and hints.
func at(address string, state byte, node string, hints ...string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{
		Addresses: []string{address}, NodeName: &node,
		Conditions: discoveryv1.EndpointConditions{
			Ready: ptr.To(state == 'r'), Serving: ptr.To(state != 'n'), Terminating: ptr.To(state == 'd'),
		},
	}
	for _, zone := range hints {
		if e.Hints == nil {
			e.Hints = &discoveryv1.EndpointHints{}
		}
		e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: zone})
	}
	return e
}

func slice(endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}},
		Endpoints:   endpoints,
	}
}

func localPolicy(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func TestEndpointsOfAPort(t *testing.T) {
	const a, b = "10.88.1.2:8080", "10.88.2.2:8080"
	for _, test := range []struct {
		name           string
		service        *corev1.Service
		endpoints      []discoveryv1.Endpoint
		cluster, local string
		anywhere       bool
	}{
		{"ready ones of all nodes", service(nil), []discoveryv1.Endpoint{at("10.88.2.2", 'r', "far"), at("10.88.1.2", 'r', "here")}, "[" + a + " " + b + "]", "[]", true},
		{"unready ones are left out", service(nil), []discoveryv1.Endpoint{at("10.88.1.2", 'n', "here"), at("10.88.2.2", 'r', "far")}, "[" + b + "]", "[]", true},
		{"draining ones only if none is ready", service(nil), []discoveryv1.Endpoint{at("10.88.1.2", 'd', "here"), at("10.88.2.2", 'r', "far")}, "[" + b + "]", "[]", true},
		{"draining ones as the last resort", service(nil), []discoveryv1.Endpoint{at("10.88.1.2", 'd', "here"), at("10.88.2.2", 'n', "far")}, "[" + a + "]", "[]", true},
		{"policy Local keeps to the node", service(localPolicy), []discoveryv1.Endpoint{at("10.88.1.2", 'r', "here"), at("10.88.2.2", 'r', "far")}, "[" + a + " " + b + "]", "[" + a + "]", true},
		{"policy Local without a local endpoint", service(localPolicy), []discoveryv1.Endpoint{at("10.88.2.2", 'r', "far")}, "[" + b + "]", "[]", true},
		{"policy Local drains locally while others are ready", service(localPolicy), []discoveryv1.Endpoint{at("10.88.1.2", 'd', "here"), at("10.88.2.2", 'r', "far")}, "[" + b + "]", "[" + a + "]", true},
		{"none at all", service(nil), nil, "[]", "[]", false},
		{"hints for this zone", service(nil), []discoveryv1.Endpoint{at("10.88.1.2", 'r', "here", "z1"), at("10.88.2.2", 'r', "far", "z2")}, "[" + a + "]", "[]", true},
		{"hints do not count while one lacks them", service(nil), []discoveryv1.Endpoint{at("10.88.1.2", 'r', "here", "z1"), at("10.88.2.2", 'r', "far")}, "[" + a + " " + b + "]", "[]", true},
		{"hints for other zones only", service(nil), []discoveryv1.Endpoint{at("10.88.1.2", 'r', "here", "z2"), at("10.88.2.2", 'r', "far", "z2")}, "[" + a + " " + b + "]", "[]", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			ports := Service(test.service, []*discoveryv1.EndpointSlice{slice(test.endpoints...)}, Node{Name: "here", Zone: "z1"}, corev1.IPv4Protocol)
			if len(ports) != 1 {
				t.Fatalf("%d ports planned, want 1", len(ports))
			}
			if got := fmt.Sprint(ports[0].Cluster); got != test.cluster {
				t.Errorf("cluster %s, want %s", got, test.cluster)
			}
			if got := fmt.Sprint(ports[0].Local); got != test.local {
				t.Errorf("local %s, want %s", got, test.local)
			}
			if ports[0].Anywhere != test.anywhere {
				t.Errorf("anywhere %v, want %v", ports[0].Anywhere, test.anywhere)
			}
		})
	}
}

func TestServicesThatAreNotProxied(t *testing.T) {
	for name, change := range map[string]func(*corev1.Service){
		"headless":     func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} },
		"ExternalName": func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName },
		"another proxy's": func(s *corev1.Service) {
			s.Labels = map[string]string{proxyNameLabel: "theirs"}
		},
		"other family": func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "fd00::7", []string{"fd00::7"}
		},
	} {
		if ports := Service(service(change), nil, Node{}, corev1.IPv4Protocol); len(ports) != 0 {
			t.Errorf("%s: planned %v", name, ports)
		}
	}
}

func TestAnAddressInTwoSlicesCountsOnce(t *testing.T) {
	ports := Service(service(nil), []*discoveryv1.EndpointSlice{
		slice(at("10.88.1.2", 'n', "here")), slice(at("10.88.1.2", 'r', "here")),
	}, Node{Name: "here"}, corev1.IPv4Protocol)
	if got := fmt.Sprint(ports[0].Cluster); got != "[10.88.1.2:8080]" {
		t.Errorf("cluster %s, want the address once, ready", got)
	}
}

// FuzzService plans for anything that the API may hold of a Service and its endpoints, or
// that another API server may have let through.
func FuzzService(f *testing.F) {
	f.Add([]byte(`{"spec":{"clusterIPs":["10.96.0.7"],"externalIPs":["203.0.113.1"],"loadBalancerSourceRanges":["10.0.0.0/8"],"ports":[{"port":80,"nodePort":30080}]}}`),
		[]byte(`{"addressType":"IPv4","ports":[{"port":8080}],"endpoints":[{"addresses":["10.88.1.2"],"conditions":{"ready":true}}]}`))
	f.Add([]byte(`{"spec":{"type":"LoadBalancer","clusterIP":"None","clusterIPs":[""],"ports":[{"port":-1}],"sessionAffinity":"ClientIP"},"status":{"loadBalancer":{"ingress":[{"ip":"::ffff:1.2.3.4"}]}}}`),
		[]byte(`{"addressType":"FQDN","ports":[{},{"name":"x"}],"endpoints":[{"addresses":[]},{"addresses":["fe80::1%eth0"]}]}`))
	f.Fuzz(func(t *testing.T, service, endpoints []byte) {
		var s corev1.Service
		var e discoveryv1.EndpointSlice
		if json.Unmarshal(service, &s) != nil || json.Unmarshal(endpoints, &e) != nil {
			return
		}
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			for _, port := range Service(&s, []*discoveryv1.EndpointSlice{&e}, Node{Name: "node-1"}, family) {
				addresses := slices.Concat(port.ClusterIPs, port.ExternalIPs, port.LoadBalancerIPs)
				for _, endpoint := range slices.Concat(port.Cluster, port.Local, port.OnNode) {
					addresses = append(addresses, endpoint.Addr())
				}
				for _, address := range addresses {
					if address.Is4() != (family == corev1.IPv4Protocol) || address.Zone() != "" {
						t.Errorf("%s is planned for in %s", address, family)
					}
				}
				for _, prefix := range port.SourceRanges {
					if prefix.Addr().Is4() != (family == corev1.IPv4Protocol) || prefix != prefix.Masked() {
						t.Errorf("%s is planned for in %s", prefix, family)
					}
				}
				if port.Affinity < 0 {
					t.Errorf("a client stays for %s", port.Affinity)
				}
			}
		}
	})
}
