package cluster

import (
	"fmt"
	"net/netip"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

const (
	apiPort = 6443
	// Places in the ranges: the control plane's on the fabric, the first node's, the
	// first outside client's, and the DNS service's among the Services.
	controlPlanePlace = 10
	firstNodePlace    = 256 + 1
	firstClientPlace  = 512 + 1
	dnsPlace          = 10
)

// addresses are the fixed addresses of a cluster.
type addresses struct {
	fabric, pods, services netip.Prefix
	controlPlane           netip.Addr
	kubernetes, dns        netip.Addr
}

func plan(n v1alpha1.Network) (addresses, error) {
	var a addresses
	var err error
	for _, r := range []struct {
		to   *netip.Prefix
		from string
	}{{&a.fabric, n.FabricCIDR}, {&a.pods, n.PodCIDR}, {&a.services, n.ServiceCIDR}} {
		if *r.to, err = netip.ParsePrefix(r.from); err != nil {
			return a, err
		}
	}
	a.controlPlane = place(a.fabric, controlPlanePlace)
	a.kubernetes = place(a.services, 1)
	a.dns = place(a.services, dnsPlace)
	return a, nil
}

// place is the n-th address of a range, which the caller knows to be IPv4.
func place(p netip.Prefix, n uint32) netip.Addr {
	b := p.Masked().Addr().As4()
	sum := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	sum += n
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// nodeAddress is the address of the i-th node ever added.
func (a addresses) nodeAddress(i uint32) (netip.Addr, error) {
	address := place(a.fabric, firstNodePlace+i)
	if !a.fabric.Contains(address) || i >= firstClientPlace-firstNodePlace-1 {
		return netip.Addr{}, fmt.Errorf("the fabric %s has no address left for another node", a.fabric)
	}
	return address, nil
}
