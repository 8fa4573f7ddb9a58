package core

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

func webService(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	s.Spec.Selector = map[string]string{"app": "web"}
	s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	if change != nil {
		change(s)
	}
	defaultService(s)
	return s
}

func said(errs field.ErrorList) []string {
	var list []string
	for _, e := range errs {
		list = append(list, e.Field+": "+strings.TrimSpace(e.Type.String()+" "+e.Detail))
	}
	return list
}

func TestValidateService(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Service)
		want   []string
	}{
		"plain": {},
		"no ports": {
			func(s *corev1.Service) { s.Spec.Ports = nil },
			[]string{"spec.ports: Required value"},
		},
		"headless without ports": {change: func(s *corev1.Service) {
			s.Spec.Ports, s.Spec.ClusterIP, s.Spec.ClusterIPs = nil, "None", []string{"None"}
		}},
		"two ports without names": {
			func(s *corev1.Service) { s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 81}) },
			[]string{"spec.ports[0].name: Required value", "spec.ports[1].name: Required value"},
		},
		"bad target": {
			func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("HTTP port") },
			[]string{
				"spec.ports[0].targetPort: Invalid value must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
			},
		},
		"node port of a cluster address": {
			func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30080 },
			[]string{"spec.ports[0].nodePort: Forbidden may not be used when `type` is 'ClusterIP'"},
		},
		"headless node port": {
			func(s *corev1.Service) {
				s.Spec.Type, s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ServiceTypeNodePort, "None", []string{"None"}
			},
			[]string{"spec.clusterIPs[0]: Invalid value may not be set to 'None' for NodePort services"},
		},
		"external name with an address": {
			func(s *corev1.Service) {
				s.Spec.Type, s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ServiceTypeExternalName, "10.96.0.9", []string{"10.96.0.9"}
			},
			[]string{"spec.clusterIPs: Forbidden may not be set for ExternalName services", "spec.externalName: Required value"},
		},
		"loopback from outside": {
			func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"127.0.0.1"} },
			[]string{"spec.externalIPs[0]: Invalid value may not be in the loopback range (127.0.0.0/8, ::1/128)"},
		},
		"policy of a Service that is not reached from outside": {
			func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal },
			[]string{"spec.externalTrafficPolicy: Invalid value may only be set for externally-accessible services"},
		},
		"affinity for too long": {
			func(s *corev1.Service) {
				s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
				s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](86401)}}
			},
			[]string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value must be greater than 0 and less than 86400"},
		},
		"class of no load balancer": {
			func(s *corev1.Service) { s.Spec.LoadBalancerClass = ptr.To("example.com/lb") },
			[]string{"spec.loadBalancerClass: Forbidden may only be used when `type` is 'LoadBalancer'"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := said(validateService(webService(c.change), nil)); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestServiceAddressIsFixed(t *testing.T) {
	held := func(ip string) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.IPFamilies = ip, []string{ip}, []corev1.IPFamily{corev1.IPv4Protocol}
		}
	}
	old := webService(held("10.96.0.9"))
	if errs := validateServiceUpdate(webService(held("10.96.0.9")), old); len(errs) > 0 {
		t.Errorf("unchanged: %v", errs)
	}
	want := []string{"spec.clusterIPs[0]: Invalid value may not change once set"}
	if got := said(validateServiceUpdate(webService(held("10.96.0.10")), old)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// ranges hands out addresses and ports in order and remembers what is taken.
type ranges struct {
	family    corev1.IPFamily
	addresses map[string]bool
	ports     map[int32]bool
}

type fakePorts struct{ *ranges }

func (r *ranges) Family() corev1.IPFamily { return r.family }

func (r *ranges) Take(_ context.Context, ip string, h resource.Holder) error {
	if r.addresses[ip] {
		return resource.ErrAddressTaken
	}
	if !h.DryRun {
		r.addresses[ip] = true
	}
	return nil
}

func (r *ranges) Next(ctx context.Context, h resource.Holder) (string, error) {
	form := "10.96.0.%d"
	if r.family == corev1.IPv6Protocol {
		form = "fd00::%d"
	}
	for i := 1; i < 5; i++ {
		if ip := fmt.Sprintf(form, i); !r.addresses[ip] {
			return ip, r.Take(ctx, ip, h)
		}
	}
	return "", resource.ErrFull
}

func (r *ranges) Release(_ context.Context, ip string) error {
	delete(r.addresses, ip)
	return nil
}

func (p fakePorts) Take(_ context.Context, port int32, h resource.Holder) error {
	if p.ports[port] {
		return resource.ErrPortTaken
	}
	if !h.DryRun {
		p.ports[port] = true
	}
	return nil
}

func (p fakePorts) Next(ctx context.Context, h resource.Holder) (int32, error) {
	for port := int32(30000); port < 30010; port++ {
		if !p.ports[port] {
			return port, p.Take(ctx, port, h)
		}
	}
	return 0, resource.ErrFull
}

func (p fakePorts) Release(_ context.Context, port int32) error {
	delete(p.ports, port)
	return nil
}

func newRanges(families ...corev1.IPFamily) (allocation, []*ranges) {
	var all []*ranges
	a := allocation{&resource.ServiceRanges{}}
	for _, f := range families {
		r := &ranges{f, map[string]bool{}, map[int32]bool{}}
		all = append(all, r)
		a.Addresses = append(a.Addresses, r)
	}
	a.NodePorts = fakePorts{all[0]}
	return a, all
}

// write takes a change through allocation as the store does: hooks, then the outcome.
func write(t *testing.T, a allocation, s, old *corev1.Service, success bool) error {
	t.Helper()
	if old != nil {
		keepAllocated(s, old)
	}
	fillClusterIPs(s, old)
	finish, err := a.begin(context.Background(), s, old, false)
	if err == nil {
		finish(context.Background(), success)
	}
	return err
}

func TestAllocation(t *testing.T) {
	a, r := newRanges(corev1.IPv4Protocol)
	holds := func(what string, addresses, ports int) {
		t.Helper()
		if len(r[0].addresses) != addresses || len(r[0].ports) != ports {
			t.Errorf("%s: %d addresses and %d ports are taken, want %d and %d", what, len(r[0].addresses), len(r[0].ports), addresses, ports)
		}
	}
	dns := webService(func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports = []corev1.ServicePort{{Name: "udp", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "tcp", Port: 53}, {Name: "metrics", Port: 9153}}
	})
	if err := write(t, a, dns, nil, true); err != nil {
		t.Fatal(err)
	}
	holds("created", 1, 2)
	if p := dns.Spec.Ports; p[0].NodePort != p[1].NodePort || p[0].NodePort == p[2].NodePort {
		t.Errorf("ports of one number share a node port: %v", p)
	}
	if dns.Spec.ClusterIP != "10.96.0.1" || !slices.Equal(dns.Spec.IPFamilies, []corev1.IPFamily{corev1.IPv4Protocol}) || policyOf(dns) != corev1.IPFamilyPolicySingleStack {
		t.Errorf("created: %+v", dns.Spec)
	}

	failed := webService(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })
	if err := write(t, a, failed, nil, false); err != nil {
		t.Fatal(err)
	}
	holds("after a write that failed", 1, 2)

	thief := webService(func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.1" })
	const taken = `Service "web" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.1"]: failed to allocate IP 10.96.0.1: provided IP is already allocated`
	if err := write(t, a, thief, nil, true); err == nil || err.Error() != taken {
		t.Errorf("got %v, want %s", err, taken)
	}

	// A client that does not know what was allocated leaves it out.
	again := webService(func(s *corev1.Service) {
		s.Spec.Type, s.Spec.Ports = corev1.ServiceTypeNodePort, []corev1.ServicePort{{Name: "metrics", Port: 9153}}
	})
	if err := write(t, a, again, dns, true); err != nil {
		t.Fatal(err)
	}
	holds("two ports dropped", 1, 1)
	if again.Spec.ClusterIP != dns.Spec.ClusterIP || again.Spec.Ports[0].NodePort != dns.Spec.Ports[2].NodePort {
		t.Errorf("what was allocated changed: %+v", again.Spec)
	}

	inner := again.DeepCopy()
	inner.Spec.Type = corev1.ServiceTypeClusterIP
	if err := write(t, a, inner, again, true); err != nil {
		t.Fatal(err)
	}
	dropOfOtherType(inner, again)
	holds("no node port any more", 1, 0)
	if inner.Spec.Ports[0].NodePort != 0 || inner.Spec.ExternalTrafficPolicy != "" {
		t.Errorf("left behind by the other type: %+v", inner.Spec)
	}
	a.releaseAll(context.Background(), inner)
	holds("deleted", 0, 0)
}

func TestDualStack(t *testing.T) {
	a, r := newRanges(corev1.IPv4Protocol, corev1.IPv6Protocol)
	s := webService(func(s *corev1.Service) { s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyPreferDualStack) })
	if err := write(t, a, s, nil, true); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Spec.ClusterIPs, []string{"10.96.0.1", "fd00::1"}) || len(r[1].addresses) != 1 {
		t.Fatalf("created: %+v", s.Spec)
	}
	single := s.DeepCopy()
	single.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	if err := write(t, a, single, s, true); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(single.Spec.ClusterIPs, []string{"10.96.0.1"}) || len(r[1].addresses) != 0 {
		t.Errorf("second address kept: %+v", single.Spec)
	}
	dual := single.DeepCopy()
	dual.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	if err := write(t, a, dual, single, true); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(dual.Spec.ClusterIPs, []string{"10.96.0.1", "fd00::1"}) {
		t.Errorf("second address not taken: %+v", dual.Spec)
	}
	if errs := validateServiceUpdate(dual, single); len(errs) > 0 {
		t.Errorf("upgrade refused: %v", errs)
	}

	only4, _ := newRanges(corev1.IPv4Protocol)
	const want = "this cluster is not configured for dual-stack services"
	required := webService(func(s *corev1.Service) { s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack) })
	if err := write(t, only4, required, nil, true); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}
