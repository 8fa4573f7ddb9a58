package hollow

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/framework/hollow/v1alpha1"
)

// node is one hollow node. Its fields below the first group are covered by the fleet's
// mutex.
type node struct {
	name string
	// group is what it was made from, nil for a node that somebody else made, and number its
	// place in the group.
	group  *v1alpha1.Group
	number int

	// uid is empty until the node is registered.
	uid types.UID
	// bare says that the object lacks what a kubelet reports of its machine.
	bare bool
	// ready is what the API server shows.
	ready  bool
	silent bool
	gone   bool
	// turns are the times at which the node falls silent, or comes back.
	turns []turn
	// version is its Lease's resource version, "" if that is unknown.
	version             string
	renewAt, reportAt   time.Time
	retry               time.Duration
	next                appointment
	subnet              subnet
	capacity, committed amounts
}

type turn struct {
	at     time.Time
	silent bool
}

// add makes a node that is not registered yet.
func (f *Fleet) add(name string, group *v1alpha1.Group, number int) (*node, error) {
	n := &node{name: name, group: group, number: number}
	var err error
	if n.subnet, err = f.subnets.take(); err != nil {
		return nil, err
	}
	if group != nil {
		n.capacity = amountsOf(group.Capacity)
	}
	n.next.keep = func() { f.nodeQueue.Add(n) }
	f.nodes[name] = n
	return n, nil
}

// seeNode takes in a node as the API server shows it.
func (f *Fleet) seeNode(object *corev1.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[object.Name]
	if n == nil {
		var err error
		if n, err = f.add(object.Name, nil, 0); err != nil {
			klog.ErrorS(err, "A node with the label of hollow nodes stays dead", "node", object.Name)
			return
		}
	}
	begins := n.uid != object.UID
	n.uid = object.UID
	n.ready = isReady(object)
	n.bare = len(object.Status.Addresses) == 0
	if len(object.Status.Allocatable) > 0 {
		n.capacity = amountsOf(object.Status.Allocatable)
	} else {
		n.capacity = amountsOf(v1alpha1.UsualCapacity())
	}
	f.moveTo(n, object.Spec.PodCIDRs)
	if begins {
		f.begin(n, time.Now())
	}
	if begins || (!n.ready && !n.silent) {
		n.reportAt = time.Now()
		if n.ready && !n.bare {
			n.reportAt = n.reportAt.Add(f.phase(n, f.spec.Heartbeat.ReportInterval.Duration))
		}
		f.nodeQueue.Add(n)
	}
	if f.missed[n.name] {
		delete(f.missed, n.name)
		go f.lookUp(n.name)
	}
}

// lookUp finds the pods of a node that were seen before it was.
func (f *Fleet) lookUp(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := f.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
	if err != nil {
		klog.ErrorS(err, "Looking up the pods of a node", "node", name)
		return
	}
	for i := range list.Items {
		f.seePod(&list.Items[i])
	}
}

// moveTo has the node's pods take their addresses from the range that its object names,
// if that is another one. The caller holds mu.
func (f *Fleet) moveTo(n *node, ranges []string) {
	const largest = 16
	if len(ranges) == 0 {
		return
	}
	prefix, err := netip.ParsePrefix(ranges[0])
	if err != nil || !prefix.Addr().Is4() || prefix.Bits() < largest || prefix == n.subnet.prefix() || n.subnet.count() > 0 {
		return
	}
	f.subnets.release(n.subnet)
	f.subnets.occupy(prefix)
	n.subnet = newSubnet(number(prefix.Masked().Addr()), prefix.Bits())
}

// begin starts a node's clocks. The caller holds mu.
func (f *Fleet) begin(n *node, now time.Time) {
	n.version, n.renewAt, n.turns = "", now, nil
	n.reportAt = now.Add(f.phase(n, f.spec.Heartbeat.ReportInterval.Duration))
	for _, outage := range f.spec.Outages {
		if !fits(outage.Nodes, n.name) {
			continue
		}
		from := now.Add(f.script.draw(outage.After, n.name, "outage", 0))
		n.turns = append(n.turns, turn{at: from, silent: true})
		if outage.For != nil {
			n.turns = append(n.turns, turn{at: from.Add(f.script.draw(*outage.For, n.name, "return", 0))})
		}
	}
	slices.SortFunc(n.turns, func(a, b turn) int { return a.at.Compare(b.at) })
}

// phase keeps the nodes' heartbeats apart: each begins at its own part of the interval.
func (f *Fleet) phase(n *node, interval time.Duration) time.Duration {
	return f.script.draw(v1alpha1.Span{To: interval}, n.name, "phase", 0)
}

// turn lets a node fall silent or come back. The caller holds mu.
func (f *Fleet) turn(n *node, silent bool, now time.Time) {
	n.silent = silent
	klog.V(2).InfoS("A hollow node changes", "node", n.name, "silent", silent)
	if silent {
		return
	}
	n.renewAt, n.reportAt, n.version = now, now, ""
	for _, p := range f.pods {
		if p.node == n {
			p.recover()
			f.podQueue.Add(p)
		}
	}
}

func (f *Fleet) nodeGone(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[name]; n != nil {
		f.forget(n)
	}
}

// onlyNodes is told which nodes there are. Those that are still to be registered stay.
func (f *Fleet) onlyNodes(names map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, n := range f.nodes {
		if n.uid != "" && !names[name] {
			f.forget(n)
		}
	}
}

// forget drops a node whose object is gone: its machine has been taken away. The caller
// holds mu.
func (f *Fleet) forget(n *node) {
	n.gone = true
	f.agenda.drop(&n.next)
	f.subnets.release(n.subnet)
	delete(f.nodes, n.name)
}

// syncNode does what is due for a node.
func (f *Fleet) syncNode(ctx context.Context, n *node) {
	now := time.Now()
	f.mu.Lock()
	for len(n.turns) > 0 && !n.turns[0].at.After(now) {
		f.turn(n, n.turns[0].silent, now)
		n.turns = n.turns[1:]
	}
	gone, silent, registered := n.gone, n.silent, n.uid != ""
	renew, report := !n.renewAt.After(now), !n.reportAt.After(now)
	f.mu.Unlock()
	var err error
	switch {
	case gone:
		return
	case silent:
	case !registered:
		err = f.register(ctx, n)
	default:
		if renew {
			err = f.renew(ctx, n)
		}
		if err == nil && report {
			err = f.report(ctx, n)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.gone {
		return
	}
	if err != nil && ctx.Err() == nil {
		klog.V(2).InfoS("A hollow node tries again", "node", n.name, "err", err)
		n.retry = min(max(firstRetry, 2*n.retry), lastRetry)
		f.agenda.at(now.Add(n.retry), &n.next)
		return
	}
	n.retry = 0
	if due, some := n.due(); some {
		f.agenda.at(due, &n.next)
	}
}

// due is when the node has something to do next.
func (n *node) due() (due time.Time, some bool) {
	if !n.silent {
		due, some = n.renewAt, true
		if n.reportAt.Before(due) {
			due = n.reportAt
		}
	}
	if len(n.turns) > 0 && (!some || n.turns[0].at.Before(due)) {
		due, some = n.turns[0].at, true
	}
	return due, some
}

// register creates the Node object, whole, or finds the one that is there.
func (f *Fleet) register(ctx context.Context, n *node) error {
	f.mu.Lock()
	wanted := f.object(n, metav1.Now())
	f.mu.Unlock()
	nodes := f.client.CoreV1().Nodes()
	made, err := nodes.Create(ctx, wanted, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		made, err = nodes.Get(ctx, n.name, metav1.GetOptions{})
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	if n.uid == "" {
		n.uid, n.ready = made.UID, isReady(made)
		f.begin(n, time.Now())
	}
	f.mu.Unlock()
	return f.renew(ctx, n)
}

// report sends the node's conditions, and what else it lacks.
func (f *Fleet) report(ctx context.Context, n *node) error {
	now := metav1.Now()
	f.mu.Lock()
	status := reported{Conditions: reports(conditions(now), !n.ready)}
	if n.bare {
		whole := f.object(n, now).Status
		status.Addresses, status.NodeInfo, status.DaemonEndpoints = whole.Addresses, &whole.NodeInfo, &whole.DaemonEndpoints
		if n.group == nil && n.capacity == amountsOf(v1alpha1.UsualCapacity()) {
			status.Capacity, status.Allocatable = v1alpha1.UsualCapacity(), v1alpha1.UsualCapacity()
		}
	}
	f.mu.Unlock()
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	if _, err = f.client.CoreV1().Nodes().Patch(ctx, n.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		if apierrors.IsNotFound(err) {
			return nil // The watch tells it, too.
		}
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n.reportAt = now.Add(f.spec.Heartbeat.ReportInterval.Duration)
	return nil
}
