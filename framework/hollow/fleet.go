// Package hollow simulates nodes: thousands of them in one process, cheap enough to stand
// beside a control plane on a small machine. Each registers its Node, renews its Lease,
// reports its status, and does for the pods that are bound to it what a kubelet would, by
// a declared script and without running anything. It works on any cluster:
//
//	fleet, err := hollow.New(config, v1alpha1.New(500))
//	if err != nil {
//		return err
//	}
//	return fleet.Run(ctx)
//
// There is one watch on pods and one on nodes, one agenda for everything that is due, and
// a pod is a few dozen bytes here, not its object. Unlike a kubelet, hollow nodes record
// no events and answer no requests, for logs or metrics.
package hollow

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/framework/hollow/v1alpha1"
)

const (
	// How many requests are under way at a time. Nodes have their own, so that no flood of
	// pods keeps them from renewing their Leases.
	podWorkers  = 16
	nodeWorkers = 8

	firstRetry, lastRetry = 100 * time.Millisecond, 10 * time.Second
)

// Fleet is a number of hollow nodes.
type Fleet struct {
	client kubernetes.Interface
	spec   *v1alpha1.Spec
	script *script
	agenda *agenda
	// podQueue and nodeQueue hold those that have something to do now. Either hands
	// somebody out to one worker at a time.
	podQueue  workqueue.TypedInterface[*pod]
	nodeQueue workqueue.TypedInterface[*node]

	mu      sync.Mutex
	subnets *subnets
	nodes   map[string]*node
	pods    map[string]*pod
	// missed are the nodes of pods that were seen before their node.
	missed map[string]bool
}

// New makes the nodes that a description has; Run brings them to life.
func New(config *rest.Config, spec *v1alpha1.Spec) (*Fleet, error) {
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.QPS = -1
	config.UserAgent = "plumb-hollow"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return newFleet(client, spec)
}

func newFleet(client kubernetes.Interface, spec *v1alpha1.Spec) (*Fleet, error) {
	spec.Default()
	if err := spec.Validate(nil).ToAggregate(); err != nil {
		return nil, err
	}
	script, err := newScript(spec)
	if err != nil {
		return nil, err
	}
	f := &Fleet{
		client: client, spec: spec, script: script, agenda: newAgenda(),
		podQueue: workqueue.NewTyped[*pod](), nodeQueue: workqueue.NewTyped[*node](),
		subnets: newSubnets(netip.MustParsePrefix(spec.CIDR), spec.SubnetBits()),
		nodes:   map[string]*node{}, pods: map[string]*pod{}, missed: map[string]bool{},
	}
	for i := range spec.Nodes {
		group := &spec.Nodes[i]
		for n := range group.Count {
			if _, err := f.add(fmt.Sprintf("%s-%d", group.Name, n+1), group, n); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// Run keeps the nodes until ctx ends. Their objects stay.
func (f *Fleet) Run(ctx context.Context) error {
	if err := f.awaitAPI(ctx); err != nil {
		return nil // stopped before the API server answered
	}
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The nodes that there are already come first: they are taken over, not made.
	nodes := f.client.CoreV1().Nodes()
	nodesKnown, podsKnown := make(chan struct{}), make(chan struct{})
	f.follow(ctx, &work, &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtimeObject, error) {
			o.LabelSelector = v1alpha1.Label
			return nodes.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watcher, error) {
			o.LabelSelector = v1alpha1.Label
			return nodes.Watch(ctx, o)
		},
	}, &corev1.Node{}, &store[*corev1.Node]{name: nodeName, see: f.seeNode, lose: f.nodeGone, replace: f.onlyNodes, full: nodesKnown})
	if !closed(ctx, nodesKnown) {
		return nil
	}
	// Then their pods, before any other begins: an address that one has is no other's.
	bound := fields.OneTermNotEqualSelector("spec.nodeName", "").String()
	pods := f.client.CoreV1().Pods(metav1.NamespaceAll)
	f.follow(ctx, &work, &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtimeObject, error) {
			o.FieldSelector = bound
			return pods.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watcher, error) {
			o.FieldSelector = bound
			return pods.Watch(ctx, o)
		},
	}, &corev1.Pod{}, &store[*corev1.Pod]{name: podName, see: f.seePod, lose: f.podGone, replace: f.onlyPods, full: podsKnown})
	if !closed(ctx, podsKnown) {
		return nil
	}
	klog.InfoS("Hollow nodes come to life", "count", f.spec.Total(), "renewInterval", f.spec.Heartbeat.RenewInterval.Duration)
	f.mu.Lock()
	for _, n := range f.nodes {
		f.nodeQueue.Add(n)
	}
	f.mu.Unlock()
	work.Go(func() { f.agenda.run(ctx) })
	for range podWorkers {
		work.Go(func() { serve(ctx, f.podQueue, f.syncPod) })
	}
	for range nodeWorkers {
		work.Go(func() { serve(ctx, f.nodeQueue, f.syncNode) })
	}
	<-ctx.Done()
	f.podQueue.ShutDown()
	f.nodeQueue.ShutDown()
	return nil
}

// closed waits for a channel, and says whether it was closed before ctx ended.
func closed(ctx context.Context, channel <-chan struct{}) bool {
	select {
	case <-channel:
		return true
	case <-ctx.Done():
		return false
	}
}

// serve has one of a queue after the other do what is due.
func serve[T comparable](ctx context.Context, queue workqueue.TypedInterface[T], sync func(context.Context, T)) {
	for {
		item, down := queue.Get()
		if down {
			return
		}
		sync(ctx, item)
		queue.Done(item)
	}
}

// awaitAPI returns when the API server answers. Reflectors back off by seconds where it
// refuses at first, and a booting cluster cannot spare those.
func (f *Fleet) awaitAPI(ctx context.Context) error {
	const pause = 20 * time.Millisecond
	return wait.PollUntilContextCancel(ctx, pause, true, func(ctx context.Context) (bool, error) {
		_, err := f.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	})
}

// Silence lets nodes fall silent, as if their machines were dead; Revive ends that. Names
// of other nodes are ignored.
func (f *Fleet) Silence(names ...string) { f.setSilent(true, names) }

// Revive ends the silence of nodes.
func (f *Fleet) Revive(names ...string) { f.setSilent(false, names) }

func (f *Fleet) setSilent(silent bool, names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		if n := f.nodes[name]; n != nil && n.silent != silent {
			f.turn(n, silent, time.Now())
			f.nodeQueue.Add(n)
		}
	}
}
