package nftables

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	googlenft "github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plumbline/plumbline/components/proxy/plan"
)

// world is a client, a node and the node's pods, each a network namespace:
//
//	client 10.77.0.9 ── 10.77.0.1 node 10.88.1.1 ── pods 10.88.1.2, 10.88.1.3
type world struct {
	t                  *testing.T
	client, node, pods netns.NsHandle
}

func newWorld(t *testing.T) *world {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	w := &world{t: t}
	for _, handle := range []*netns.NsHandle{&w.client, &w.node, &w.pods} {
		*handle = newNamespace(t)
	}
	w.link(w.client, "10.77.0.9/24", w.node, "10.77.0.1/24")
	w.link(w.pods, "10.88.1.2/24", w.node, "10.88.1.1/24")
	w.in(w.pods, func() {
		link, err := netlink.LinkByName("eth0")
		must(t, err)
		for _, text := range []string{"10.88.1.3/24"} {
			address, err := netlink.ParseAddr(text)
			must(t, err)
			must(t, netlink.AddrAdd(link, address))
		}
	})
	w.in(w.node, func() {
		must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
	})
	return w
}

func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(t, err)
	defer home.Close()
	handle, err := netns.New()
	if err != nil {
		t.Skipf("making a network namespace: %v", err)
	}
	loopback, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(loopback))
	must(t, netns.Set(home))
	t.Cleanup(func() { handle.Close() })
	return handle
}

// in runs f on a thread inside the namespace.
func (w *world) in(ns netns.NsHandle, f func()) {
	w.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(w.t, err)
	defer home.Close()
	must(w.t, netns.Set(ns))
	defer func() { must(w.t, netns.Set(home)) }()
	f()
}

// link connects two namespaces; a gets a default route through b.
func (w *world) link(a netns.NsHandle, addressA string, b netns.NsHandle, addressB string) {
	w.t.Helper()
	peer := "to-" + strings.ReplaceAll(strings.Split(addressA, "/")[0], ".", "-")[:8]
	w.in(b, func() {
		must(w.t, netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: peer}, PeerName: "eth0", PeerNamespace: netlink.NsFd(a),
		}))
		w.up(peer, addressB)
	})
	w.in(a, func() {
		w.up("eth0", addressA)
		gateway, _, err := net.ParseCIDR(addressB)
		must(w.t, err)
		must(w.t, netlink.RouteAdd(&netlink.Route{Gw: gateway}))
	})
}

func (w *world) up(name, text string) {
	w.t.Helper()
	link, err := netlink.LinkByName(name)
	must(w.t, err)
	address, err := netlink.ParseAddr(text)
	must(w.t, err)
	must(w.t, netlink.AddrAdd(link, address))
	must(w.t, netlink.LinkSetUp(link))
}

// serve answers every connection with "server's address seen client".
func (w *world) serve(address string) {
	w.t.Helper()
	var listener net.Listener
	w.in(w.pods, func() {
		var err error
		listener, err = net.Listen("tcp", address)
		must(w.t, err)
	})
	w.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			client, _, _ := net.SplitHostPort(connection.RemoteAddr().String())
			fmt.Fprintf(connection, "%s %s", connection.LocalAddr(), client)
			connection.Close()
		}
	}()
}

func (w *world) ask(from netns.NsHandle, address string) (string, error) {
	var answer string
	var err error
	w.in(from, func() {
		var connection net.Conn
		if connection, err = net.DialTimeout("tcp", address, 2*time.Second); err != nil {
			return
		}
		defer connection.Close()
		var all []byte
		all, err = io.ReadAll(connection)
		answer = string(all)
	})
	return answer, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func examplePort() *plan.Port {
	return &plan.Port{
		Name:       plan.PortName{Service: types.NamespacedName{Namespace: "default", Name: "web"}, Port: "http", Protocol: corev1.ProtocolTCP},
		ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.7")},
		Number:     80,
		NodePort:   30080,
		Cluster:    []netip.AddrPort{netip.MustParseAddrPort("10.88.1.2:8080"), netip.MustParseAddrPort("10.88.1.3:8080")},
		OnNode:     []netip.AddrPort{netip.MustParseAddrPort("10.88.1.2:8080"), netip.MustParseAddrPort("10.88.1.3:8080")},
		Anywhere:   true,
	}
}

func TestKernelServesAPort(t *testing.T) {
	w := newWorld(t)
	w.serve("10.88.1.2:8080")
	w.serve("10.88.1.3:8080")
	table := New(Config{Family: corev1.IPv4Protocol, ClusterCIDR: netip.MustParsePrefix("10.88.0.0/16"), MasqueradeBit: 14})
	apply := func(port *plan.Port) {
		t.Helper()
		w.in(w.node, func() { must(t, table.Apply(map[plan.PortName]*plan.Port{examplePort().Name: port})) })
	}
	const clusterIP, nodePort = "10.96.0.7:80", "10.77.0.1:30080"

	t.Run("spread over all endpoints", func(t *testing.T) {
		apply(examplePort())
		for _, address := range []string{clusterIP, nodePort} {
			seen := map[string]int{}
			for range 60 { // the chance that one of two is never chosen is 2^-59
				answer, err := w.ask(w.client, address)
				must(t, err)
				seen[strings.Fields(answer)[0]]++
			}
			if len(seen) != 2 {
				t.Errorf("%s reached only %v", address, seen)
			}
		}
	})
	t.Run("source hidden by policy Cluster, kept by Local", func(t *testing.T) {
		answer, err := w.ask(w.client, nodePort)
		must(t, err)
		if !strings.HasSuffix(answer, " 10.88.1.1") {
			t.Errorf("policy Cluster: %q, want the node's address as the source", answer)
		}
		port := examplePort()
		port.ExternalLocal, port.Local = true, port.OnNode[:1]
		apply(port)
		answer, err = w.ask(w.client, nodePort)
		must(t, err)
		if answer != "10.88.1.2:8080 10.77.0.9" {
			t.Errorf("policy Local: %q, want the local endpoint to see the client's address", answer)
		}
	})
	t.Run("hairpin", func(t *testing.T) {
		port := examplePort()
		port.Cluster = port.Cluster[:1]
		apply(port)
		if answer, err := w.ask(w.pods, clusterIP); err != nil || !strings.HasPrefix(answer, "10.88.1.2:8080") {
			t.Errorf("a pod reaching itself: %q, %v", answer, err)
		}
	})
	t.Run("affinity holds and ends with its endpoint", func(t *testing.T) {
		port := examplePort()
		port.Affinity = time.Hour
		apply(port)
		first, err := w.ask(w.client, clusterIP)
		must(t, err)
		for range 20 {
			if again, err := w.ask(w.client, clusterIP); err != nil || again != first {
				t.Fatalf("%q after %q, %v", again, first, err)
			}
		}
		other := netip.MustParseAddrPort("10.88.1.2:8080")
		if strings.HasPrefix(first, other.String()) {
			other = netip.MustParseAddrPort("10.88.1.3:8080")
		}
		port.Cluster = []netip.AddrPort{other}
		apply(port)
		if moved, err := w.ask(w.client, clusterIP); err != nil || !strings.HasPrefix(moved, other.String()) {
			t.Errorf("after the endpoint went: %q, %v; want %s", moved, err, other)
		}
	})
	t.Run("refused at once without endpoints", func(t *testing.T) {
		port := examplePort()
		port.Cluster, port.OnNode, port.Anywhere = nil, nil, false
		apply(port)
		for _, address := range []string{clusterIP, nodePort} {
			if _, err := w.ask(w.client, address); err == nil || !strings.Contains(err.Error(), "refused") {
				t.Errorf("%s: %v, want a refusal", address, err)
			}
		}
	})
	t.Run("refused at a port the Service lacks", func(t *testing.T) {
		apply(examplePort())
		if _, err := w.ask(w.client, "10.96.0.7:81"); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%v, want a refusal", err)
		}
	})
	t.Run("nothing stays after removal", func(t *testing.T) {
		apply(nil)
		w.in(w.node, func() {
			conn, err := googlenft.New()
			must(t, err)
			for name, set := range table.sets {
				elements, err := conn.GetSetElements(set)
				must(t, err)
				if len(elements) != 0 {
					t.Errorf("%s still holds %d elements", name, len(elements))
				}
			}
			chains, err := conn.ListChainsOfTableFamily(googlenft.TableFamilyIPv4)
			must(t, err)
			for _, chain := range chains {
				if strings.Contains(chain.Name, "default/web") {
					t.Errorf("chain %s remains", chain.Name)
				}
			}
			must(t, Remove(corev1.IPv4Protocol))
		})
	})
}

// TestTwoPortsWantOneAddress: an external IP can be named by two Services; the
// second must not break the first, and inherits it.
func TestTwoPortsWantOneAddress(t *testing.T) {
	w := newWorld(t)
	w.serve("10.88.1.2:8080")
	w.serve("10.88.1.3:8080")
	table := New(Config{Family: corev1.IPv4Protocol, MasqueradeBit: 14})
	portNamed := func(name, clusterIP, endpoint string) *plan.Port {
		port := examplePort()
		port.Name.Service.Name, port.NodePort = name, 0
		port.ClusterIPs = []netip.Addr{netip.MustParseAddr(clusterIP)}
		port.ExternalIPs = []netip.Addr{netip.MustParseAddr("10.77.5.5")}
		port.Cluster = []netip.AddrPort{netip.MustParseAddrPort(endpoint)}
		return port
	}
	first, second := portNamed("first", "10.96.0.1", "10.88.1.2:8080"), portNamed("second", "10.96.0.2", "10.88.1.3:8080")
	apply := func(name plan.PortName, port *plan.Port) {
		t.Helper()
		w.in(w.node, func() { must(t, table.Apply(map[plan.PortName]*plan.Port{name: port})) })
	}
	apply(first.Name, first)
	apply(second.Name, second)
	if answer, err := w.ask(w.client, "10.77.5.5:80"); err != nil || !strings.HasPrefix(answer, "10.88.1.2") {
		t.Fatalf("with both: %q, %v; want the first", answer, err)
	}
	apply(first.Name, nil)
	if answer, err := w.ask(w.client, "10.77.5.5:80"); err != nil || !strings.HasPrefix(answer, "10.88.1.3") {
		t.Fatalf("after the first went: %q, %v; want the second", answer, err)
	}
}
