package networking

import (
	"context"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// ServiceCIDRs are the ranges that services get their addresses from.
func ServiceCIDRs() *resource.Definition[*networkingv1.ServiceCIDR] {
	return &resource.Definition[*networkingv1.ServiceCIDR]{
		Identity: resource.Identity{
			GroupVersion: networkingv1.SchemeGroupVersion,
			Kind:         "ServiceCIDR", Name: "servicecidrs", Singular: "servicecidr",
			ClusterScoped: true,
		},
		New:     func() *networkingv1.ServiceCIDR { return &networkingv1.ServiceCIDR{} },
		NewList: func() runtime.Object { return &networkingv1.ServiceCIDRList{} },
		Validate: func(_ context.Context, c *networkingv1.ServiceCIDR) field.ErrorList {
			return validateRanges(c.Spec.CIDRs)
		},
		ValidateUpdate: func(_ context.Context, c, old *networkingv1.ServiceCIDR) field.ErrorList {
			return validateRangesChange(c.Spec.CIDRs, old.Spec.CIDRs)
		},
		Spec:         func(c *networkingv1.ServiceCIDR) any { return &c.Spec },
		Status:       func(c *networkingv1.ServiceCIDR) any { return &c.Status },
		StatusResets: []resource.MetadataField{resource.AllMetadata},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("CIDRs", networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"]),
			table.Age(),
		},
		Cells: func(c *networkingv1.ServiceCIDR) []any {
			return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), table.Since(c.CreationTimestamp)}
		},
	}
}

func validateRanges(cidrs []string) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec", "cidrs")
	switch len(cidrs) {
	case 0:
		found.Required(at, "at least one CIDR required")
		return found.Errors
	case 1, 2:
	default:
		found.Invalid(at, cidrs, "may only hold up to 2 values")
		return found.Errors
	}
	for i, cidr := range cidrs {
		found.Add(validation.IsValidCIDR(at.Index(i), cidr)...)
	}
	if len(cidrs) == 2 {
		family := netutils.IPFamilyOfCIDRString(cidrs[0])
		if family != netutils.IPFamilyUnknown && family == netutils.IPFamilyOfCIDRString(cidrs[1]) {
			found.Invalid(at, cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
		}
	}
	return found.Errors
}

// validateRangesChange lets a range of the other family be added, and nothing else change.
func validateRangesChange(now, was []string) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec", "cidrs")
	grows := len(was) == 1 && len(now) == 2
	if len(now) != len(was) && !grows {
		found.Invalid(at, now, apivalidation.FieldImmutableErrorMsg)
		return found.Errors
	}
	for i := range was {
		if now[i] != was[i] {
			found.Invalid(at.Index(i), now[i], apivalidation.FieldImmutableErrorMsg)
		}
	}
	if grows {
		found.Add(validateRanges(now)...)
	}
	return found.Errors
}
