package endpoints

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/endpointslice"
	sliceutil "k8s.io/endpointslice/util"

	"github.com/plumbline/plumbline/components/controllers/podstate"
)

// backend is one pod's address, whether it is ready, and the ports it is reached at.
type backend struct {
	address corev1.EndpointAddress
	ready   bool
	ports   []corev1.EndpointPort
}

// subsetsOf groups the pods' addresses by the ports they are reached at. over tells that there were too many.
func subsetsOf(service *corev1.Service, pods []*corev1.Pod) (subsets []corev1.EndpointSubset, over bool) {
	var backends []backend
	for _, pod := range pods {
		if !sliceutil.ShouldPodBeInEndpoints(pod, service.Spec.PublishNotReadyAddresses) {
			continue
		}
		ip, ok := ipOf(service, pod)
		if !ok {
			continue
		}
		ports, ok := portsOf(service, pod)
		if !ok {
			continue
		}
		node := pod.Spec.NodeName
		address := corev1.EndpointAddress{IP: ip, NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}}
		if sliceutil.ShouldSetHostname(pod, service) {
			address.Hostname = pod.Spec.Hostname
		}
		backends = append(backends, backend{address: address, ready: service.Spec.PublishNotReadyAddresses || podstate.Ready(pod), ports: ports})
	}
	slices.SortFunc(backends, func(a, b backend) int {
		return cmp.Or(cmp.Compare(a.address.IP, b.address.IP), cmp.Compare(a.address.TargetRef.UID, b.address.TargetRef.UID))
	})
	if len(backends) > capacity {
		over = true
		slices.SortStableFunc(backends, func(a, b backend) int {
			switch {
			case a.ready == b.ready:
				return 0
			case a.ready:
				return -1
			}
			return 1
		})
		backends = backends[:capacity]
	}
	return group(backends), over
}

func group(backends []backend) []corev1.EndpointSubset {
	byPorts := map[string]*corev1.EndpointSubset{}
	for _, b := range backends {
		key := keyOf(b.ports)
		subset := byPorts[key]
		if subset == nil {
			subset = &corev1.EndpointSubset{Ports: b.ports}
			byPorts[key] = subset
		}
		if b.ready {
			subset.Addresses = append(subset.Addresses, b.address)
		} else {
			subset.NotReadyAddresses = append(subset.NotReadyAddresses, b.address)
		}
	}
	keys := make([]string, 0, len(byPorts))
	for key := range byPorts {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var subsets []corev1.EndpointSubset
	for _, key := range keys {
		subsets = append(subsets, *byPorts[key])
	}
	return subsets
}

func keyOf(ports []corev1.EndpointPort) string {
	var key strings.Builder
	for _, port := range ports {
		fmt.Fprintf(&key, "%s/%d/%s;", port.Name, port.Port, port.Protocol)
	}
	return key.String()
}

// ipOf is the pod's address of the Service's first IP family.
func ipOf(service *corev1.Service, pod *corev1.Pod) (string, bool) {
	wantsV6 := false
	if len(service.Spec.IPFamilies) > 0 {
		wantsV6 = service.Spec.IPFamilies[0] == corev1.IPv6Protocol
	} else if addr, err := netip.ParseAddr(service.Spec.ClusterIP); err == nil {
		wantsV6 = addr.Is6()
	}
	for _, ip := range pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && addr.Is6() == wantsV6 {
			return ip.IP, true
		}
	}
	return "", false
}

// portsOf resolves the Service's ports for one pod, leaving out those whose name the pod does not know. ok is false if
// the Service has ports and none is left. A headless Service may have none.
func portsOf(service *corev1.Service, pod *corev1.Pod) (ports []corev1.EndpointPort, ok bool) {
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		number, err := endpointslice.FindPort(pod, port)
		if err != nil {
			continue
		}
		ports = append(ports, corev1.EndpointPort{Name: port.Name, Port: int32(number), Protocol: port.Protocol, AppProtocol: port.AppProtocol})
	}
	slices.SortFunc(ports, func(a, b corev1.EndpointPort) int { return cmp.Compare(a.Name, b.Name) })
	return ports, len(ports) > 0 || (len(service.Spec.Ports) == 0 && service.Spec.ClusterIP == corev1.ClusterIPNone)
}
