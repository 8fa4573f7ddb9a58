// Package conntrack makes the kernel forget UDP flows that a change of a Service has
// made wrong. A UDP flow lives as long as packets keep coming, so without this a
// client would go on sending to an endpoint that is gone, or go on being refused
// after the first endpoint has come.
package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/components/proxy/plan"
)

// Forget ends the flows to port's addresses that do not lead to one of its present
// endpoints; before is the port as it was planned until now, nil where it is new.
// It returns how many flows ended.
func Forget(family corev1.IPFamily, before, now *plan.Port) (uint, error) {
	subject := now
	if subject == nil {
		subject = before
	}
	if subject == nil || subject.Name.Protocol != corev1.ProtocolUDP {
		return 0, nil
	}
	filter := &staleFlows{}
	if now != nil {
		filter.kept = slices.Concat(now.Cluster, now.Local)
	}
	for _, port := range []*plan.Port{before, now} {
		if port == nil {
			continue
		}
		for _, address := range slices.Concat(port.ClusterIPs, port.ExternalIPs, port.LoadBalancerIPs) {
			filter.services = append(filter.services, netip.AddrPortFrom(address, port.Number))
		}
		if port.NodePort != 0 {
			filter.nodePorts = append(filter.nodePorts, port.NodePort)
		}
	}
	kernelFamily := netlink.InetFamily(unix.AF_INET)
	if family == corev1.IPv6Protocol {
		kernelFamily = unix.AF_INET6
	}
	ended, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, kernelFamily, filter)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return ended, fmt.Errorf("ending stale UDP flows of %s: %w", subject.Name.Service, err)
	}
	return ended, nil
}

// staleFlows matches flows to a Service whose answers come from somebody else than
// a present endpoint: from one that is gone, or from the Service's own address,
// where there was none to translate to.
type staleFlows struct {
	services  []netip.AddrPort
	nodePorts []uint16
	kept      []netip.AddrPort
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s *staleFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	asked, ok := netip.AddrFromSlice(flow.Forward.DstIP)
	if !ok {
		return false
	}
	target := netip.AddrPortFrom(asked.Unmap(), flow.Forward.DstPort)
	answering, ok := netip.AddrFromSlice(flow.Reverse.SrcIP)
	if !ok {
		return false
	}
	endpoint := netip.AddrPortFrom(answering.Unmap(), flow.Reverse.SrcPort)
	if slices.Contains(s.kept, endpoint) {
		return false
	}
	if slices.Contains(s.services, target) {
		return true
	}
	// A flow to the same port of some other machine is not ours: only translated ones,
	// or those that this node tried to answer itself, are.
	return slices.Contains(s.nodePorts, target.Port()) && endpoint != target
}
