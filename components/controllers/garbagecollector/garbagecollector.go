// Package garbagecollector deletes objects whose owners are gone, and makes foreground and orphaning deletion happen.
//
// graph.go holds who refers to whom, monitors.go feeds it from an informer of every deletable resource, judge.go acts.
// What the graph says is only a reason to look: nothing is deleted before the API server has confirmed that it should be.
// https://kubernetes.io/docs/concepts/architecture/garbage-collection/
package garbagecollector

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// Controller is the garbage collector.
type Controller struct {
	env     *controller.Env
	workers int

	graph    *graph
	absences *absence
	monitors *monitors
	judged   *controller.Queue[types.UID]
	orphaned *controller.Queue[types.UID]

	sources controller.Sources
	// started is closed when a node is ready: see Run.
	started func()
	begin   chan struct{}

	// settled is held for reading by work, for writing while new resources are being listed: a graph that misses some of
	// an owner's dependents would let the owner go too early.
	settled sync.RWMutex
}

// startDelay is how long the collector waits for a first node at most.
const startDelay = 2 * time.Second

// New makes the garbage collector.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	c := &Controller{
		env: env, workers: workers,
		graph:    newGraph(),
		absences: &absence{since: map[identity]time.Time{}},
		begin:    make(chan struct{}),
	}
	c.started = sync.OnceFunc(func() { close(c.begin) })
	c.monitors = newMonitors(env, c)
	backoff := controller.Backoff{First: 10 * time.Millisecond, Max: 30 * time.Second}
	c.judged = controller.NewQueue("garbage-collector-judge", env.Clock, backoff, c.whileSettled(c.judge))
	c.orphaned = controller.NewQueue("garbage-collector-orphan", env.Clock, backoff, c.whileSettled(c.orphan))
	ready := func(node *corev1.Node) {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				c.started()
			}
		}
	}
	controller.Watch(&c.sources, env.Informers.Core().V1().Nodes().Informer(), controller.Handlers[*corev1.Node]{
		Add: ready, Update: func(_, node *corev1.Node) { ready(node) },
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "garbage-collector-controller" }

// Run implements controller.Controller. Listing every resource there is would slow a cluster's start down, so it waits
// until that is over: for the first ready node, but not for long.
func (c *Controller) Run(ctx context.Context) error {
	late := c.env.Clock.NewTimer(startDelay)
	defer late.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-c.begin:
	case <-late.C():
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { c.monitors.run(ctx) })
	select {
	case <-ctx.Done():
		return nil
	case <-c.monitors.first:
	}
	running.Go(func() { c.judged.Run(ctx, c.workers) })
	running.Go(func() { c.orphaned.Run(ctx, c.workers) })
	return nil
}

func (c *Controller) whileSettled(do func(context.Context, types.UID) error) func(context.Context, types.UID) error {
	return func(ctx context.Context, uid types.UID) error {
		c.settled.RLock()
		defer c.settled.RUnlock()
		return do(ctx, uid)
	}
}

// schedule queues what a change of the graph calls for.
func (c *Controller) schedule(todo work) {
	for _, uid := range todo.judge {
		c.judged.Add(uid)
	}
	for _, uid := range todo.orphan {
		c.orphaned.Add(uid)
	}
	for _, reference := range todo.invalid {
		d := reference.dependent
		about := &corev1.ObjectReference{APIVersion: d.APIVersion, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name, UID: d.UID}
		c.env.Recorder.Eventf(about, corev1.EventTypeWarning, "OwnerRefInvalidNamespace", "ownerRef %s does not exist in namespace %q", reference.owner, d.Namespace)
	}
}
