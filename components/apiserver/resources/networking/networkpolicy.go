package networking

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// NetworkPolicies say which traffic pods take part in.
// See https://kubernetes.io/docs/concepts/services-networking/network-policies/.
func NetworkPolicies() *resource.Definition[*networkingv1.NetworkPolicy] {
	return &resource.Definition[*networkingv1.NetworkPolicy]{
		Identity: resource.Identity{
			GroupVersion: networkingv1.SchemeGroupVersion,
			Kind:         "NetworkPolicy", Name: "networkpolicies", Singular: "networkpolicy",
			ShortNames: []string{"netpol"},
		},
		New:     func() *networkingv1.NetworkPolicy { return &networkingv1.NetworkPolicy{} },
		NewList: func() runtime.Object { return &networkingv1.NetworkPolicyList{} },
		Default: defaultNetworkPolicy,
		Validate: func(_ context.Context, p *networkingv1.NetworkPolicy) field.ErrorList {
			return policyRules{}.validate(&p.Spec)
		},
		ValidateUpdate: func(_ context.Context, p, old *networkingv1.NetworkPolicy) field.ErrorList {
			r := policyRules{anyLabelValue: metav1validation.LabelSelectorHasInvalidLabelValue(&old.Spec.PodSelector)}
			eachBlock(&old.Spec, func(block *networkingv1.IPBlock, _ *field.Path) {
				r.knownCIDRs = append(append(r.knownCIDRs, block.CIDR), block.Except...)
			})
			return r.validate(&p.Spec)
		},
		Warnings: func(_ context.Context, p, _ *networkingv1.NetworkPolicy) (warnings []string) {
			eachBlock(&p.Spec, func(block *networkingv1.IPBlock, at *field.Path) {
				warnings = append(warnings, validation.GetWarningsForCIDR(at.Child("cidr"), block.CIDR)...)
				for i, except := range block.Except {
					warnings = append(warnings, validation.GetWarningsForCIDR(at.Child("except").Index(i), except)...)
				}
			})
			return warnings
		},
		Spec:             func(p *networkingv1.NetworkPolicy) any { return &p.Spec },
		TracksGeneration: true,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Pod-Selector", networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"]),
			table.Age(),
		},
		Cells: func(p *networkingv1.NetworkPolicy) []any {
			return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), table.Since(p.CreationTimestamp)}
		},
	}
}

// direction is an ingress or an egress rule.
type direction struct {
	ports   []networkingv1.NetworkPolicyPort
	peers   []networkingv1.NetworkPolicyPeer
	at      *field.Path
	peersAt *field.Path
}

func directions(spec *networkingv1.NetworkPolicySpec) (all []direction) {
	for i, rule := range spec.Ingress {
		at := field.NewPath("spec", "ingress").Index(i)
		all = append(all, direction{rule.Ports, rule.From, at, at.Child("from")})
	}
	for i, rule := range spec.Egress {
		at := field.NewPath("spec", "egress").Index(i)
		all = append(all, direction{rule.Ports, rule.To, at, at.Child("to")})
	}
	return all
}

func eachBlock(spec *networkingv1.NetworkPolicySpec, visit func(*networkingv1.IPBlock, *field.Path)) {
	for _, d := range directions(spec) {
		for i, peer := range d.peers {
			if peer.IPBlock != nil {
				visit(peer.IPBlock, d.peersAt.Index(i).Child("ipBlock"))
			}
		}
	}
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	for _, d := range directions(&p.Spec) {
		for i := range d.ports {
			if d.ports[i].Protocol == nil {
				d.ports[i].Protocol = ptr.To(corev1.ProtocolTCP)
			}
		}
	}
	if len(p.Spec.PolicyTypes) > 0 {
		return
	}
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(p.Spec.Egress) > 0 {
		p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
}

// policyRules are the rules for a policy, with what is forgiven because it is stored.
type policyRules struct {
	anyLabelValue bool
	knownCIDRs    []string
}

func (r policyRules) validate(spec *networkingv1.NetworkPolicySpec) field.ErrorList {
	var found problem.List
	path := field.NewPath("spec")
	found.Add(r.selector(&spec.PodSelector, path.Child("podSelector"))...)
	for _, d := range directions(spec) {
		for i := range d.ports {
			found.Add(validatePolicyPort(&d.ports[i], d.at.Child("ports").Index(i))...)
		}
		for i := range d.peers {
			found.Add(r.peer(&d.peers[i], d.peersAt.Index(i))...)
		}
	}
	at := path.Child("policyTypes")
	if len(spec.PolicyTypes) > 2 {
		found.Invalid(at, &spec.PolicyTypes, "may not specify more than two policyTypes")
		return found.Errors
	}
	for i, kind := range spec.PolicyTypes {
		problem.OneOf(&found, at.Index(i), kind, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
	}
	return found.Errors
}

func (r policyRules) selector(s *metav1.LabelSelector, at *field.Path) field.ErrorList {
	options := metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: r.anyLabelValue}
	return metav1validation.ValidateLabelSelector(s, options, at)
}

func (r policyRules) peer(peer *networkingv1.NetworkPolicyPeer, at *field.Path) field.ErrorList {
	var found problem.List
	selects := peer.PodSelector != nil || peer.NamespaceSelector != nil
	if !selects && peer.IPBlock == nil {
		found.Required(at, "must specify a peer")
		return found.Errors
	}
	found.Add(r.selector(peer.PodSelector, at.Child("podSelector"))...)
	found.Add(r.selector(peer.NamespaceSelector, at.Child("namespaceSelector"))...)
	if peer.IPBlock != nil {
		found.Add(r.block(peer.IPBlock, at.Child("ipBlock"))...)
		if selects {
			found.Forbidden(at, "may not specify both ipBlock and another peer")
		}
	}
	return found.Errors
}

func (r policyRules) block(block *networkingv1.IPBlock, at *field.Path) field.ErrorList {
	var found problem.List
	if block.CIDR == "" {
		found.Required(at.Child("cidr"), "")
		return found.Errors
	}
	found.Add(validation.IsValidCIDRForLegacyField(at.Child("cidr"), block.CIDR, true, r.knownCIDRs)...)
	_, whole, err := netutils.ParseCIDRSloppy(block.CIDR)
	if err != nil {
		return found.Errors
	}
	for i, text := range block.Except {
		at := at.Child("except").Index(i)
		found.Add(validation.IsValidCIDRForLegacyField(at, text, true, r.knownCIDRs)...)
		_, part, err := netutils.ParseCIDRSloppy(text)
		if err != nil {
			continue
		}
		wide, _ := whole.Mask.Size()
		narrow, _ := part.Mask.Size()
		if narrow <= wide || !whole.Contains(part.IP) {
			found.Invalid(at, text, "must be a strict subset of `cidr`")
		}
	}
	return found.Errors
}

func validatePolicyPort(port *networkingv1.NetworkPolicyPort, at *field.Path) field.ErrorList {
	var found problem.List
	if port.Protocol != nil {
		problem.OneOf(&found, at.Child("protocol"), *port.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
	}
	end := func(detail string) {
		if port.EndPort != nil {
			found.Invalid(at.Child("endPort"), *port.EndPort, detail)
		}
	}
	switch first := port.Port; {
	case first == nil:
		end("may not be specified when `port` is not specified")
	case first.Type != intstr.Int:
		end("may not be specified when `port` is non-numeric")
		found.Messages(at.Child("port"), first.StrVal, validation.IsValidPortName(first.StrVal))
	default:
		found.Messages(at.Child("port"), first.IntVal, validation.IsValidPortNum(int(first.IntVal)))
		if last := port.EndPort; last != nil {
			if *last < first.IntVal {
				end("must be greater than or equal to `port`")
			}
			found.Messages(at.Child("endPort"), *last, validation.IsValidPortNum(int(*last)))
		}
	}
	return found.Errors
}
