package core

import (
	"context"
	"fmt"
	stdnet "net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/net"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// Endpoints are the addresses behind a Service, in the form before EndpointSlices.
func Endpoints() *resource.Definition[*corev1.Endpoints] {
	return &resource.Definition[*corev1.Endpoints]{
		Identity:   identity("Endpoints", "endpoints", "endpoints", "ep"),
		StorageKey: "services/endpoints",
		New:        func() *corev1.Endpoints { return new(corev1.Endpoints) },
		NewList:    func() runtime.Object { return new(corev1.EndpointsList) },
		Default: func(e *corev1.Endpoints) {
			for _, s := range e.Subsets {
				for i := range s.Ports {
					if s.Ports[i].Protocol == "" {
						s.Ports[i].Protocol = corev1.ProtocolTCP
					}
				}
			}
		},
		Validate: func(_ context.Context, e *corev1.Endpoints) field.ErrorList { return validateSubsets(e.Subsets) },
		ValidateUpdate: func(_ context.Context, e, old *corev1.Endpoints) field.ErrorList {
			if equality.Semantic.DeepEqual(e.Subsets, old.Subsets) {
				return nil
			}
			return validateSubsets(e.Subsets)
		},
		AllowCreateOnUpdate: true,
		Columns: []metav1.TableColumnDefinition{
			table.Name(), table.String("Endpoints", corev1.Endpoints{}.SwaggerDoc()["subsets"]), table.Age(),
		},
		Cells: func(e *corev1.Endpoints) []any {
			return []any{e.Name, endpointsCell(e), table.Since(e.CreationTimestamp)}
		},
	}
}

func validateSubsets(subsets []corev1.EndpointSubset) field.ErrorList {
	var found problem.List
	for i, s := range subsets {
		at := field.NewPath("subsets").Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			found.Required(at, "must specify `addresses` or `notReadyAddresses`")
		}
		for j := range s.Addresses {
			endpointAddress(&found, at.Child("addresses").Index(j), &s.Addresses[j])
		}
		for j := range s.NotReadyAddresses {
			endpointAddress(&found, at.Child("notReadyAddresses").Index(j), &s.NotReadyAddresses[j])
		}
		for j, p := range s.Ports {
			portAt := at.Child("ports").Index(j)
			switch nameAt := portAt.Child("name"); {
			case p.Name != "":
				label(&found, nameAt, p.Name)
			case len(s.Ports) > 1:
				found.Required(nameAt, "")
			}
			for _, m := range validation.IsValidPortNum(int(p.Port)) {
				found.Add(field.Invalid(portAt.Child("port"), p.Port, m).WithOrigin("portNum"))
			}
			protocol(&found, portAt.Child("protocol"), p.Protocol)
			if p.AppProtocol != nil {
				qualified(&found, portAt.Child("appProtocol"), *p.AppProtocol)
			}
		}
	}
	return found.Errors
}

func endpointAddress(found *problem.List, at *field.Path, a *corev1.EndpointAddress) {
	found.Add(validation.IsValidIPForLegacyField(at.Child("ip"), a.IP, true, nil)...)
	if a.Hostname != "" {
		label(found, at.Child("hostname"), a.Hostname)
	}
	if a.NodeName != nil {
		found.Add(dnsSubdomain(*a.NodeName, at.Child("nodeName"))...)
	}
	found.Add(validateReachable(a.IP, at.Child("ip"))...)
}

// validateReachable refuses addresses that mean something else on each host.
func validateReachable(address string, at *field.Path) field.ErrorList {
	var found problem.List
	ip := net.ParseIPSloppy(address)
	switch {
	case ip == nil:
		found.Add(field.Invalid(at, address, "must be a valid IP address").WithOrigin("format=ip-sloppy"))
	case ip.IsUnspecified():
		found.Invalid(at, address, fmt.Sprintf("may not be unspecified (%v)", address))
	case ip.IsLoopback():
		found.Invalid(at, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	case ip.IsLinkLocalUnicast():
		found.Invalid(at, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	case ip.IsLinkLocalMulticast():
		found.Invalid(at, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
	return found.Errors
}

func label(found *problem.List, at *field.Path, value string) {
	for _, m := range validation.IsDNS1123Label(value) {
		found.Add(field.Invalid(at, value, m).WithOrigin("format=k8s-short-name"))
	}
}

func qualified(found *problem.List, at *field.Path, value string) {
	for _, m := range validation.IsQualifiedName(value) {
		found.Add(field.Invalid(at, value, m).WithOrigin("format=qualified-name"))
	}
}

func protocol(found *problem.List, at *field.Path, p corev1.Protocol) {
	if p == "" {
		found.Required(at, "")
		return
	}
	problem.OneOf(found, at, p, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
}

// endpointsCell shows three addresses and how many more there are.
func endpointsCell(e *corev1.Endpoints) string {
	const shown = 3
	var list []string
	for _, s := range e.Subsets {
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				list = append(list, stdnet.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
		for _, a := range s.Addresses {
			if len(s.Ports) == 0 {
				list = append(list, a.IP)
			}
		}
	}
	switch {
	case len(e.Subsets) == 0:
		return table.None
	case len(list) > shown:
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:shown], ","), len(list)-shown)
	}
	return strings.Join(list, ",")
}
