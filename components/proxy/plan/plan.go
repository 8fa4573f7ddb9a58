// Package plan decides where a node sends a Service's traffic, as a value that any
// packet filter can be programmed from. It is pure: Services, EndpointSlices and
// what the node knows of itself go in, one Port for each port of a Service comes out.
//
// The rules are those of
// https://kubernetes.io/docs/reference/networking/virtual-ips/.
package plan

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is what a node knows of itself.
type Node struct {
	Name string
	// Zone is the label topology.kubernetes.io/zone.
	Zone string
}

// PortName identifies one port of one Service.
type PortName struct {
	Service types.NamespacedName
	// Port is the port's name in the Service; empty where it has only one.
	Port     string
	Protocol corev1.Protocol
}

// Port is all that a node must know to serve one port of a Service.
type Port struct {
	Name PortName
	// ClusterIPs, ExternalIPs and LoadBalancerIPs are where the Service is reached at
	// Number; of one address family.
	ClusterIPs      []netip.Addr
	ExternalIPs     []netip.Addr
	LoadBalancerIPs []netip.Addr
	Number          uint16
	// NodePort is open on every address of the node; 0 for none.
	NodePort uint16
	// SourceRanges are who may use LoadBalancerIPs; empty means everybody.
	SourceRanges []netip.Prefix
	// Affinity is how long a client stays with its endpoint; 0 means not at all.
	Affinity time.Duration
	// InternalLocal and ExternalLocal are the traffic policies.
	InternalLocal bool
	ExternalLocal bool

	// Cluster are the endpoints for policy Cluster, Local those for policy Local; sorted.
	Cluster []netip.AddrPort
	Local   []netip.AddrPort
	// OnNode are all usable endpoints that are on this node, which may reach themselves
	// through the Service.
	OnNode []netip.AddrPort
	// Anywhere is true if some node has a usable endpoint, even where this one may
	// not send to it: then traffic is dropped, not refused.
	Anywhere bool
}

// External is true where the port is reached from outside the cluster.
func (p *Port) External() bool {
	return p.NodePort != 0 || len(p.ExternalIPs) > 0 || len(p.LoadBalancerIPs) > 0
}

// Service plans every port of a Service for one address family. A headless,
// ExternalName or foreign-proxied Service has none.
func Service(service *corev1.Service, sliceObjects []*discoveryv1.EndpointSlice, node Node, family corev1.IPFamily) []Port {
	if !served(service) {
		return nil
	}
	clusterIPs := addressesOf(family, service.Spec.ClusterIPs...)
	if len(clusterIPs) == 0 && len(service.Spec.ClusterIPs) == 0 {
		clusterIPs = addressesOf(family, service.Spec.ClusterIP)
	}
	if len(clusterIPs) == 0 {
		return nil
	}
	ports := make([]Port, 0, len(service.Spec.Ports))
	for _, spec := range service.Spec.Ports {
		port := Port{
			Name: PortName{
				Service:  types.NamespacedName{Namespace: service.Namespace, Name: service.Name},
				Port:     spec.Name,
				Protocol: spec.Protocol,
			},
			ClusterIPs:      clusterIPs,
			ExternalIPs:     addressesOf(family, service.Spec.ExternalIPs...),
			LoadBalancerIPs: loadBalancerIPs(service, family),
			Number:          uint16(spec.Port),
			NodePort:        uint16(spec.NodePort),
			SourceRanges:    sourceRanges(service, family),
			InternalLocal:   service.Spec.InternalTrafficPolicy != nil && *service.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
			ExternalLocal:   service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
			Affinity:        affinity(service),
		}
		chooseEndpoints(&port, endpointsFor(spec, sliceObjects, family), node)
		ports = append(ports, port)
	}
	return ports
}

// proxyNameLabel on a Service hands it to another proxy.
const proxyNameLabel = "service.kubernetes.io/service-proxy-name"

func served(service *corev1.Service) bool {
	_, foreign := service.Labels[proxyNameLabel]
	return !foreign && service.Spec.Type != corev1.ServiceTypeExternalName &&
		service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone
}

func affinity(service *corev1.Service) time.Duration {
	if service.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := service.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(max(seconds, 0)) * time.Second
}

func loadBalancerIPs(service *corev1.Service, family corev1.IPFamily) []netip.Addr {
	var texts []string
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		// Mode Proxy means that traffic must pass the load balancer itself.
		if ingress.IPMode == nil || *ingress.IPMode == corev1.LoadBalancerIPModeVIP {
			texts = append(texts, ingress.IP)
		}
	}
	return addressesOf(family, texts...)
}

func sourceRanges(service *corev1.Service, family corev1.IPFamily) []netip.Prefix {
	var ranges []netip.Prefix
	for _, text := range service.Spec.LoadBalancerSourceRanges {
		if prefix, err := netip.ParsePrefix(text); err == nil && inFamily(prefix.Addr(), family) {
			ranges = append(ranges, prefix.Masked())
		}
	}
	return ranges
}

func inFamily(address netip.Addr, family corev1.IPFamily) bool {
	return address.Is4() == (family == corev1.IPv4Protocol)
}

var errZone = errors.New("an address with a zone is in reach of one machine alone")

// parseAddress reads an address that means the same on every machine.
func parseAddress(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(text)
	if err == nil && address.Zone() != "" {
		err = errZone
	}
	return address.Unmap(), err
}

// addressesOf keeps what is an address of the family, in a stable order.
func addressesOf(family corev1.IPFamily, texts ...string) []netip.Addr {
	var found []netip.Addr
	for _, text := range texts {
		if address, err := parseAddress(text); err == nil && inFamily(address, family) {
			found = append(found, address)
		}
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return slices.Compact(found)
}

// ByName orders ports.
func ByName(a, b Port) int {
	return cmp.Or(
		cmp.Compare(a.Name.Service.Namespace, b.Name.Service.Namespace),
		cmp.Compare(a.Name.Service.Name, b.Name.Service.Name),
		cmp.Compare(a.Name.Port, b.Name.Port),
		cmp.Compare(a.Name.Protocol, b.Name.Protocol),
	)
}
