package networking

import (
	"context"
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func expect(t *testing.T, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestIngressRules(t *testing.T) {
	service := &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}
	route := func(path string, kind networkingv1.PathType, b networkingv1.IngressBackend) *networkingv1.IngressSpec {
		return &networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: &kind, Backend: b}}}}}}}
	}
	good := networkingv1.IngressBackend{Service: service}
	for name, test := range map[string]struct {
		spec *networkingv1.IngressSpec
		want []string
	}{
		"valid": {route("/", networkingv1.PathTypePrefix, good), nil},
		"own":   {route("", networkingv1.PathTypeImplementationSpecific, good), nil},
		"empty": {&networkingv1.IngressSpec{}, []string{"spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"}},
		"dots": {route("/a/..", networkingv1.PathTypeExact, good),
			[]string{`spec.rules[0].http.paths[0].path: Invalid value: "/a/..": cannot end with '/..'`}},
		"no port": {route("/", networkingv1.PathTypeExact, networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web"}}),
			[]string{`spec.rules[0].http.paths[0].backend: Required value: port name or number is required`}},
		"address as host": {&networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: "1.2.3.4"}}},
			[]string{`spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address`}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, ingressRules{}.validate(test.spec), test.want...) })
	}
}

func TestIngressHosts(t *testing.T) {
	rules := []networkingv1.IngressRule{{Host: "a"}, {Host: "b"}, {Host: "c"}, {Host: "d"}}
	if got := hostsCell(rules); got != "a,b,c + 1 more..." {
		t.Error(got)
	}
	if got := hostsCell([]networkingv1.IngressRule{{}}); got != "*" {
		t.Error(got)
	}
}

func TestNetworkPolicies(t *testing.T) {
	ctx, def := context.Background(), NetworkPolicies()
	block := func(cidr string, except ...string) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}
	}
	p := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{
		Ports: []networkingv1.NetworkPolicyPort{{Port: ptr.To(intstr.FromInt32(80)), EndPort: ptr.To[int32](70)}, {EndPort: ptr.To[int32](7)}},
		To:    []networkingv1.NetworkPolicyPeer{block("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/16"), {}, block("10.0.0.1/8")},
	}}}}
	def.Default(p)
	if got := p.Spec.PolicyTypes; !slices.Equal(got, []networkingv1.PolicyType{"Ingress", "Egress"}) || p.Spec.Egress[0].Ports[0].Protocol == nil {
		t.Errorf("defaults: %+v", p.Spec)
	}
	expect(t, def.Validate(ctx, p),
		"spec.egress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`",
		"spec.egress[0].ports[1].endPort: Invalid value: 7: may not be specified when `port` is not specified",
		"spec.egress[0].to[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
		`spec.egress[0].to[1]: Required value: must specify a peer`,
		`spec.egress[0].to[2].ipBlock.cidr: Invalid value: "10.0.0.1/8": must not have bits set beyond the prefix length`)
	// What is stored may stay.
	p.Spec.Egress[0].Ports, p.Spec.Egress[0].To = nil, []networkingv1.NetworkPolicyPeer{block("10.0.0.1/8")}
	expect(t, def.ValidateUpdate(ctx, p, p))
}

func TestServiceRanges(t *testing.T) {
	one, two := []string{"10.96.0.0/16"}, []string{"10.96.0.0/16", "fd00::/64"}
	expect(t, validateRanges(two))
	expect(t, validateRanges(nil), `spec.cidrs: Required value: at least one CIDR required`)
	expect(t, validateRanges([]string{"10.96.0.0/16", "10.97.0.0/16"}),
		`spec.cidrs: Invalid value: ["10.96.0.0/16","10.97.0.0/16"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64`)
	expect(t, validateRangesChange(two, one))
	expect(t, validateRangesChange(one, two), `spec.cidrs: Invalid value: ["10.96.0.0/16"]: field is immutable`)
	expect(t, validateRangesChange([]string{"10.97.0.0/16"}, one), `spec.cidrs[0]: Invalid value: "10.97.0.0/16": field is immutable`)
}

func TestAddressNames(t *testing.T) {
	named := IPAddresses().NameValidator
	for name, ok := range map[string]bool{"10.0.0.1": true, "fd00::1": true, "fd00:0::1": false, "010.0.0.1": false, "web": false} {
		if (len(named(name, false)) == 0) != ok {
			t.Errorf("%s: %v", name, named(name, false))
		}
	}
}
