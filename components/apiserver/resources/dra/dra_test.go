package dra

import (
	"slices"
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func TestWording(t *testing.T) {
	at := field.NewPath("at")
	for want, got := range map[string]field.ErrorList{
		"at: Invalid value: \"d d\": an RFC 1123 subdomain must consist of alphanumeric characters": validateDriver("d d", at),
		"at: Invalid value: \"{int, string}\": must specify exactly one of: `int`, `bool`":          validateAttribute(&resourcev1.DeviceAttribute{IntValue: ptr.To[int64](1), StringValue: ptr.To("s")}, at),
		`at[1]: Duplicate value: {"name":"b"}`:                                                      duplicates([]resourcev1.DeviceRequest{{Name: "b"}, {Name: "b"}}, at, func(r resourcev1.DeviceRequest) string { return r.Name }),
	} {
		if len(got) != 1 || !strings.HasPrefix(got[0].Error(), want) {
			t.Errorf("%v, want %s", got, want)
		}
	}
	if errs := validateDriver("GPU.example.com", at); len(errs) != 0 {
		t.Errorf("capital letters are warned of, not refused: %v", errs)
	}
}

// expect compares errors by how they start: the CEL library words the rest.
func expect(t *testing.T, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func exactly(name string, request resourcev1.ExactDeviceRequest) resourcev1.DeviceRequest {
	return resourcev1.DeviceRequest{Name: name, Exactly: &request}
}

func TestClaims(t *testing.T) {
	expression := func(text string) []resourcev1.DeviceSelector {
		return []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: text}}}
	}
	for name, test := range map[string]struct {
		claim resourcev1.DeviceClaim
		want  []string
	}{
		"good": {resourcev1.DeviceClaim{
			Requests: []resourcev1.DeviceRequest{exactly("gpu", resourcev1.ExactDeviceRequest{
				DeviceClassName: "gpu.example.com", Selectors: expression(`device.driver == "gpu.example.com"`),
			})},
			Constraints: []resourcev1.DeviceConstraint{{Requests: []string{"gpu"}, MatchAttribute: ptr.To(resourcev1.FullyQualifiedName("example.com/model"))}},
		}, nil},
		"no class": {resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{exactly("gpu", resourcev1.ExactDeviceRequest{})}},
			[]string{`d.requests[0].exactly.deviceClassName: Required value`}},
		"the same name": {resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			exactly("a", resourcev1.ExactDeviceRequest{DeviceClassName: "c"}), exactly("a", resourcev1.ExactDeviceRequest{DeviceClassName: "c"}),
		}}, []string{`d.requests[1]: Duplicate value: {"name":"a","exactly":`}},
		"neither exact nor a choice": {resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "a"}}},
			[]string{"d.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"}},
		"an expression that does not compile": {resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			exactly("a", resourcev1.ExactDeviceRequest{DeviceClassName: "c", Selectors: expression("device.nope")}),
		}}, []string{`d.requests[0].exactly.selectors[0].cel.expression: Invalid value: "device.nope": compilation failed: `}},
		"a constraint on another request": {resourcev1.DeviceClaim{
			Requests:    []resourcev1.DeviceRequest{exactly("a", resourcev1.ExactDeviceRequest{DeviceClassName: "c"})},
			Constraints: []resourcev1.DeviceConstraint{{Requests: []string{"b"}, MatchAttribute: ptr.To(resourcev1.FullyQualifiedName("example.com/model"))}},
		}, []string{`d.constraints[0].requests[0]: Invalid value: "b": must be the name of a request in the claim`}},
	} {
		t.Run(name, func(t *testing.T) {
			defaultRequests(&test.claim)
			expect(t, validateClaim(&test.claim, field.NewPath("d")), test.want...)
		})
	}
}

func TestRequestDefaults(t *testing.T) {
	claim := resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{exactly("a", resourcev1.ExactDeviceRequest{DeviceClassName: "c"})}}
	defaultRequests(&claim)
	if r := claim.Requests[0].Exactly; r.AllocationMode != resourcev1.DeviceAllocationModeExactCount || r.Count != 1 {
		t.Errorf("the request became %+v", r)
	}
}

func TestSlices(t *testing.T) {
	slice := func(change func(*resourcev1.ResourceSliceSpec)) *resourcev1.ResourceSliceSpec {
		spec := &resourcev1.ResourceSliceSpec{
			Driver: "gpu.example.com", NodeName: ptr.To("n1"), Pool: resourcev1.ResourcePool{Name: "n1", ResourceSliceCount: 1},
			Devices: []resourcev1.Device{{Name: "gpu-0", Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"model": {StringValue: ptr.To("x")}}}},
		}
		change(spec)
		return spec
	}
	good := slice(func(*resourcev1.ResourceSliceSpec) {})
	expect(t, validateSlice(good, good))
	const one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	for name, test := range map[string]struct {
		change func(*resourcev1.ResourceSliceSpec)
		want   []string
	}{
		"nowhere": {func(s *resourcev1.ResourceSliceSpec) { s.NodeName = nil }, []string{`spec: Required value: ` + one}},
		"in two places": {func(s *resourcev1.ResourceSliceSpec) { s.AllNodes = ptr.To(true) },
			[]string{"spec: Invalid value: \"{`nodeName`, `allNodes`}\": " + one + ", but multiple fields are set"}},
		"devices and counters": {func(s *resourcev1.ResourceSliceSpec) { s.SharedCounters = []resourcev1.CounterSet{} },
			[]string{"spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed"}},
		"no pool": {func(s *resourcev1.ResourceSliceSpec) { s.Pool = resourcev1.ResourcePool{Generation: -1} }, []string{
			`spec.pool.name: Required value`,
			`spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero`,
			`spec.pool.generation: Invalid value: -1: must be greater than or equal to zero`,
		}},
		"the same device": {func(s *resourcev1.ResourceSliceSpec) { s.Devices = append(s.Devices, s.Devices[0]) },
			[]string{`spec.devices[1]: Duplicate value: "gpu-0"`}},
		"an empty attribute": {func(s *resourcev1.ResourceSliceSpec) {
			s.Devices[0].Attributes["model"] = resourcev1.DeviceAttribute{}
		}, []string{`spec.devices[0].attributes[model]: Invalid value: "": must specify one of: ` + "`int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`"}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, validateSlice(slice(test.change), nil), test.want...) })
	}
	expect(t, validateSlice(slice(func(s *resourcev1.ResourceSliceSpec) { s.NodeName = ptr.To("n2") }), good),
		`spec.nodeName: Invalid value: "n2": field is immutable`)
}
