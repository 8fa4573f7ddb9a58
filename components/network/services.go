package network

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// rangesOf is the key in agent.own of the routes to a ServiceCIDR's addresses; no node has such a name.
func rangesOf(cidr string) string { return "servicecidr/" + cidr }

// followServiceCIDRs routes to the ranges of ServiceCIDR objects as to the range of the command line.
// https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/
func (a *agent) followServiceCIDRs(informer cache.SharedIndexInformer) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { a.serviceCIDRChanged(object.(*networkingv1.ServiceCIDR)) },
		UpdateFunc: func(_, object any) { a.serviceCIDRChanged(object.(*networkingv1.ServiceCIDR)) },
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			if cidr, ok := object.(*networkingv1.ServiceCIDR); ok {
				a.setServiceRanges(rangesOf(cidr.Name), nil)
			}
		},
	})
	return err
}

func (a *agent) serviceCIDRChanged(cidr *networkingv1.ServiceCIDR) {
	var ranges []netip.Prefix
	for _, text := range cidr.Spec.CIDRs {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			ranges = append(ranges, prefix.Masked())
		}
	}
	a.setServiceRanges(rangesOf(cidr.Name), ranges)
}

// routeToServices gives the node's own packets to Services a way out: a packet without
// a route is refused before the packet filter can translate its address.
func (a *agent) routeToServices(node *corev1.Node) error {
	if !a.config.ServiceRange.IsValid() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addresses = internalAddresses(node)
	err := a.replace(node.Name, a.serviceRoutes([]netip.Prefix{a.config.ServiceRange}))
	for key, ranges := range a.services {
		if again := a.replace(key, a.serviceRoutes(ranges)); err == nil {
			err = again
		}
	}
	return err
}

func (a *agent) setServiceRanges(key string, ranges []netip.Prefix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.services[key] = ranges
	if len(ranges) == 0 {
		delete(a.services, key)
	}
	if err := a.replace(key, a.serviceRoutes(ranges)); err != nil {
		klog.ErrorS(err, "Routing to Services", "ranges", ranges)
	}
}

// serviceRoutes leave from the node's own address of the range's family; without one there is none. The caller holds mu.
func (a *agent) serviceRoutes(ranges []netip.Prefix) []route {
	var routes []route
	for _, prefix := range ranges {
		for _, address := range a.addresses {
			if address.Is4() == prefix.Addr().Is4() {
				routes = append(routes, route{to: prefix, from: address})
				break
			}
		}
	}
	return routes
}
