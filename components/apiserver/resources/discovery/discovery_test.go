package discovery

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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

func TestSlices(t *testing.T) {
	endpoint := func(addresses ...string) discoveryv1.Endpoint { return discoveryv1.Endpoint{Addresses: addresses} }
	for name, test := range map[string]struct {
		slice discoveryv1.EndpointSlice
		want  []string
	}{
		"IPv4":    {discoveryv1.EndpointSlice{AddressType: "IPv4", Endpoints: []discoveryv1.Endpoint{endpoint("10.0.0.1")}}, nil},
		"FQDN":    {discoveryv1.EndpointSlice{AddressType: "FQDN", Endpoints: []discoveryv1.Endpoint{endpoint("a.example.com")}}, nil},
		"no type": {discoveryv1.EndpointSlice{}, []string{`addressType: Required value`}},
		"unknown type": {discoveryv1.EndpointSlice{AddressType: "IPX"},
			[]string{`addressType: Unsupported value: "IPX": supported values: "FQDN", "IPv4", "IPv6"`}},
		"other family": {discoveryv1.EndpointSlice{AddressType: "IPv4", Endpoints: []discoveryv1.Endpoint{endpoint("fd00::1")}},
			[]string{`endpoints[0].addresses: Invalid value: "fd00::1": must be an IPv4 address`}},
		"unreachable": {discoveryv1.EndpointSlice{AddressType: "IPv4", Endpoints: []discoveryv1.Endpoint{endpoint("169.254.1.1"), endpoint("0.0.0.0"), endpoint()}},
			[]string{`endpoints[0].addresses[0]: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)`,
				`endpoints[1].addresses[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)`,
				`endpoints[2].addresses: Required value`}},
		"ports": {discoveryv1.EndpointSlice{AddressType: "IPv4", Ports: []discoveryv1.EndpointPort{
			{Name: ptr.To("a")}, {Name: ptr.To("a")}, {Name: ptr.To("b"), Protocol: ptr.To(corev1.Protocol("X"))}}},
			[]string{`ports[1].name: Duplicate value: "a"`, `ports[2].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`}},
		"hints": {discoveryv1.EndpointSlice{AddressType: "IPv4", Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"},
			Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}, {Name: "a"}}}}}},
			[]string{`endpoints[0].hints.forZones[1].name: Duplicate value: "a"`}},
	} {
		t.Run(name, func(t *testing.T) {
			def := EndpointSlices()
			def.Default(&test.slice)
			expect(t, def.Validate(context.Background(), &test.slice), test.want...)
		})
	}
}

func TestSliceUpdates(t *testing.T) {
	ctx, def := context.Background(), EndpointSlices()
	old := &discoveryv1.EndpointSlice{AddressType: "IPv4", Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"010.0.0.1"},
		DeprecatedTopology: map[string]string{corev1.LabelHostname: "n1"}}}}
	now := old.DeepCopy()
	expect(t, def.ValidateUpdate(ctx, now, old))
	if def.PrepareForUpdate(ctx, now, old); now.Generation != 0 {
		t.Error("no change is a new generation")
	}
	now.Endpoints[0].Conditions.Ready = ptr.To(false)
	def.PrepareForUpdate(ctx, now, old)
	if e := now.Endpoints[0]; now.Generation != 1 || ptr.Deref(e.NodeName, "") != "n1" || e.DeprecatedTopology != nil {
		t.Errorf("after a change: %+v", now)
	}
	now.AddressType = "IPv6"
	expect(t, def.ValidateUpdate(ctx, now, old),
		`endpoints[0].addresses[0]: Invalid value: "010.0.0.1": must not have leading 0s`,
		`addressType: Invalid value: "IPv6": field is immutable`)
}

func TestCells(t *testing.T) {
	many := []discoveryv1.Endpoint{{Addresses: []string{"1", "2"}}, {Addresses: []string{"3", "4", "5"}}}
	if got := endpointsCell(many); got != "1,2,3 + 2 more..." {
		t.Error(got)
	}
	if got := endpointsCell(nil); got != "<unset>" {
		t.Error(got)
	}
	if got := portsCell([]discoveryv1.EndpointPort{{Port: ptr.To[int32](80)}, {Name: ptr.To("x")}}); got != "80,x" {
		t.Error(got)
	}
}
