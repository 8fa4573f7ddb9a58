// Package fabric is the network that machines hang on: a switch in a namespace of
// its own, one link to each machine, static addresses and routes. No default
// route leads out of it, so any number of fabrics use the same addresses side by
// side, and the host reaches into one only by a [Forward] on 127.0.0.1.
package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/netns"
)

const (
	switchDevice = "switch"
	portDevice   = "eth0"

	linkTimeout = 5 * time.Second
)

// Fabric is a switch and what hangs on it.
type Fabric struct {
	prefix netip.Prefix
	ns     *netns.Namespace
	links  *netlink.Handle
	device netlink.Link

	mu    sync.Mutex
	ports map[string]*Port
	count int
}

// New makes a switch for the addresses of a prefix and takes the first one for
// the switch itself, from where the harness dials.
func New(prefix netip.Prefix) (*Fabric, error) {
	if !prefix.IsValid() || !prefix.Addr().Is4() {
		return nil, fmt.Errorf("fabric: %q is not an IPv4 prefix", prefix)
	}
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	f := &Fabric{prefix: prefix.Masked(), ns: ns, ports: map[string]*Port{}}
	if err := f.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("fabric: %w", err), f.Close())
	}
	return f, nil
}

func (f *Fabric) build() error {
	var err error
	if f.links, err = handle(f.ns); err != nil {
		return err
	}
	snooping := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name = switchDevice
	if err := f.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	if f.device, err = f.links.LinkByName(switchDevice); err != nil {
		return err
	}
	own := netip.PrefixFrom(f.prefix.Addr().Next(), f.prefix.Bits())
	return configure(f.links, f.device, own, nil)
}

func handle(ns *netns.Namespace) (*netlink.Handle, error) {
	var h *netlink.Handle
	err := ns.Do(func() error {
		var err error
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	return h, err
}

// configure gives a device its address, brings it up with the loopback and adds routes.
func configure(links *netlink.Handle, device netlink.Link, address netip.Prefix, routes []Route) error {
	if lo, err := links.LinkByName("lo"); err == nil {
		if err := links.LinkSetUp(lo); err != nil {
			return fmt.Errorf("bring lo up: %w", err)
		}
	}
	if err := links.AddrAdd(device, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return fmt.Errorf("add address %s: %w", address, err)
	}
	if err := links.LinkSetUp(device); err != nil {
		return fmt.Errorf("bring %s up: %w", device.Attrs().Name, err)
	}
	for _, r := range routes {
		route := &netlink.Route{LinkIndex: device.Attrs().Index, Dst: ipNet(r.To.Masked()), Gw: r.Via.AsSlice()}
		if err := links.RouteReplace(route); err != nil {
			return fmt.Errorf("add route to %s: %w", r.To, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Route leads to a prefix by way of an address on the fabric.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Attachment describes one link to the switch.
type Attachment struct {
	// Name tells the ports apart.
	Name string
	// Namespace is where the far end of the link goes, as device eth0.
	Namespace *netns.Namespace
	// Address is given to the far end, with the length of the fabric's prefix.
	Address netip.Addr
	// Routes are added in the namespace.
	Routes []Route
}

// Port is one link to the switch.
type Port struct {
	fabric  *Fabric
	name    string
	near    string
	address netip.Addr
	far     *netlink.Handle
	index   int
}

// Attach adds a link to the switch.
func (f *Fabric) Attach(a Attachment) (*Port, error) {
	if !f.prefix.Contains(a.Address) {
		return nil, fmt.Errorf("fabric: address %s of %s is outside %s", a.Address, a.Name, f.prefix)
	}
	f.mu.Lock()
	if f.ports[a.Name] != nil {
		f.mu.Unlock()
		return nil, fmt.Errorf("fabric: there is a port %q already", a.Name)
	}
	f.count++
	p := &Port{fabric: f, name: a.Name, near: fmt.Sprintf("port%d", f.count), address: a.Address}
	f.ports[a.Name] = p
	f.mu.Unlock()
	if err := p.connect(a); err != nil {
		return nil, errors.Join(fmt.Errorf("fabric: attach %s: %w", a.Name, err), p.Detach())
	}
	return p, nil
}

func (p *Port) connect(a Attachment) error {
	links := p.fabric.links
	attrs := netlink.NewLinkAttrs()
	attrs.Name = p.near
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: portDevice, PeerNamespace: netlink.NsFd(a.Namespace.FD())}
	if err := links.LinkAdd(veth); err != nil {
		return fmt.Errorf("add link: %w", err)
	}
	near, err := links.LinkByName(p.near)
	if err != nil {
		return err
	}
	if p.far, err = handle(a.Namespace); err != nil {
		return err
	}
	device, err := p.far.LinkByName(portDevice)
	if err != nil {
		return err
	}
	p.index = device.Attrs().Index
	// Near first, so that the far end finds a carrier when it comes up.
	if err := links.LinkSetUp(near); err != nil {
		return fmt.Errorf("bring link up: %w", err)
	}
	if err := configure(p.far, device, netip.PrefixFrom(a.Address, p.fabric.prefix.Bits()), a.Routes); err != nil {
		return err
	}
	// A device drops frames until the kernel's link watch has seen its carrier, and
	// a bridge port that joins before that stays closed. Either would lose the
	// first frame, which costs whoever sent it a second.
	if err := awaitUp(a.Namespace, p.far, device); err != nil {
		return err
	}
	if err := awaitUp(p.fabric.ns, links, near); err != nil {
		return err
	}
	if err := links.LinkSetMaster(near, p.fabric.device); err != nil {
		return fmt.Errorf("plug into the switch: %w", err)
	}
	return awaitUp(p.fabric.ns, links, p.fabric.device)
}

// awaitUp waits until the kernel says that a device is up.
func awaitUp(ns *netns.Namespace, links *netlink.Handle, device netlink.Link) error {
	index := device.Attrs().Index
	if now, err := links.LinkByIndex(index); err != nil || now.Attrs().OperState == netlink.OperUp {
		return err
	}
	updates, done := make(chan netlink.LinkUpdate, 16), make(chan struct{})
	defer close(done)
	at := vnetns.NsHandle(ns.FD())
	// Existing links are listed first, so a change between the look and the subscription is not missed.
	if err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{Namespace: &at, ListExisting: true}); err != nil {
		return err
	}
	timeout := time.After(linkTimeout)
	for {
		select {
		case update, ok := <-updates:
			if !ok {
				return errors.New("link updates ended")
			}
			if update.Attrs().Index == index && update.Attrs().OperState == netlink.OperUp {
				return nil
			}
		case <-timeout:
			return fmt.Errorf("%s is not up after %s", device.Attrs().Name, linkTimeout)
		}
	}
}

// Address is the address of the far end.
func (p *Port) Address() netip.Addr { return p.address }

// SetConnected plugs the cable in or pulls it out: a machine whose port is not
// connected is partitioned from all others and from the harness.
func (p *Port) SetConnected(connected bool) error {
	near, err := p.fabric.links.LinkByName(p.near)
	if err != nil {
		return fmt.Errorf("fabric: port %s: %w", p.name, err)
	}
	if connected {
		return p.fabric.links.LinkSetUp(near)
	}
	return p.fabric.links.LinkSetDown(near)
}

// AddRoute adds a route at the far end, in place of one to the same prefix.
func (p *Port) AddRoute(r Route) error {
	return p.far.RouteReplace(&netlink.Route{LinkIndex: p.index, Dst: ipNet(r.To.Masked()), Gw: r.Via.AsSlice()})
}

// Detach removes the link.
func (p *Port) Detach() error {
	p.fabric.mu.Lock()
	delete(p.fabric.ports, p.name)
	p.fabric.mu.Unlock()
	if p.far != nil {
		p.far.Close()
	}
	near, err := p.fabric.links.LinkByName(p.near)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.fabric.links.LinkDel(near)
}

// Prefix is the range of addresses on the fabric.
func (f *Fabric) Prefix() netip.Prefix { return f.prefix }

// DialContext connects from the switch itself.
func (f *Fabric) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f.ns.DialContext(ctx, network, address)
}

// Listen listens on a port of the switch's own address, which every machine reaches.
func (f *Fabric) Listen(ctx context.Context, port uint16) (net.Listener, error) {
	return f.ns.Listen(ctx, "tcp4", netip.AddrPortFrom(f.prefix.Addr().Next(), port).String())
}

// Close removes the switch and every link to it.
func (f *Fabric) Close() error {
	f.mu.Lock()
	for _, port := range f.ports {
		if port.far != nil {
			port.far.Close()
		}
	}
	f.ports = map[string]*Port{}
	f.mu.Unlock()
	if f.device != nil {
		// The links go with the namespace too, but only when the kernel gets to it.
		if all, err := f.links.LinkList(); err == nil {
			for _, link := range all {
				if link.Attrs().MasterIndex == f.device.Attrs().Index {
					_ = f.links.LinkDel(link)
				}
			}
		}
	}
	if f.links != nil {
		f.links.Close()
	}
	return f.ns.Close()
}

// Client is somebody on the fabric who is not a machine: an outside address to
// send requests from.
type Client struct {
	port *Port
	ns   *netns.Namespace
}

// NewClient puts a client with an address and routes on the fabric.
func (f *Fabric) NewClient(name string, address netip.Addr, routes ...Route) (*Client, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	port, err := f.Attach(Attachment{Name: name, Namespace: ns, Address: address, Routes: routes})
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return &Client{port: port, ns: ns}, nil
}

// Net is the client's network namespace.
func (c *Client) Net() *netns.Namespace { return c.ns }

// Port is the client's link, to partition it or to add routes.
func (c *Client) Port() *Port { return c.port }

// DialContext connects from the client's address.
func (c *Client) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return c.ns.DialContext(ctx, network, address)
}

// HTTP is an HTTP client that sends from the client's address, with a new
// connection for each request.
func (c *Client) HTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: c.DialContext, DisableKeepAlives: true}}
}

// Close takes the client off the fabric.
func (c *Client) Close() error { return errors.Join(c.port.Detach(), c.ns.Close()) }
