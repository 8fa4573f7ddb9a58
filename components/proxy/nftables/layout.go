// Package nftables programs the kernel's packet filter, through netlink, to serve the
// ports that package plan plans. All of it is in one table, "kube-proxy", of the
// network namespace the process runs in.
//
//	nat prerouting, output ──► services ──► (address, protocol, port) ─► cluster-… | local-… | external-…
//	                                   └──► (protocol, node port)     ─► external-…
//	nat postrouting ─────────► masquerade what is marked, and hairpins
//	filter prerouting, output ─► unserved ──► drop or refuse
//
// What is unserved is refused before routing, so that the answer does not depend on
// whether the node has a route for it; that needs Linux 5.9.
//
// A port's chains choose an endpoint with one map look-up, whatever their number, and
// a change of a port replaces that port's chains alone, in one transaction.
package nftables

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// tableName is the name upstream's proxy uses as well: two service proxies must not
// work side by side in one network namespace.
const tableName = "kube-proxy"

// Names of the table's own chains, sets and maps.
const (
	chainServices = "services"
	chainUnserved = "unserved"
	chainRefuse   = "refuse"

	mapServiceIPs     = "service-ips"
	mapNodePorts      = "node-ports"
	mapUnservedIPs    = "no-endpoint-services"
	mapUnservedNodes  = "no-endpoint-nodeports"
	setClusterIPs     = "cluster-ips"
	setHairpins       = "hairpin-connections"
	affinityMaxClient = 65536
)

// Registers: a key is built from the first on; what a map gives stands from
// registerTarget on; a random number in registerRandom.
const (
	registerKey    = uint32(unix.NFT_REG32_00)
	registerTarget = uint32(unix.NFT_REG32_08)
	registerRandom = uint32(unix.NFT_REG32_15)
)

// addressing is what differs between the two address families.
type addressing struct {
	table      nftables.TableFamily
	family     corev1.IPFamily
	nfproto    uint32
	size       uint32 // of an address, in bytes
	source     uint32 // offset in the network header
	target     uint32
	datatype   nftables.SetDatatype
	loopback   netip.Prefix
	rejectCode uint8
}

func addressingOf(family corev1.IPFamily) addressing {
	if family == corev1.IPv6Protocol {
		return addressing{
			table: nftables.TableFamilyIPv6, family: family, nfproto: unix.NFPROTO_IPV6,
			size: 16, source: 8, target: 24, datatype: nftables.TypeIP6Addr,
			loopback:   netip.MustParsePrefix("::1/128"),
			rejectCode: 4, // ICMPv6: port unreachable
		}
	}
	return addressing{
		table: nftables.TableFamilyIPv4, family: family, nfproto: unix.NFPROTO_IPV4,
		size: 4, source: 12, target: 16, datatype: nftables.TypeIPAddr,
		loopback:   netip.MustParsePrefix("127.0.0.0/8"),
		rejectCode: 3, // ICMP: port unreachable
	}
}

// words is an address's size in 32-bit registers.
func (a addressing) words() uint32 { return a.size / 4 }

func (a addressing) loadSource(register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: a.source, Len: a.size}
}

func (a addressing) loadTarget(register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: a.target, Len: a.size}
}

// loadService builds the key protocol . port, from register on.
func loadService(register uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Payload{DestRegister: register + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

// sourceIn is true (or, with within false, untrue) for packets whose source is in the range.
func (a addressing) sourceIn(prefix netip.Prefix, within bool) []expr.Any {
	return append([]expr.Any{a.loadSource(registerKey)}, a.inRange(prefix, within)...)
}

func (a addressing) inRange(prefix netip.Prefix, within bool) []expr.Any {
	mask := make([]byte, a.size)
	for i := range prefix.Bits() {
		mask[i/8] |= 1 << (7 - i%8)
	}
	op := expr.CmpOpEq
	if !within {
		op = expr.CmpOpNeq
	}
	return []expr.Any{
		&expr.Bitwise{SourceRegister: registerKey, DestRegister: registerKey, Len: a.size, Mask: mask, Xor: make([]byte, a.size)},
		&expr.Cmp{Op: op, Register: registerKey, Data: prefix.Masked().Addr().AsSlice()},
	}
}

// fromNode and toNode match packets whose source or target is an address of the node.
func fromNode() []expr.Any { return isLocal(&expr.Fib{FlagSADDR: true}) }
func toNode() []expr.Any   { return isLocal(&expr.Fib{FlagDADDR: true}) }

func isLocal(fib *expr.Fib) []expr.Any {
	fib.Register, fib.ResultADDRTYPE = registerKey, true
	return []expr.Any{
		fib,
		&expr.Cmp{Op: expr.CmpOpEq, Register: registerKey, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func verdict(kind expr.VerdictKind, chain string) *expr.Verdict {
	return &expr.Verdict{Kind: kind, Chain: chain}
}

// setMark marks a packet for masquerading, leaving other users' bits alone.
func setMark(bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: registerKey},
		&expr.Bitwise{
			SourceRegister: registerKey, DestRegister: registerKey, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(^bit), Xor: binaryutil.NativeEndian.PutUint32(bit),
		},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: registerKey, SourceRegister: true},
	}
}

func protocolNumber(protocol corev1.Protocol) byte {
	switch protocol {
	case corev1.ProtocolUDP:
		return unix.IPPROTO_UDP
	case corev1.ProtocolSCTP:
		return unix.IPPROTO_SCTP
	}
	return unix.IPPROTO_TCP
}

// Keys and data of map elements; each part fills whole registers.

func serviceKey(protocol corev1.Protocol, port uint16) []byte {
	return []byte{protocolNumber(protocol), 0, 0, 0, byte(port >> 8), byte(port), 0, 0}
}

func addressServiceKey(address netip.Addr, protocol corev1.Protocol, port uint16) []byte {
	return append(address.AsSlice(), serviceKey(protocol, port)...)
}

func endpointValue(e netip.AddrPort) []byte {
	return append(e.Addr().AsSlice(), byte(e.Port()>>8), byte(e.Port()), 0, 0)
}

func hairpinKey(address netip.Addr) []byte {
	return append(address.AsSlice(), address.AsSlice()...)
}

func join(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

func one(e expr.Any) []expr.Any { return []expr.Any{e} }

// fixture is the part of the table that does not depend on Services.
func (t *Table) fixture(conn *nftables.Conn) error {
	a := t.addressing
	addressService := nftables.MustConcatSetType(a.datatype, nftables.TypeInetProto, nftables.TypeInetService)
	service := nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
	t.sets = map[string]*nftables.Set{}
	for _, set := range []*nftables.Set{
		{Name: mapServiceIPs, IsMap: true, KeyType: addressService, DataType: nftables.TypeVerdict},
		{Name: mapNodePorts, IsMap: true, KeyType: service, DataType: nftables.TypeVerdict},
		{Name: mapUnservedIPs, IsMap: true, KeyType: addressService, DataType: nftables.TypeVerdict},
		{Name: mapUnservedNodes, IsMap: true, KeyType: service, DataType: nftables.TypeVerdict},
		{Name: setClusterIPs, KeyType: a.datatype},
		{Name: setHairpins, KeyType: nftables.MustConcatSetType(a.datatype, a.datatype)},
	} {
		set.Table = t.table
		if err := conn.AddSet(set, nil); err != nil {
			return fmt.Errorf("set %s: %w", set.Name, err)
		}
		t.sets[set.Name] = set
	}

	for _, name := range []string{chainServices, chainUnserved, chainRefuse} {
		conn.AddChain(&nftables.Chain{Name: name, Table: t.table})
	}
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) {
		conn.AddChain(&nftables.Chain{Name: name, Table: t.table, Type: kind, Hooknum: hook, Priority: priority})
	}
	base("nat-prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	base("nat-output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	base("nat-postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	afterDestination := *nftables.ChainPriorityNATDest + 10
	base("filter-prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, &afterDestination)
	base("filter-output", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)

	for _, hook := range []string{"nat-prerouting", "nat-output"} {
		t.rule(conn, hook, one(verdict(expr.VerdictJump, chainServices)))
	}
	t.servicesChain(conn)
	t.postrouting(conn)
	t.unservedChain(conn)
	return nil
}

func (t *Table) servicesChain(conn *nftables.Conn) {
	a := t.addressing
	if t.clusterCIDR.IsValid() {
		// Who is not a pod would be answered by the endpoint past this node.
		t.rule(conn, chainServices, join(
			one(a.loadTarget(registerKey)),
			one(&expr.Lookup{SourceRegister: registerKey, SetName: setClusterIPs}),
			a.sourceIn(t.clusterCIDR, false),
			setMark(t.masqueradeMark),
		))
	}
	t.rule(conn, chainServices, join(
		one(a.loadTarget(registerKey)),
		loadService(registerKey+a.words()),
		one(&expr.Lookup{SourceRegister: registerKey, IsDestRegSet: true, SetName: mapServiceIPs}),
	))
	t.rule(conn, chainServices, join(
		toNode(),
		one(a.loadTarget(registerKey)),
		a.inRange(a.loopback, false),
		loadService(registerKey),
		one(&expr.Lookup{SourceRegister: registerKey, IsDestRegSet: true, SetName: mapNodePorts}),
	))
}

func (t *Table) postrouting(conn *nftables.Conn) {
	bit := binaryutil.NativeEndian.PutUint32(t.masqueradeMark)
	t.rule(conn, "nat-postrouting", []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: registerKey},
		&expr.Bitwise{SourceRegister: registerKey, DestRegister: registerKey, Len: 4, Mask: bit, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: registerKey, Data: bit},
		// The mark has done its work; a packet that is routed again must not keep it.
		&expr.Meta{Key: expr.MetaKeyMARK, Register: registerKey},
		&expr.Bitwise{
			SourceRegister: registerKey, DestRegister: registerKey, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(^t.masqueradeMark), Xor: make([]byte, 4),
		},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: registerKey, SourceRegister: true},
		&expr.Masq{FullyRandom: true},
	})
	// A pod that reaches itself through its Service must see another address than its
	// own, or it would take the answer for its own packet.
	t.rule(conn, "nat-postrouting", []expr.Any{
		t.addressing.loadSource(registerKey),
		t.addressing.loadTarget(registerKey + t.addressing.words()),
		&expr.Lookup{SourceRegister: registerKey, SetName: setHairpins},
		&expr.Masq{FullyRandom: true},
	})
}

func (t *Table) unservedChain(conn *nftables.Conn) {
	a := t.addressing
	for _, hook := range []string{"filter-prerouting", "filter-output"} {
		t.rule(conn, hook, []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: registerKey},
			&expr.Bitwise{
				SourceRegister: registerKey, DestRegister: registerKey, Len: 4,
				Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitNEW), Xor: make([]byte, 4),
			},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: registerKey, Data: make([]byte, 4)},
			verdict(expr.VerdictJump, chainUnserved),
		})
	}
	t.rule(conn, chainUnserved, join(
		one(a.loadTarget(registerKey)),
		loadService(registerKey+a.words()),
		one(&expr.Lookup{SourceRegister: registerKey, IsDestRegSet: true, SetName: mapUnservedIPs}),
	))
	t.rule(conn, chainUnserved, join(
		toNode(),
		loadService(registerKey),
		one(&expr.Lookup{SourceRegister: registerKey, IsDestRegSet: true, SetName: mapUnservedNodes}),
	))
	// What is still addressed to a cluster IP asked for a port that the Service lacks.
	t.rule(conn, chainUnserved, []expr.Any{
		a.loadTarget(registerKey),
		&expr.Lookup{SourceRegister: registerKey, SetName: setClusterIPs},
		verdict(expr.VerdictGoto, chainRefuse),
	})
	t.rule(conn, chainRefuse, one(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: a.rejectCode}))
}
