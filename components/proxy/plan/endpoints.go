package plan

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// endpoint is one address of an EndpointSlice with the port that belongs to a
// Service's port.
type endpoint struct {
	address     netip.AddrPort
	node        string
	ready       bool
	serving     bool
	terminating bool
	zoneHints   []discoveryv1.ForZone
	nodeHints   []discoveryv1.ForNode
}

// draining endpoints are the last resort where none is ready (KEP-1669).
func (e endpoint) draining() bool { return e.serving && e.terminating }

func endpointsFor(port corev1.ServicePort, sliceObjects []*discoveryv1.EndpointSlice, family corev1.IPFamily) []endpoint {
	wanted := discoveryv1.AddressTypeIPv4
	if family == corev1.IPv6Protocol {
		wanted = discoveryv1.AddressTypeIPv6
	}
	found := map[netip.AddrPort]endpoint{}
	for _, object := range sliceObjects {
		if object.AddressType != wanted {
			continue
		}
		number := portNumber(port, object.Ports)
		if number == 0 {
			continue
		}
		for i := range object.Endpoints {
			entry := &object.Endpoints[i]
			if len(entry.Addresses) == 0 {
				continue
			}
			address, err := parseAddress(entry.Addresses[0])
			if err != nil || !inFamily(address, family) {
				continue
			}
			e := endpoint{
				address:     netip.AddrPortFrom(address, number),
				ready:       entry.Conditions.Ready == nil || *entry.Conditions.Ready,
				terminating: entry.Conditions.Terminating != nil && *entry.Conditions.Terminating,
			}
			e.serving = e.ready
			if entry.Conditions.Serving != nil {
				e.serving = *entry.Conditions.Serving
			}
			if entry.NodeName != nil {
				e.node = *entry.NodeName
			}
			if entry.Hints != nil {
				e.zoneHints, e.nodeHints = entry.Hints.ForZones, entry.Hints.ForNodes
			}
			// While an address moves between slices it may stand in two; a ready entry is
			// the better witness.
			if old, twice := found[e.address]; !twice || e.ready && !old.ready {
				found[e.address] = e
			}
		}
	}
	endpoints := make([]endpoint, 0, len(found))
	for _, e := range found {
		endpoints = append(endpoints, e)
	}
	slices.SortFunc(endpoints, func(a, b endpoint) int { return a.address.Compare(b.address) })
	return endpoints
}

func portNumber(port corev1.ServicePort, offered []discoveryv1.EndpointPort) uint16 {
	for _, o := range offered {
		name, protocol := "", corev1.ProtocolTCP
		if o.Name != nil {
			name = *o.Name
		}
		if o.Protocol != nil {
			protocol = *o.Protocol
		}
		if name == port.Name && protocol == port.Protocol && o.Port != nil {
			return uint16(*o.Port)
		}
	}
	return 0
}

// chooseEndpoints fills in which endpoints serve the port on this node.
func chooseEndpoints(port *Port, endpoints []endpoint, node Node) {
	// Traffic from the cluster's inside to an external address follows policy
	// Cluster even where outside traffic is kept local.
	needsCluster := !port.InternalLocal || port.External()
	needsLocal := port.InternalLocal || port.External() && port.ExternalLocal

	here := func(e endpoint) bool { return e.node == node.Name && e.node != "" }
	ready := func(e endpoint) bool { return e.ready }
	near := nearness(endpoints, node)

	if needsCluster {
		port.Cluster = addresses(endpoints, func(e endpoint) bool { return e.ready && near(e) })
		if len(port.Cluster) == 0 {
			port.Cluster = addresses(endpoints, endpoint.draining)
		}
	}
	if needsLocal {
		port.Local = addresses(endpoints, func(e endpoint) bool { return here(e) && ready(e) })
		if len(port.Local) == 0 {
			port.Local = addresses(endpoints, func(e endpoint) bool { return here(e) && e.draining() })
		}
	}
	port.Anywhere = slices.ContainsFunc(endpoints, func(e endpoint) bool { return e.ready || e.draining() })
	port.OnNode = addresses(endpoints, func(e endpoint) bool { return here(e) && (e.ready || e.draining()) })
}

func addresses(endpoints []endpoint, usable func(endpoint) bool) []netip.AddrPort {
	var chosen []netip.AddrPort
	for _, e := range endpoints {
		if usable(e) {
			chosen = append(chosen, e.address)
		}
	}
	return chosen
}

// nearness turns topology hints into a test. Hints count only if every ready
// endpoint has them and one is meant for this node or zone, so that no node is left
// without endpoints while hints are being written (KEP-2433, KEP-3015).
func nearness(endpoints []endpoint, node Node) func(endpoint) bool {
	everywhere := func(endpoint) bool { return true }
	forNode := func(e endpoint) bool {
		return slices.ContainsFunc(e.nodeHints, func(h discoveryv1.ForNode) bool { return h.Name == node.Name })
	}
	forZone := func(e endpoint) bool {
		return slices.ContainsFunc(e.zoneHints, func(h discoveryv1.ForZone) bool { return h.Name == node.Zone })
	}
	var ready, withNode, withZone, thisNode, thisZone int
	for _, e := range endpoints {
		if !e.ready {
			continue
		}
		ready++
		if len(e.nodeHints) > 0 {
			withNode++
		}
		if len(e.zoneHints) > 0 {
			withZone++
		}
		if forNode(e) {
			thisNode++
		}
		if forZone(e) {
			thisZone++
		}
	}
	switch {
	case ready == 0:
		return everywhere
	case withNode == ready && thisNode > 0:
		return forNode
	case withZone == ready && thisZone > 0 && node.Zone != "":
		return forZone
	}
	return everywhere
}
