// Package hostport leads ports of a node to the containers that ask for them
// (spec.containers[].ports[].hostPort). What leads where is computed from the node's
// pods; the kernel's packet filter does it, by one table, "plumb-hostports", a family:
//
//	nat prerouting, output ──► to an address of the node? ──► (address, protocol, port) ─► pod
//	nat postrouting ─────────► masquerade what would otherwise not find its way back
//
// A change replaces the table in one transaction. Connections that stand are kept, as the
// kernel tracks them.
package hostport

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Mapping leads one port of the node to a pod.
type Mapping struct {
	Protocol corev1.Protocol
	// Address is the only one of the node's that it holds for; the zero value is all.
	Address netip.Addr
	Port    uint16
	To      netip.AddrPort
}

// Of are the mappings that pods ask for, without those that another one has taken before.
func Of(pods []*corev1.Pod) []Mapping {
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID))
	})
	var all []Mapping
	for _, pod := range pods {
		for _, next := range ofPod(pod) {
			if !slices.ContainsFunc(all, next.sameSource) {
				all = append(all, next)
			}
		}
	}
	// One that holds for a single address goes before one that holds for all.
	slices.SortStableFunc(all, func(a, b Mapping) int {
		rank := func(m Mapping) int {
			if m.Address.IsValid() {
				return 0
			}
			return 1
		}
		return rank(a) - rank(b)
	})
	return all
}

func (m Mapping) sameSource(other Mapping) bool {
	return m.Protocol == other.Protocol && m.Port == other.Port && m.Address == other.Address && m.To.Addr().Is4() == other.To.Addr().Is4()
}

func ofPod(pod *corev1.Pod) []Mapping {
	if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	var all []Mapping
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, port := range container.Ports {
			if port.HostPort == 0 {
				continue
			}
			at, _ := netip.ParseAddr(port.HostIP)
			if at.IsUnspecified() {
				at = netip.Addr{}
			}
			for _, entry := range pod.Status.PodIPs {
				to, err := netip.ParseAddr(entry.IP)
				if err != nil || at.IsValid() && at.Is4() != to.Is4() {
					continue
				}
				all = append(all, Mapping{
					Protocol: port.Protocol, Address: at, Port: uint16(port.HostPort),
					To: netip.AddrPortFrom(to, uint16(port.ContainerPort)),
				})
			}
		}
	}
	return all
}
