package discovery

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// How long the lists of a slice may be.
const (
	mostEndpoints  = 1000
	mostAddresses  = 100
	mostPorts      = 20000
	mostTopology   = 16
	mostZonesHints = 8
	mostNodeHints  = 8
)

func validateSlice(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	var found problem.List
	if s.AddressType == "" {
		found.Required(field.NewPath("addressType"), "")
	} else {
		problem.OneOf(&found, field.NewPath("addressType"), s.AddressType,
			discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	}
	found.Add(validatePorts(s.Ports, field.NewPath("ports"))...)
	endpoints := validateEndpoints(s, field.NewPath("endpoints"))
	// What older servers let in may stay. Comparing is slow, so only do it when needed.
	if len(endpoints) > 0 && (old == nil || !apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints)) {
		found.Add(endpoints...)
	}
	if old != nil {
		found.Add(apivalidation.ValidateImmutableField(s.AddressType, old.AddressType, field.NewPath("addressType"))...)
	}
	return found.Errors
}

func validatePorts(ports []discoveryv1.EndpointPort, path *field.Path) field.ErrorList {
	var found problem.List
	if len(ports) > mostPorts {
		found.Add(field.TooMany(path, len(ports), mostPorts))
		return found.Errors
	}
	var names []string
	for i, port := range ports {
		at, name := path.Index(i), ptr.Deref(port.Name, "")
		if name != "" {
			found.Messages(at.Child("name"), name, validation.IsDNS1123Label(name))
		}
		if slices.Contains(names, name) {
			found.Duplicate(at.Child("name"), name)
		}
		names = append(names, name)
		if port.Protocol == nil {
			found.Required(at.Child("protocol"), "")
		} else {
			problem.OneOf(&found, at.Child("protocol"), *port.Protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
		}
		if port.AppProtocol != nil {
			found.Messages(at.Child("appProtocol"), *port.AppProtocol, validation.IsQualifiedName(*port.AppProtocol))
		}
	}
	return found.Errors
}

func validateEndpoints(s *discoveryv1.EndpointSlice, path *field.Path) field.ErrorList {
	var found problem.List
	if len(s.Endpoints) > mostEndpoints {
		found.Add(field.TooMany(path, len(s.Endpoints), mostEndpoints))
		return found.Errors
	}
	for i := range s.Endpoints {
		e, at := &s.Endpoints[i], path.Index(i)
		found.Add(validateAddresses(e.Addresses, s.AddressType, at.Child("addresses"))...)
		if e.NodeName != nil {
			found.Messages(at.Child("nodeName"), *e.NodeName, validation.IsDNS1123Subdomain(*e.NodeName))
		}
		topology := at.Child("deprecatedTopology")
		if n := len(e.DeprecatedTopology); n > mostTopology {
			found.Add(field.TooMany(topology, n, mostTopology))
		}
		found.Add(metav1validation.ValidateLabels(e.DeprecatedTopology, topology)...)
		if e.Hostname != nil {
			found.Messages(at.Child("hostname"), *e.Hostname, validation.IsDNS1123Label(*e.Hostname))
		}
		if e.Hints != nil {
			found.Add(validateHints(e.Hints, at.Child("hints"))...)
		}
	}
	return found.Errors
}

func validateAddresses(addresses []string, family discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var found problem.List
	switch n := len(addresses); {
	case n == 0:
		found.Required(path, "")
	case n > mostAddresses:
		found.Add(field.TooMany(path, n, mostAddresses))
	}
	for i, address := range addresses {
		at := path.Index(i)
		switch family {
		case discoveryv1.AddressTypeIPv4:
			if form := validation.IsValidIPForLegacyField(at, address, true, nil); len(form) > 0 {
				found.Add(form...)
				continue
			}
			if !netutils.IsIPv4String(address) {
				found.Invalid(path, address, "must be an IPv4 address")
			}
			found.Add(validateReachable(address, at)...)
		case discoveryv1.AddressTypeIPv6:
			if form := validation.IsValidIP(at, address); len(form) > 0 {
				found.Add(form...)
				continue
			}
			if !netutils.IsIPv6String(address) {
				found.Invalid(path, address, "must be an IPv6 address")
			}
			found.Add(validateReachable(address, at)...)
		case discoveryv1.AddressTypeFQDN:
			found.Add(validation.IsFullyQualifiedDomainName(at, address)...)
		}
	}
	return found.Errors
}

// validateReachable refuses addresses that mean another machine to everybody who uses them.
func validateReachable(address string, at *field.Path) field.ErrorList {
	var found problem.List
	ip := netutils.ParseIPSloppy(address)
	for _, forbidden := range []struct {
		is     bool
		detail string
	}{
		{ip.IsUnspecified(), fmt.Sprintf("may not be unspecified (%v)", address)},
		{ip.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"},
		{ip.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"},
		{ip.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"},
	} {
		if forbidden.is {
			found.Invalid(at, address, forbidden.detail)
		}
	}
	return found.Errors
}

func validateHints(hints *discoveryv1.EndpointHints, path *field.Path) field.ErrorList {
	var found problem.List
	var zones, nodes []string
	for _, zone := range hints.ForZones {
		zones = append(zones, zone.Name)
	}
	for _, node := range hints.ForNodes {
		nodes = append(nodes, node.Name)
	}
	for _, list := range []struct {
		name  string
		items []string
		most  int
		form  func(string) []string
	}{
		{"forZones", zones, mostZonesHints, validation.IsValidLabelValue},
		{"forNodes", nodes, mostNodeHints, validation.IsDNS1123Subdomain},
	} {
		at := path.Child(list.name)
		if len(list.items) > list.most {
			found.Add(field.TooMany(at, len(list.items), list.most))
			break
		}
		for i, item := range list.items {
			at := at.Index(i).Child("name")
			if slices.Contains(list.items[:i], item) {
				found.Duplicate(at, item)
			}
			found.Messages(at, item, list.form(item))
		}
	}
	return found.Errors
}
