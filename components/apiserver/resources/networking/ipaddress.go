package networking

import (
	"context"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// IPAddresses are the addresses that are taken by services.
// See https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/.
func IPAddresses() *resource.Definition[*networkingv1.IPAddress] {
	return &resource.Definition[*networkingv1.IPAddress]{
		Identity: resource.Identity{
			GroupVersion: networkingv1.SchemeGroupVersion,
			Kind:         "IPAddress", Name: "ipaddresses", Singular: "ipaddress",
			ShortNames: []string{"ip"}, ClusterScoped: true,
		},
		New:     func() *networkingv1.IPAddress { return &networkingv1.IPAddress{} },
		NewList: func() runtime.Object { return &networkingv1.IPAddressList{} },
		// The object's name is the address, in its canonical form.
		NameValidator: func(name string, _ bool) (details []string) {
			for _, err := range validation.IsValidIP(&field.Path{}, name) {
				details = append(details, err.Detail)
			}
			return details
		},
		Validate: func(_ context.Context, ip *networkingv1.IPAddress) field.ErrorList {
			return validateParent(ip.Spec.ParentRef)
		},
		ValidateUpdate: func(_ context.Context, ip, old *networkingv1.IPAddress) field.ErrorList {
			return append(validateParent(ip.Spec.ParentRef),
				apivalidation.ValidateImmutableField(ip.Spec.ParentRef, old.Spec.ParentRef, field.NewPath("spec", "parentRef"))...)
		},
		Spec: func(ip *networkingv1.IPAddress) any { return &ip.Spec },
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("ParentRef", networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"]),
		},
		Cells: func(ip *networkingv1.IPAddress) []any { return []any{ip.Name, parentCell(ip.Spec.ParentRef)} },
	}
}

func parentCell(p *networkingv1.ParentReference) string {
	if p == nil {
		return table.None
	}
	parts := []string{strings.ToLower(schema.GroupResource{Group: p.Group, Resource: p.Resource}.String())}
	if p.Namespace != "" {
		parts = append(parts, p.Namespace)
	}
	return strings.Join(append(parts, p.Name), "/")
}

func validateParent(p *networkingv1.ParentReference) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec", "parentRef")
	if p == nil {
		found.Required(at, "")
		return found.Errors
	}
	// No group is that of services.
	if p.Group != "" {
		found.Messages(at.Child("group"), p.Group, validation.IsDNS1123Subdomain(p.Group))
	}
	requireSegment(&found, at.Child("resource"), p.Resource)
	requireSegment(&found, at.Child("name"), p.Name)
	if p.Namespace != "" {
		found.Messages(at.Child("namespace"), p.Namespace, content.IsPathSegmentName(p.Namespace))
	}
	return found.Errors
}
