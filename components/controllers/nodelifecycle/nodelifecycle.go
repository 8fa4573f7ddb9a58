// Package nodelifecycle watches over nodes: it declares silent ones unknown, and turns conditions into taints that keep
// pods away (NoSchedule) and, by package tainteviction, drive them off (NoExecute).
// https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller
package nodelifecycle

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

const (
	workers = 8
	// evictionPeriod is how often nodes that wait for their NoExecute taint are looked at.
	evictionPeriod = 100 * time.Millisecond
)

// Config is how patient the controller is.
type Config struct {
	MonitorPeriod      time.Duration
	GracePeriod        time.Duration
	StartupGracePeriod time.Duration
	Eviction           EvictionRates
}

// Controller is the node lifecycle controller.
type Controller struct {
	env    *controller.Env
	config Config

	sources controller.Sources
	nodes   corelisters.NodeLister
	leases  cache.Indexer
	pods    cache.Indexer
	queue   *controller.Queue[string]

	mu sync.Mutex
	// heard is when each node was last heard of, by this controller's own clock.
	heard map[string]*signs
	zones *zones
}

// New makes the node lifecycle controller.
func New(env *controller.Env, config Config) (controller.Controller, error) {
	nodes := env.Informers.Core().V1().Nodes()
	pods := env.Informers.Core().V1().Pods().Informer()
	leases := env.Informers.Coordination().V1().Leases().Informer()
	if err := podstate.IndexByNode(pods); err != nil {
		return nil, err
	}
	c := &Controller{
		env: env, config: config,
		nodes: nodes.Lister(), leases: leases.GetIndexer(), pods: pods.GetIndexer(),
		heard: map[string]*signs{},
		zones: newZones(config.Eviction),
	}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, nodes.Informer(), controller.Handlers[*corev1.Node]{
		Add:    func(node *corev1.Node) { c.queue.Add(node.Name) },
		Update: func(_, node *corev1.Node) { c.queue.Add(node.Name) },
		Delete: func(node *corev1.Node) { c.queue.Add(node.Name) },
	})
	controller.Watch(&c.sources, leases, controller.Handlers[*coordinationv1.Lease]{})
	c.sources.Need(pods)
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "node-lifecycle-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if !c.sources.WaitForSync(ctx) {
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { c.queue.Run(ctx, workers) })
	running.Go(func() { c.watchOver(ctx) })
	return nil
}

// watchOver looks at all nodes each period, and at those waiting for eviction while there are any.
func (c *Controller) watchOver(ctx context.Context) {
	look := c.env.Clock.NewTicker(c.config.MonitorPeriod)
	defer look.Stop()
	evict := c.env.Clock.NewTimer(evictionPeriod)
	defer evict.Stop()
	evict.Stop()
	c.examineAll(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C():
			c.examineAll(ctx)
		case <-evict.C():
		}
		c.evictDue(ctx)
		if c.zones.waiting() {
			evict.Reset(evictionPeriod)
		}
	}
}

// sync keeps one node's NoSchedule taints in step with its conditions, and lifts its NoExecute taints once it is ready.
func (c *Controller) sync(ctx context.Context, name string) error {
	node, err := c.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		c.mu.Lock()
		delete(c.heard, name)
		c.mu.Unlock()
		c.zones.forget(name)
		return nil
	}
	if err != nil {
		return err
	}
	wanted := withoutManaged(node.Spec.Taints, corev1.TaintEffectNoSchedule)
	wanted = append(wanted, noScheduleTaints(node)...)
	if ready := condition(node, corev1.NodeReady); ready != nil && ready.Status == corev1.ConditionTrue {
		wanted = withoutManaged(wanted, corev1.TaintEffectNoExecute)
		c.zones.forget(name)
	}
	return c.setTaints(ctx, node, wanted)
}

func (c *Controller) all() ([]*corev1.Node, error) { return c.nodes.List(labels.Everything()) }

func condition(node *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == kind {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}
