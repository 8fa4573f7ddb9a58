package nftables

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/components/proxy/plan"
)

// Config says how the table treats addresses.
type Config struct {
	Family corev1.IPFamily
	// ClusterCIDR is the range of the pods; the zero value means it is not known, and
	// then nobody counts as coming from outside the cluster.
	ClusterCIDR netip.Prefix
	// MasqueradeBit is the bit of the packet mark, 0 to 31, that asks for masquerading.
	MasqueradeBit int32
}

// Table is the kernel's table and the memory of what is in it. It is not safe for
// concurrent use.
type Table struct {
	addressing     addressing
	clusterCIDR    netip.Prefix
	masqueradeMark uint32

	table *nftables.Table
	sets  map[string]*nftables.Set

	programmes map[plan.PortName]programme
	// held counts who needs an element; contested are those two ports want with
	// different verdicts, where the first keeps it.
	held      map[element]*holding
	contested map[element]bool
	// stale is set when the kernel may differ from this memory.
	stale bool
}

type holding struct {
	verdict expr.Verdict
	count   int
}

// New makes a table that is not yet in the kernel: the first Apply puts it there.
func New(config Config) *Table {
	a := addressingOf(config.Family)
	return &Table{
		addressing:     a,
		clusterCIDR:    config.ClusterCIDR,
		masqueradeMark: 1 << config.MasqueradeBit,
		table:          &nftables.Table{Name: tableName, Family: a.table},
		programmes:     map[plan.PortName]programme{},
		stale:          true,
	}
}

// Apply makes the kernel serve the ports named by changed as they are planned now
// (nil: no longer at all) and leaves all others as they are. It is one transaction:
// after an error the kernel is as it was before, and the next Apply writes everything
// anew.
func (t *Table) Apply(changed map[plan.PortName]*plan.Port) error {
	next := make(map[plan.PortName]programme, len(changed))
	for name, port := range changed {
		if port != nil {
			next[name] = t.compile(port)
		}
	}
	err := t.commit(changed, next)
	if err != nil || t.stale {
		t.stale = true
		err = t.commit(changed, next)
	}
	if err != nil {
		t.stale = true
		return err
	}
	return t.forgetLostEndpoints(next)
}

// commit writes one transaction; with stale set, of everything.
func (t *Table) commit(changed map[plan.PortName]*plan.Port, next map[plan.PortName]programme) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("opening netlink: %w", err)
	}
	before := map[plan.PortName]programme{}
	after := next
	anew := t.stale
	t.stale = false
	if anew {
		after = make(map[plan.PortName]programme, len(t.programmes)+len(next))
		for name, old := range t.programmes {
			if _, replaced := changed[name]; !replaced {
				after[name] = old
			}
		}
		for name, p := range next {
			after[name] = p
		}
		t.held, t.contested = map[element]*holding{}, map[element]bool{}
		conn.AddTable(t.table) // so that deleting it cannot fail
		conn.DelTable(t.table)
		conn.AddTable(t.table)
		if err := t.fixture(conn); err != nil {
			return err
		}
	} else {
		for name := range changed {
			if old, ok := t.programmes[name]; ok {
				before[name] = old
			}
		}
	}
	if err := t.write(conn, before, after); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("programming nftables: %w", err)
	}
	for name := range changed {
		delete(t.programmes, name)
	}
	for name, p := range after {
		t.programmes[name] = p
	}
	return nil
}

// write queues the difference between two states in an order in which nothing that is
// referred to is missing: entries go first and come last.
func (t *Table) write(conn *nftables.Conn, before, after map[plan.PortName]programme) error {
	oldChains, oldMaps, oldElements := merge(before)
	newChains, newMaps, newElements := merge(after)

	gone, come := t.settle(oldElements, newElements)
	if len(gone) > 0 {
		if err := t.elements(gone, conn.SetDeleteElements); err != nil {
			return err
		}
	}
	for name := range newMaps {
		if oldMaps[name] {
			continue
		}
		if err := conn.AddSet(t.affinitySet(name), nil); err != nil {
			return err
		}
	}
	for name := range newChains {
		conn.AddChain(&nftables.Chain{Name: name, Table: t.table})
	}
	for name, old := range oldChains {
		if newChains[name].meaning != old.meaning {
			conn.FlushChain(&nftables.Chain{Name: name, Table: t.table})
		}
	}
	for name, c := range newChains {
		if oldChains[name].meaning == c.meaning {
			continue
		}
		if err := c.rules(t, conn, name); err != nil {
			return fmt.Errorf("chain %s: %w", name, err)
		}
	}
	if len(come) > 0 {
		if err := t.elements(come, conn.SetAddElements); err != nil {
			return err
		}
	}
	for name := range oldChains {
		if _, stays := newChains[name]; !stays {
			conn.DelChain(&nftables.Chain{Name: name, Table: t.table})
		}
	}
	for name := range oldMaps {
		if !newMaps[name] {
			conn.DelSet(t.affinitySet(name))
		}
	}
	return nil
}

func (t *Table) affinitySet(name string) *nftables.Set {
	a := t.addressing
	return &nftables.Set{
		Table: t.table, Name: name, IsMap: true, Dynamic: true, HasTimeout: true, Size: affinityMaxClient,
		KeyType:  a.datatype,
		DataType: nftables.MustConcatSetType(a.datatype, nftables.TypeInetService),
	}
}

func (t *Table) rule(conn *nftables.Conn, chain string, exprs []expr.Any) {
	conn.AddRule(&nftables.Rule{Table: t.table, Chain: &nftables.Chain{Name: chain, Table: t.table}, Exprs: exprs})
}

// change is an element that comes or goes.
type change struct {
	element element
	verdict expr.Verdict
}

// settle counts holders and says which elements really go and come.
func (t *Table) settle(old, next []change) (gone, come []change) {
	touched := map[element]expr.Verdict{}
	present := map[element]bool{}
	note := func(e element) {
		if _, seen := touched[e]; seen {
			return
		}
		h, held := t.held[e]
		present[e] = held
		if held {
			touched[e] = h.verdict
		} else {
			touched[e] = expr.Verdict{}
		}
	}
	for _, c := range old {
		note(c.element)
		h := t.held[c.element]
		if h == nil || h.verdict != c.verdict {
			continue // it had lost the contest for this element
		}
		if h.count--; h.count == 0 {
			delete(t.held, c.element)
			// The loser gets it when all is written anew.
			t.stale = t.stale || t.contested[c.element]
		}
	}
	for _, c := range next {
		note(c.element)
		switch h := t.held[c.element]; {
		case h == nil:
			t.held[c.element] = &holding{verdict: c.verdict, count: 1}
		case h.verdict == c.verdict:
			h.count++
		default:
			t.contested[c.element] = true
		}
	}
	for e, was := range touched {
		h, is := t.held[e]
		if present[e] && (!is || h.verdict != was) {
			gone = append(gone, change{e, was})
		}
		if is && (!present[e] || h.verdict != was) {
			come = append(come, change{e, h.verdict})
		}
	}
	return gone, come
}

// elements hands changes to netlink, set by set.
func (t *Table) elements(changes []change, queue func(*nftables.Set, []nftables.SetElement) error) error {
	bySet := map[string][]nftables.SetElement{}
	for _, c := range changes {
		e := nftables.SetElement{Key: []byte(c.element.key)}
		if t.sets[c.element.set].IsMap {
			e.VerdictData = &c.verdict
		}
		bySet[c.element.set] = append(bySet[c.element.set], e)
	}
	// A netlink attribute holds 64 KiB: some hundred elements a message are safe.
	const most = 400
	for name, all := range bySet {
		for part := range slices.Chunk(all, most) {
			if err := queue(t.sets[name], part); err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	return nil
}

func merge(ports map[plan.PortName]programme) (map[string]chain, map[string]bool, []change) {
	chains, maps := map[string]chain{}, map[string]bool{}
	var elements []change
	for _, p := range ports {
		for name, c := range p.chains {
			chains[name] = c
		}
		// Entries carry their own timeout; the map itself never changes.
		for name := range p.affinity {
			maps[name] = true
		}
		for e, v := range p.elements {
			elements = append(elements, change{e, v})
		}
	}
	return chains, maps, elements
}

// forgetLostEndpoints ends the affinity of clients to endpoints that are gone.
func (t *Table) forgetLostEndpoints(changed map[plan.PortName]programme) error {
	var errs []error
	for _, p := range changed {
		for name, c := range p.chains {
			if _, has := p.affinity[affinityMap(name)]; has {
				errs = append(errs, t.forget(affinityMap(name), c.endpoints))
			}
		}
	}
	return errors.Join(errs...)
}

func (t *Table) forget(name string, kept []netip.AddrPort) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	set := t.affinitySet(name)
	elements, err := conn.GetSetElements(set)
	if err != nil {
		return fmt.Errorf("map %s: %w", name, err)
	}
	for _, e := range elements {
		if slices.ContainsFunc(kept, func(a netip.AddrPort) bool { return string(endpointValue(a)) == string(e.Val) }) {
			continue
		}
		// One at a time: an entry that expires meanwhile must not fail the others.
		if err := conn.SetDeleteElements(set, []nftables.SetElement{{Key: e.Key, Val: e.Val}}); err != nil {
			return err
		}
		if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("map %s: %w", name, err)
		}
	}
	return nil
}

// Remove takes the table out of the kernel.
func Remove(family corev1.IPFamily) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: tableName, Family: addressingOf(family).table}
	conn.AddTable(table)
	conn.DelTable(table)
	return conn.Flush()
}
