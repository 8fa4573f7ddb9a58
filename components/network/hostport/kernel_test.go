package hostport

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inside runs f on a thread in a namespace.
func inside(t *testing.T, ns netns.NsHandle, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(t, err)
	defer home.Close()
	must(t, netns.Set(ns))
	defer func() { must(t, netns.Set(home)) }()
	f()
}

func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	must(t, err)
	defer home.Close()
	ns, err := netns.New()
	if err != nil {
		t.Skipf("making a network namespace: %v", err)
	}
	up(t, "lo", "")
	must(t, netns.Set(home))
	t.Cleanup(func() { ns.Close() })
	return ns
}

func up(t *testing.T, name, address string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	if address != "" {
		a, err := netlink.ParseAddr(address)
		must(t, err)
		must(t, netlink.AddrAdd(link, a))
	}
	must(t, netlink.LinkSetUp(link))
}

// A node, and a pod behind its bridge: the node's port leads to the pod from the node
// itself, by its address and by localhost, until nobody asks for it any more.
func TestKernelLeadsAPort(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	node, pod := newNamespace(t), newNamespace(t)
	inside(t, node, func() {
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "cni0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(pod)}))
		up(t, "cni0", "10.88.1.1/24")
		up(t, "lo", "10.77.0.1/32")
	})
	inside(t, pod, func() {
		up(t, "eth0", "10.88.1.2/24")
		must(t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("10.88.1.1")}))
	})
	var listener net.Listener
	inside(t, pod, func() {
		var err error
		listener, err = net.Listen("tcp", "10.88.1.2:8080")
		must(t, err)
	})
	defer listener.Close()
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			client, _, _ := net.SplitHostPort(connection.RemoteAddr().String())
			fmt.Fprint(connection, client)
			connection.Close()
		}
	}()
	ask := func(address string) (string, error) {
		var answer []byte
		var err error
		inside(t, node, func() {
			var connection net.Conn
			if connection, err = net.DialTimeout("tcp", address, time.Second); err != nil {
				return
			}
			defer connection.Close()
			answer, err = io.ReadAll(connection)
		})
		return string(answer), err
	}
	table := &Table{Bridge: "cni0", Pods: []netip.Prefix{netip.MustParsePrefix("10.88.1.0/24")}}
	to := netip.MustParseAddrPort("10.88.1.2:8080")
	tcp := func(at string, port uint16) Mapping {
		m := Mapping{Protocol: corev1.ProtocolTCP, Port: port, To: to}
		if at != "" {
			m.Address = netip.MustParseAddr(at)
		}
		return m
	}
	inside(t, node, func() { must(t, table.Apply([]Mapping{tcp("127.0.0.1", 81), tcp("10.77.0.1", 82), tcp("", 80)})) })
	for address, open := range map[string]bool{
		"127.0.0.1:80": true, "10.77.0.1:80": true, "127.0.0.1:81": true, "10.77.0.1:82": true,
		"10.77.0.1:81": false, "127.0.0.1:82": false,
	} {
		if answer, err := ask(address); (err == nil && answer != "") != open {
			t.Errorf("%s: answer %q, error %v; want it open: %v", address, answer, err, open)
		}
	}
	inside(t, node, func() { must(t, table.Apply(nil)) })
	if answer, err := ask("127.0.0.1:80"); err == nil {
		t.Errorf("the port still leads to the pod: %q", answer)
	}
}
