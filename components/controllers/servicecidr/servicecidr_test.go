package servicecidr

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNeeded(t *testing.T) {
	serviceCIDR := func(name string, deleted bool, cidrs ...string) *networkingv1.ServiceCIDR {
		cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
		if deleted {
			now := metav1.Now()
			cidr.DeletionTimestamp = &now
		}
		return cidr
	}
	going := serviceCIDR("going", true, "203.0.113.0/24", "2001:db8::/64")
	for _, c := range []struct {
		name    string
		others  []*networkingv1.ServiceCIDR
		address string
		want    bool
	}{
		{"an address of its own", nil, "203.0.113.10", true},
		{"one of its second family", nil, "2001:db8::a", true},
		{"none of its own", nil, "10.96.0.1", false},
		{"a wider range has it too", []*networkingv1.ServiceCIDR{serviceCIDR("wide", false, "203.0.0.0/16")}, "203.0.113.10", false},
		{"the other range holds another part", []*networkingv1.ServiceCIDR{serviceCIDR("part", false, "203.0.113.128/25")}, "203.0.113.10", true},
		{"the other range is on its way out as well", []*networkingv1.ServiceCIDR{serviceCIDR("wide", true, "203.0.0.0/16")}, "203.0.113.10", true},
	} {
		addresses := []*networkingv1.IPAddress{{ObjectMeta: metav1.ObjectMeta{Name: c.address}}}
		if got := needed(going, append(c.others, going), addresses); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
