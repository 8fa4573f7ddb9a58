package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// route leads to a node's pods by way of that node, or, without via, to the Services by
// way of the packet filter.
type route struct {
	to   netip.Prefix
	via  netip.Addr
	from netip.Addr
}

// routeTable is the kernel's routing table as far as this agent owns it.
type routeTable interface {
	// list returns the routes this agent set, also in an earlier life.
	list() ([]route, error)
	// set returns errOffLink where the gateway is on none of the machine's networks.
	set(route) error
	remove(route) error
}

// errOffLink says that no route can lead to a node, whose address is not on this machine's
// networks: a simulated node, or one that only something else than routes leads to.
var errOffLink = errors.New("the gateway is not on a network of this machine")

// agent follows the Node objects.
type agent struct {
	config Config
	client kubernetes.Interface
	routes routeTable

	// pods lists this node's pods; nil where there are none.
	pods cache.ListerWatcher

	mu sync.Mutex
	// own are the routes set for each node, and for each ServiceCIDR.
	own map[string][]route
	// addresses are this node's own; services are the ranges of each ServiceCIDR.
	addresses []netip.Addr
	services  map[string][]netip.Prefix
	// ranges are this node's own; they are sent to settled once they are known.
	settled chan []netip.Prefix
}

func (a *agent) run(ctx context.Context) error {
	if err := a.awaitAPI(ctx); err != nil {
		return nil // stopped before the API server answered
	}
	factory := informers.NewSharedInformerFactoryWithOptions(a.client, 0, informers.WithTransform(stripNode))
	informer := factory.Core().V1().Nodes().Informer()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { a.nodeChanged(object.(*corev1.Node)) },
		UpdateFunc: func(_, object any) { a.nodeChanged(object.(*corev1.Node)) },
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			if node, ok := object.(*corev1.Node); ok {
				a.nodeGone(node.Name)
			}
		},
	})
	if err != nil {
		return err
	}
	synced := []cache.InformerSynced{registration.HasSynced}
	if a.config.ServiceRange.IsValid() {
		cidrs := factory.Networking().V1().ServiceCIDRs().Informer()
		if err := a.followServiceCIDRs(cidrs); err != nil {
			return err
		}
		synced = append(synced, cidrs.HasSynced)
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	if err := a.removeStrangers(); err != nil {
		klog.ErrorS(err, "Removing routes of nodes that are gone")
	}
	if a.pods != nil {
		a.leadPorts(ctx)
	}
	<-ctx.Done()
	return nil
}

// awaitAPI returns when the API server answers. Informers back off by seconds where
// it refuses at first, and a booting cluster cannot spare those.
func (a *agent) awaitAPI(ctx context.Context) error {
	return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := a.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	})
}

// stripNode keeps what the agent reads, so that a thousand nodes stay small.
func stripNode(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion},
		Spec:       corev1.NodeSpec{PodCIDR: node.Spec.PodCIDR, PodCIDRs: node.Spec.PodCIDRs},
		Status:     corev1.NodeStatus{Addresses: node.Status.Addresses},
	}, nil
}

func (a *agent) nodeChanged(node *corev1.Node) {
	ranges, err := podRanges(node.Spec.PodCIDRs)
	if err == nil && len(ranges) > 0 {
		if node.Name == a.config.NodeName {
			err = a.serveOwn(node, ranges)
		} else {
			err = a.routeTo(node, ranges)
		}
	}
	if err != nil {
		klog.ErrorS(err, "Connecting to a node's pods", "node", node.Name)
	}
}

func (a *agent) serveOwn(node *corev1.Node, ranges []netip.Prefix) error {
	if err := a.routeToServices(node); err != nil {
		return err
	}
	content, err := renderCNI(a.config, ranges)
	if err != nil {
		return err
	}
	select {
	case a.settled <- ranges:
	default:
	}
	changed, err := installCNI(a.config.ConfigDir, content)
	if changed {
		klog.InfoS("Wrote the CNI configuration", "dir", a.config.ConfigDir, "ranges", ranges)
	}
	return err
}

// internalAddresses are the node's addresses of type InternalIP.
func internalAddresses(node *corev1.Node) []netip.Addr {
	var found []netip.Addr
	for _, entry := range node.Status.Addresses {
		if address, err := netip.ParseAddr(entry.Address); err == nil && entry.Type == corev1.NodeInternalIP {
			found = append(found, address)
		}
	}
	return found
}

func (a *agent) routeTo(node *corev1.Node, ranges []netip.Prefix) error {
	var wanted []route
	for _, prefix := range ranges {
		for _, via := range internalAddresses(node) {
			if via.Is4() == prefix.Addr().Is4() {
				wanted = append(wanted, route{to: prefix, via: via})
				break
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.replace(node.Name, wanted)
}

func (a *agent) nodeGone(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.replace(name, nil); err != nil {
		klog.ErrorS(err, "Removing the routes to a node that is gone", "node", name)
	}
}

// replace makes wanted the node's routes. The caller holds mu.
func (a *agent) replace(name string, wanted []route) error {
	var errs []error
	var kept []route
	for _, old := range a.own[name] {
		if slices.Contains(wanted, old) || a.elsewhere(name, old.to) {
			continue
		}
		if err := a.routes.remove(old); err != nil {
			errs = append(errs, fmt.Errorf("route to %s: %w", old.to, err))
			kept = append(kept, old)
		}
	}
	for _, next := range wanted {
		if !slices.Contains(a.own[name], next) {
			err := a.routes.set(next)
			if errors.Is(err, errOffLink) {
				klog.V(2).InfoS("Not routing", "node", name, "range", next.to, "via", next.via, "err", err)
				continue
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("route to %s: %w", next.to, err))
				continue
			}
			klog.InfoS("Routing", "node", name, "range", next.to, "via", next.via)
		}
		kept = append(kept, next)
	}
	if len(kept) == 0 {
		delete(a.own, name)
	} else {
		a.own[name] = kept
	}
	return errors.Join(errs...)
}

// elsewhere is true where another node has taken the range over, whose route must stay.
func (a *agent) elsewhere(name string, to netip.Prefix) bool {
	for other, routes := range a.own {
		if other != name && slices.ContainsFunc(routes, func(r route) bool { return r.to == to }) {
			return true
		}
	}
	return false
}

// removeStrangers deletes routes of an earlier life to nodes that no longer exist.
func (a *agent) removeStrangers() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	present, err := a.routes.list()
	if err != nil {
		return err
	}
	var errs []error
	for _, old := range present {
		known := false
		for _, routes := range a.own {
			known = known || slices.Contains(routes, old)
		}
		if !known {
			errs = append(errs, a.routes.remove(old))
		}
	}
	return errors.Join(errs...)
}
