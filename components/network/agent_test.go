package network

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type fakeTable struct{ routes []route }

func (f *fakeTable) list() ([]route, error) { return slices.Clone(f.routes), nil }

// set replaces by destination, as the kernel does.
func (f *fakeTable) set(r route) error {
	if r.via.IsValid() && !netip.MustParsePrefix("10.77.0.0/16").Contains(r.via) {
		return errOffLink
	}
	f.routes = slices.DeleteFunc(f.routes, func(o route) bool { return o.to == r.to })
	f.routes = append(f.routes, r)
	return nil
}

func (f *fakeTable) remove(r route) error {
	f.routes = slices.DeleteFunc(f.routes, func(o route) bool { return o == r })
	return nil
}

func node(name, address string, ranges ...string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{PodCIDRs: ranges},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}},
	}
}

func testAgent(t *testing.T, table *fakeTable) *agent {
	return &agent{
		config:   Config{NodeName: "node-1", ConfigDir: t.TempDir(), Bridge: "cni0"},
		routes:   table,
		own:      map[string][]route{},
		services: map[string][]netip.Prefix{},
	}
}

func TestRoutesFollowTheNodes(t *testing.T) {
	table := &fakeTable{}
	a := testAgent(t, table)
	to := netip.MustParsePrefix("10.88.1.0/24")

	a.nodeChanged(node("node-2", "10.77.1.2", "10.88.1.0/24"))
	if want := (route{to: to, via: netip.MustParseAddr("10.77.1.2")}); !slices.Equal(table.routes, []route{want}) {
		t.Fatalf("routes %v, want only %v", table.routes, want)
	}
	a.nodeChanged(node("node-2", "10.77.1.9", "10.88.1.0/24"))
	if want := (route{to: to, via: netip.MustParseAddr("10.77.1.9")}); !slices.Equal(table.routes, []route{want}) {
		t.Fatalf("after the node moved: routes %v, want only %v", table.routes, want)
	}
	// The range passes to a new node before the old one's deletion is seen.
	a.nodeChanged(node("node-3", "10.77.1.3", "10.88.1.0/24"))
	a.nodeGone("node-2")
	if want := (route{to: to, via: netip.MustParseAddr("10.77.1.3")}); !slices.Equal(table.routes, []route{want}) {
		t.Fatalf("after the range passed on: routes %v, want only %v", table.routes, want)
	}
	a.nodeGone("node-3")
	if len(table.routes) != 0 {
		t.Fatalf("routes %v remain of nodes that are gone", table.routes)
	}
}

func TestNodesOnNoLinkGetNoRoute(t *testing.T) {
	table := &fakeTable{}
	a := testAgent(t, table)
	if err := a.routeTo(node("simulated", "100.64.3.1"), []netip.Prefix{netip.MustParsePrefix("100.64.3.0/24")}); err != nil {
		t.Errorf("a node that is elsewhere is no error: %v", err)
	}
	a.nodeChanged(node("node-2", "10.77.1.2", "10.88.1.0/24"))
	if len(table.routes) != 1 || len(a.own) != 1 {
		t.Fatalf("routes %v, want only the one to node-2", table.routes)
	}
}

func TestRoutesFollowTheServiceCIDRs(t *testing.T) {
	serviceCIDR := func(name string, cidrs ...string) *networkingv1.ServiceCIDR {
		return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
	}
	table := &fakeTable{}
	a := testAgent(t, table)
	a.config.ServiceRange = netip.MustParsePrefix("10.96.0.0/16")
	from := netip.MustParseAddr("10.77.1.1")
	first, more := route{to: a.config.ServiceRange, from: from}, route{to: netip.MustParsePrefix("203.0.113.0/24"), from: from}

	// Seen before the node's own address is known; of the other family there is none.
	a.serviceCIDRChanged(serviceCIDR("more", "203.0.113.0/24", "2001:db8::/64"))
	a.serviceCIDRChanged(serviceCIDR("kubernetes", "10.96.0.0/16"))
	if len(table.routes) != 0 {
		t.Fatalf("routes %v from no address", table.routes)
	}
	a.nodeChanged(node("node-1", "10.77.1.1", "10.88.1.0/24"))
	if len(table.routes) != 2 || !slices.Contains(table.routes, first) || !slices.Contains(table.routes, more) {
		t.Fatalf("routes %v, want %v and %v", table.routes, first, more)
	}
	a.setServiceRanges(rangesOf("kubernetes"), nil)
	a.setServiceRanges(rangesOf("more"), nil)
	if !slices.Equal(table.routes, []route{first}) {
		t.Fatalf("after the ServiceCIDRs went: routes %v, want only %v", table.routes, first)
	}
}

func TestStrangersAreRemoved(t *testing.T) {
	stale := route{to: netip.MustParsePrefix("10.88.7.0/24"), via: netip.MustParseAddr("10.77.1.7")}
	table := &fakeTable{routes: []route{stale}}
	a := testAgent(t, table)
	a.nodeChanged(node("node-2", "10.77.1.2", "10.88.2.0/24"))
	if err := a.removeStrangers(); err != nil {
		t.Fatal(err)
	}
	if len(table.routes) != 1 || table.routes[0] == stale {
		t.Fatalf("routes %v, want only the one to node-2", table.routes)
	}
}

func TestOwnRangeBecomesTheCNIConfiguration(t *testing.T) {
	table := &fakeTable{}
	a := testAgent(t, table)
	a.nodeChanged(node("node-1", "10.77.1.1", "10.88.1.0/24"))
	if len(table.routes) != 0 {
		t.Errorf("a route to the node's own pods was set: %v", table.routes)
	}
	content, err := os.ReadFile(filepath.Join(a.config.ConfigDir, configFile))
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Plugins []struct {
			Type   string
			Ranges []string
		}
	}
	if err := json.Unmarshal(content, &parsed); err != nil {
		t.Fatal(err)
	}
	if got := parsed.Plugins[0].Ranges; len(got) != 1 || got[0] != "10.88.1.0/24" {
		t.Errorf("ranges %q, want the node's", got)
	}
	entries, _ := os.ReadDir(a.config.ConfigDir)
	if len(entries) != 1 {
		t.Errorf("%d files in the folder, want only the configuration", len(entries))
	}
}

func TestConfigNamesTheFlag(t *testing.T) {
	err := (&Config{ConfigDir: "relative", Bridge: strings.Repeat("b", 16), MTU: -1}).Validate()
	for _, flag := range []string{"--kubeconfig", "--hostname-override", "--cni-conf-dir", "--bridge", "--mtu"} {
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("error %v does not name %s", err, flag)
		}
	}
}

// FuzzNode lets a node say anything of its ranges and addresses: of itself, which becomes
// the configuration of its pods' network, and of another, which becomes routes.
func FuzzNode(f *testing.F) {
	f.Add("10.88.1.0/24", "fd00::/64", "10.77.1.1")
	f.Add("10.88.1.7/24", "::ffff:10.0.0.0/104", "fe80::1%eth0")
	f.Add("0.0.0.0/0", "", "::ffff:10.77.1.1")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, first, second, address string) {
		table := &fakeTable{}
		a := &agent{config: Config{NodeName: "node-1", ConfigDir: dir, Bridge: "cni0", ServiceRange: netip.MustParsePrefix("10.96.0.0/16")},
			routes: table, own: map[string][]route{}, services: map[string][]netip.Prefix{}}
		a.serviceCIDRChanged(&networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{first, second}}})
		a.nodeChanged(node("node-1", address, first, second))
		a.nodeChanged(node("node-2", address, first, second))
		for _, r := range table.routes {
			if !r.to.IsValid() || r.to != r.to.Masked() || r.via.IsValid() && r.via.Is4() != r.to.Addr().Is4() {
				t.Errorf("a route %+v was set", r)
			}
		}
		content, err := os.ReadFile(filepath.Join(dir, configFile))
		if err != nil {
			return
		}
		if !json.Valid(content) {
			t.Errorf("the configuration is\n%s", content)
		}
	})
}
