// Package discovery has the resources of the group discovery.k8s.io/v1: where the
// endpoints of services are.
package discovery

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// EndpointSlices are parts of the list of a service's endpoints.
// See https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/.
func EndpointSlices() *resource.Definition[*discoveryv1.EndpointSlice] {
	docs := discoveryv1.EndpointSlice{}.SwaggerDoc()
	return &resource.Definition[*discoveryv1.EndpointSlice]{
		Identity: resource.Identity{
			GroupVersion: discoveryv1.SchemeGroupVersion,
			Kind:         "EndpointSlice", Name: "endpointslices", Singular: "endpointslice",
		},
		New:     func() *discoveryv1.EndpointSlice { return &discoveryv1.EndpointSlice{} },
		NewList: func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		Default: func(s *discoveryv1.EndpointSlice) {
			for i := range s.Ports {
				port := &s.Ports[i]
				if port.Name == nil {
					port.Name = new(string)
				}
				if port.Protocol == nil {
					port.Protocol = ptr.To(corev1.ProtocolTCP)
				}
			}
		},
		PrepareForCreate: func(_ context.Context, s *discoveryv1.EndpointSlice) {
			s.Generation = 1
			dropTopology(s, nil)
		},
		PrepareForUpdate: func(_ context.Context, s, old *discoveryv1.EndpointSlice) {
			if changed(s, old) {
				s.Generation = old.Generation + 1
			}
			if !apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
				dropTopology(s, old)
			}
		},
		Validate: func(_ context.Context, s *discoveryv1.EndpointSlice) field.ErrorList {
			return validateSlice(s, nil)
		},
		ValidateUpdate: func(_ context.Context, s, old *discoveryv1.EndpointSlice) field.ErrorList {
			return validateSlice(s, old)
		},
		Warnings: warnings,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("AddressType", docs["addressType"]),
			table.String("Ports", docs["ports"]),
			table.String("Endpoints", docs["endpoints"]),
			table.Age(),
		},
		Cells: func(s *discoveryv1.EndpointSlice) []any {
			return []any{s.Name, string(s.AddressType), portsCell(s.Ports), endpointsCell(s.Endpoints), table.Since(s.CreationTimestamp)}
		},
	}
}

// changed says whether consumers have to look: at anything but metadata, or at the
// labels, which name the service.
func changed(s, old *discoveryv1.EndpointSlice) bool {
	now, was := *s, *old
	now.ObjectMeta, was.ObjectMeta = metav1.ObjectMeta{Labels: s.Labels}, metav1.ObjectMeta{Labels: old.Labels}
	return !apiequality.Semantic.DeepEqual(&now, &was)
}

// dropTopology ignores what v1 clients write into the field of v1beta1. The node
// that the stored slice named there becomes the node name, so that a patch of
// something else does not lose it.
func dropTopology(s, old *discoveryv1.EndpointSlice) {
	nodes := map[string]bool{}
	if old != nil {
		for _, e := range old.Endpoints {
			nodes[e.DeprecatedTopology[corev1.LabelHostname]] = true
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		node := e.DeprecatedTopology[corev1.LabelHostname]
		if e.NodeName == nil && node != "" && nodes[node] && len(validation.IsDNS1123Subdomain(node)) == 0 {
			e.NodeName = &node
		}
		e.DeprecatedTopology = nil
	}
}

func warnings(_ context.Context, s, old *discoveryv1.EndpointSlice) []string {
	var found []string
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		found = append(found, "spec.addressType: FQDN endpoints are deprecated")
	}
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return found // they write addresses in their canonical form
	}
	for i, e := range s.Endpoints {
		for j, address := range e.Addresses {
			found = append(found, validation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), address)...)
		}
	}
	return found
}

// shown is how many ports and endpoints a row names.
const shown = 3

func firstFew(items []string) string {
	switch {
	case len(items) > shown:
		return fmt.Sprintf("%s + %d more...", strings.Join(items[:shown], ","), len(items)-shown)
	case len(items) == 0 || len(items) == 1 && items[0] == "":
		return table.Unset
	}
	return strings.Join(items, ",")
}

func portsCell(ports []discoveryv1.EndpointPort) string {
	items := make([]string, len(ports))
	for i, port := range ports {
		if port.Port != nil {
			items[i] = strconv.Itoa(int(*port.Port))
		} else {
			items[i] = ptr.Deref(port.Name, "*")
		}
	}
	return firstFew(items)
}

func endpointsCell(endpoints []discoveryv1.Endpoint) string {
	var items []string
	for _, e := range endpoints {
		items = append(items, e.Addresses...)
	}
	return firstFew(items)
}
