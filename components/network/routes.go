package network

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// protocol marks our routes in the kernel's table, as iproute2's rt_protos does for
// routing daemons; the number is one that no daemon there claims.
const protocol netlink.RouteProtocol = 0x70

// netlinkRoutes is the main table of the network namespace the agent runs in.
type netlinkRoutes struct{}

func (netlinkRoutes) list() ([]route, error) {
	found, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, err
	}
	var routes []route
	for _, r := range found {
		if r.Dst == nil {
			continue
		}
		ones, _ := r.Dst.Mask.Size()
		to, _ := netip.AddrFromSlice(r.Dst.IP)
		via, _ := netip.AddrFromSlice(r.Gw)
		from, _ := netip.AddrFromSlice(r.Src)
		routes = append(routes, route{to: netip.PrefixFrom(to.Unmap(), ones), via: via.Unmap(), from: from.Unmap()})
	}
	return routes, nil
}

func (netlinkRoutes) set(r route) error {
	err := netlink.RouteReplace(kernelRoute(r))
	if r.via.IsValid() && errors.Is(err, unix.ENETUNREACH) {
		return errOffLink
	}
	return err
}

func (netlinkRoutes) remove(r route) error {
	if err := netlink.RouteDel(kernelRoute(r)); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// loopbackIndex is the loopback's number in every network namespace.
const loopbackIndex = 1

func kernelRoute(r route) *netlink.Route {
	kernel := &netlink.Route{
		Dst: &net.IPNet{
			IP:   r.to.Addr().AsSlice(),
			Mask: net.CIDRMask(r.to.Bits(), r.to.Addr().BitLen()),
		},
		Protocol: protocol,
	}
	if r.via.IsValid() {
		kernel.Gw = r.via.AsSlice()
		return kernel
	}
	// Nothing leaves by the loopback: the packet filter has translated or refused
	// it before.
	kernel.LinkIndex, kernel.Src, kernel.Scope = loopbackIndex, r.from.AsSlice(), netlink.SCOPE_HOST
	return kernel
}
