package nftables

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/components/proxy/plan"
)

// chain is a chain of one port: what it does, in words that also tell whether it
// changed, and how its rules are made.
type chain struct {
	meaning string
	// endpoints are where the chain can lead; nil for chains that only pass on.
	endpoints []netip.AddrPort
	rules     func(t *Table, conn *nftables.Conn, name string) error
}

// element is an entry of one of the table's own sets or maps.
type element struct {
	set string
	key string // the bytes of the key
}

// programme is everything the table holds for one port.
type programme struct {
	chains   map[string]chain
	affinity map[string]time.Duration // maps from client to endpoint, by name
	elements map[element]expr.Verdict
}

// compile turns a planned port into chains and map entries.
func (t *Table) compile(port *plan.Port) programme {
	id := fmt.Sprintf("%s/%s/%s/%s", port.Name.Service.Namespace, port.Name.Service.Name, strings.ToLower(string(port.Name.Protocol)), port.Name.Port)
	p := programme{chains: map[string]chain{}, affinity: map[string]time.Duration{}, elements: map[element]expr.Verdict{}}

	endpointChain := func(kind string, endpoints []netip.AddrPort) string {
		name := kind + "-" + id
		if len(endpoints) > 0 {
			p.chains[name] = t.endpointChain(endpoints, port.Affinity)
			if port.Affinity > 0 {
				p.affinity[affinityMap(name)] = port.Affinity
			}
		}
		return name
	}
	cluster := endpointChain("cluster", port.Cluster)
	local := endpointChain("local", port.Local)

	internal, inside := cluster, len(port.Cluster) > 0
	if port.InternalLocal {
		internal, inside = local, len(port.Local) > 0
	}
	for _, address := range port.ClusterIPs {
		key := addressServiceKey(address, port.Name.Protocol, port.Number)
		p.elements[element{setClusterIPs, string(address.AsSlice())}] = expr.Verdict{}
		switch {
		case inside:
			p.elements[element{mapServiceIPs, string(key)}] = *verdict(expr.VerdictGoto, internal)
		case port.InternalLocal && port.Anywhere:
			p.elements[element{mapUnservedIPs, string(key)}] = *verdict(expr.VerdictDrop, "")
		default:
			p.elements[element{mapUnservedIPs, string(key)}] = *verdict(expr.VerdictGoto, chainRefuse)
		}
	}
	if port.External() {
		t.compileExternal(&p, port, id, cluster, local)
	}
	for _, e := range port.OnNode {
		p.elements[element{setHairpins, string(hairpinKey(e.Addr()))}] = expr.Verdict{}
	}
	return p
}

func (t *Table) compileExternal(p *programme, port *plan.Port, id, cluster, local string) {
	external := "external-" + id
	served := len(port.Cluster) > 0 || port.ExternalLocal && len(port.Local) > 0
	if served {
		p.chains[external] = t.externalChain(port, cluster, local)
	}
	entry := func(servedMap, unservedMap string, key []byte, target string) {
		if served {
			p.elements[element{servedMap, string(key)}] = *verdict(expr.VerdictGoto, target)
		}
		switch {
		case port.ExternalLocal && len(port.Local) == 0 && port.Anywhere:
			// Somebody else's node serves it; a load balancer is to find out by itself.
			p.elements[element{unservedMap, string(key)}] = *verdict(expr.VerdictDrop, "")
		case !served:
			p.elements[element{unservedMap, string(key)}] = *verdict(expr.VerdictGoto, chainRefuse)
		}
	}
	if port.NodePort != 0 {
		entry(mapNodePorts, mapUnservedNodes, serviceKey(port.Name.Protocol, port.NodePort), external)
	}
	for _, address := range port.ExternalIPs {
		entry(mapServiceIPs, mapUnservedIPs, addressServiceKey(address, port.Name.Protocol, port.Number), external)
	}
	balanced := external
	if served && len(port.SourceRanges) > 0 && len(port.LoadBalancerIPs) > 0 {
		balanced = "firewall-" + id
		p.chains[balanced] = t.firewallChain(port.SourceRanges, external)
	}
	for _, address := range port.LoadBalancerIPs {
		entry(mapServiceIPs, mapUnservedIPs, addressServiceKey(address, port.Name.Protocol, port.Number), balanced)
	}
}

func affinityMap(chain string) string { return "affinity-" + chain }

// endpointChain sends a connection to one of the endpoints, each as likely as the
// others; with affinity, a client that came before goes where it went.
func (t *Table) endpointChain(endpoints []netip.AddrPort, affinity time.Duration) chain {
	return chain{
		meaning:   fmt.Sprint("to ", endpoints, " affinity ", affinity),
		endpoints: endpoints,
		rules: func(t *Table, conn *nftables.Conn, name string) error {
			a := t.addressing
			target := &expr.NAT{
				Type: expr.NATTypeDestNAT, Family: a.nfproto,
				RegAddrMin: registerTarget, RegProtoMin: registerTarget + a.words(), Specified: true,
			}
			var remember []expr.Any
			if affinity > 0 {
				remember = []expr.Any{
					a.loadSource(registerKey),
					&expr.Dynset{
						SrcRegKey: registerKey, SrcRegData: registerTarget, SetName: affinityMap(name),
						Operation: uint32(unix.NFT_DYNSET_OP_UPDATE), Timeout: affinity,
					},
				}
				t.rule(conn, name, join(
					[]expr.Any{
						a.loadSource(registerKey),
						&expr.Lookup{SourceRegister: registerKey, DestRegister: registerTarget, IsDestRegSet: true, SetName: affinityMap(name)},
					},
					remember,
					one(target),
				))
			}
			choices := &nftables.Set{
				Table: t.table, Anonymous: true, Constant: true, IsMap: true,
				KeyType:  nftables.TypeInteger,
				DataType: nftables.MustConcatSetType(a.datatype, nftables.TypeInetService),
			}
			elements := make([]nftables.SetElement, len(endpoints))
			for i, e := range endpoints {
				elements[i] = nftables.SetElement{Key: binaryutil.NativeEndian.PutUint32(uint32(i)), Val: endpointValue(e)}
			}
			if err := conn.AddSet(choices, elements); err != nil {
				return err
			}
			t.rule(conn, name, join(
				[]expr.Any{
					&expr.Numgen{Register: registerRandom, Modulus: uint32(len(endpoints)), Type: unix.NFT_NG_RANDOM},
					&expr.Lookup{
						SourceRegister: registerRandom, DestRegister: registerTarget, IsDestRegSet: true,
						SetName: choices.Name, SetID: choices.ID,
					},
				},
				remember,
				one(target),
			))
			return nil
		},
	}
}

// externalChain is what traffic from outside passes first.
func (t *Table) externalChain(port *plan.Port, cluster, local string) chain {
	toCluster, toLocal := len(port.Cluster) > 0, len(port.Local) > 0
	if !port.ExternalLocal {
		return chain{
			meaning: "masquerade to " + cluster,
			rules: func(t *Table, conn *nftables.Conn, name string) error {
				t.rule(conn, name, append(setMark(t.masqueradeMark), verdict(expr.VerdictGoto, cluster)))
				return nil
			},
		}
	}
	return chain{
		meaning: fmt.Sprint("keep the source; cluster ", toCluster, " local ", toLocal),
		rules: func(t *Table, conn *nftables.Conn, name string) error {
			if toCluster {
				// The policy is about traffic from outside; pods and the node itself are inside.
				if t.clusterCIDR.IsValid() {
					t.rule(conn, name, append(t.addressing.sourceIn(t.clusterCIDR, true), verdict(expr.VerdictGoto, cluster)))
				}
				t.rule(conn, name, join(fromNode(), setMark(t.masqueradeMark), one(verdict(expr.VerdictGoto, cluster))))
			}
			if toLocal {
				t.rule(conn, name, one(verdict(expr.VerdictGoto, local)))
			}
			return nil
		},
	}
}

// firewallChain admits the load balancer's allowed clients.
func (t *Table) firewallChain(allowed []netip.Prefix, next string) chain {
	return chain{
		meaning: fmt.Sprint("only ", allowed, " to ", next),
		rules: func(t *Table, conn *nftables.Conn, name string) error {
			for _, prefix := range allowed {
				t.rule(conn, name, append(t.addressing.sourceIn(prefix, true), verdict(expr.VerdictGoto, next)))
			}
			t.rule(conn, name, one(verdict(expr.VerdictDrop, "")))
			return nil
		},
	}
}
