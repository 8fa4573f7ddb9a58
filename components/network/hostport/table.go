package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const tableName = "plumb-hostports"

// Registers of the packet filter's machine.
const (
	register     = uint32(unix.NFT_REG32_00)
	registerPort = uint32(unix.NFT_REG32_08)
)

// Table is the kernel's part, in the network namespace the process runs in.
type Table struct {
	// Bridge is the interface by which pods are reached.
	Bridge string
	// Pods are the ranges of this node's pods.
	Pods []netip.Prefix

	applied []Mapping
	made    bool
}

// Apply makes mappings the ones that hold. It does nothing if they are already.
func (t *Table) Apply(mappings []Mapping) error {
	if t.made && slices.Equal(t.applied, mappings) || !t.made && len(mappings) == 0 {
		return nil
	}
	if err := t.letLoopbackOut(mappings); err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	for _, f := range []family{ipv4(), ipv6()} {
		f.replace(conn, t.Pods, slices.DeleteFunc(slices.Clone(mappings), func(m Mapping) bool { return m.To.Addr().Is4() != f.is4 }))
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("set the table %s: %w", tableName, err)
	}
	t.applied, t.made = slices.Clone(mappings), true
	return nil
}

// letLoopbackOut lets packets from 127.0.0.1 leave for pods, and their answers return:
// such addresses are otherwise not let off the machine.
func (t *Table) letLoopbackOut(mappings []Mapping) error {
	if !slices.ContainsFunc(mappings, func(m Mapping) bool { return m.To.Addr().Is4() }) {
		return nil
	}
	path := filepath.Join("/proc/sys/net/ipv4/conf", t.Bridge, "route_localnet")
	if err := os.WriteFile(path, []byte("1"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// family is what differs between the two.
type family struct {
	table          nftables.TableFamily
	nfproto        uint32
	is4            bool
	size           uint32
	source, target uint32
	loopback       netip.Prefix
}

func ipv4() family {
	return family{
		table: nftables.TableFamilyIPv4, nfproto: unix.NFPROTO_IPV4, is4: true,
		size: 4, source: 12, target: 16, loopback: netip.MustParsePrefix("127.0.0.0/8"),
	}
}

func ipv6() family {
	return family{
		table: nftables.TableFamilyIPv6, nfproto: unix.NFPROTO_IPV6,
		size: 16, source: 8, target: 24, loopback: netip.MustParsePrefix("::1/128"),
	}
}

// replace queues a table that has nothing but these mappings.
func (f family) replace(conn *nftables.Conn, pods []netip.Prefix, mappings []Mapping) {
	table := &nftables.Table{Name: tableName, Family: f.table}
	// To delete a table that is not there is an error, to add one that is there is none.
	conn.AddTable(table)
	conn.DelTable(table)
	if len(mappings) == 0 {
		return
	}
	conn.AddTable(table)
	chain := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		c := &nftables.Chain{Name: name, Table: table}
		if hook != nil {
			c.Type, c.Hooknum, c.Priority = nftables.ChainTypeNAT, hook, priority
		}
		return conn.AddChain(c)
	}
	lead := chain("lead", nil, nil)
	for _, base := range []*nftables.Chain{
		chain("prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest),
		chain("output", nftables.ChainHookOutput, nftables.ChainPriorityNATDest),
	} {
		conn.AddRule(&nftables.Rule{Table: table, Chain: base, Exprs: []expr.Any{
			&expr.Fib{Register: register, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
			&expr.Verdict{Kind: expr.VerdictJump, Chain: lead.Name},
		}})
	}
	back := chain("postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	for _, m := range mappings {
		conn.AddRule(&nftables.Rule{Table: table, Chain: lead, Exprs: f.lead(m)})
		for _, from := range append([]netip.Prefix{f.loopback}, pods...) {
			if from.Addr().Is4() == f.is4 {
				conn.AddRule(&nftables.Rule{Table: table, Chain: back, Exprs: f.back(m, from)})
			}
		}
	}
}

// lead sends a packet for a port of the node to the pod.
func (f family) lead(m Mapping) []expr.Any {
	var out []expr.Any
	if m.Address.IsValid() {
		out = append(out, f.address(f.target), equal(m.Address.AsSlice()))
	}
	out = append(out, transport(m.Protocol, m.Port)...)
	return append(out,
		&expr.Immediate{Register: register, Data: m.To.Addr().AsSlice()},
		&expr.Immediate{Register: registerPort, Data: bigEndian(m.To.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: f.nfproto, RegAddrMin: register, RegProtoMin: registerPort},
	)
}

// back gives packets that were led to a pod the node's address as their source, if they
// come from where the pod's answer would pass the node by: from a loopback address, or
// from a pod on the same bridge, itself included.
func (f family) back(m Mapping, from netip.Prefix) []expr.Any {
	mask := make([]byte, f.size)
	for i := range from.Bits() {
		mask[i/8] |= 1 << (7 - i%8)
	}
	out := []expr.Any{
		f.address(f.source),
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: f.size, Mask: mask, Xor: make([]byte, f.size)},
		equal(from.Masked().Addr().AsSlice()),
		f.address(f.target), equal(m.To.Addr().AsSlice()),
	}
	out = append(out, transport(m.Protocol, m.To.Port())...)
	return append(out,
		// Only what asked for the node's port: others find the pod by its own.
		&expr.Ct{Key: expr.CtKeyPROTODST, Register: register, Direction: 0}, equal(bigEndian(m.Port)),
		&expr.Masq{},
	)
}

func (f family) address(offset uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.size}
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}

func bigEndian(port uint16) []byte { return []byte{byte(port >> 8), byte(port)} }

func transport(protocol corev1.Protocol, port uint16) []expr.Any {
	number := map[corev1.Protocol]byte{corev1.ProtocolUDP: unix.IPPROTO_UDP, corev1.ProtocolSCTP: unix.IPPROTO_SCTP}[protocol]
	if number == 0 {
		number = unix.IPPROTO_TCP
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, equal([]byte{number}),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, equal(bigEndian(port)),
	}
}
