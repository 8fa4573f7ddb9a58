// Package endpointslice keeps the EndpointSlices of Services with a selector, by the reconciler of k8s.io/endpointslice.
// Every change is written at once: there is no batching delay.
// https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
package endpointslice

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	reconciler "k8s.io/endpointslice"
	"k8s.io/endpointslice/topologycache"
	sliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// managedBy is the value of endpointslice.kubernetes.io/managed-by on what this controller writes.
const managedBy = "endpointslice-controller.k8s.io"

var errBehind = errors.New("the EndpointSlice cache is behind what was written")

// Controller is the EndpointSlice controller.
type Controller struct {
	env     *controller.Env
	workers int

	sources  controller.Sources
	services corelisters.ServiceLister
	pods     corelisters.PodLister
	nodes    corelisters.NodeLister
	slices   discoverylisters.EndpointSliceLister
	queue    *controller.Queue[controller.Key]

	reconciler *reconciler.Reconciler
	written    *sliceutil.EndpointSliceTracker
	triggers   *sliceutil.TriggerTimeTracker
	zones      *topologycache.TopologyCache
}

// New makes the EndpointSlice controller.
func New(env *controller.Env, workers int, maxPerSlice int32) (controller.Controller, error) {
	core := env.Informers.Core().V1()
	slices := env.Informers.Discovery().V1().EndpointSlices()
	c := &Controller{
		env: env, workers: workers,
		services: core.Services().Lister(),
		pods:     core.Pods().Lister(),
		nodes:    core.Nodes().Lister(),
		slices:   slices.Lister(),
		written:  sliceutil.NewEndpointSliceTracker(),
		triggers: sliceutil.NewTriggerTimeTracker(),
		zones:    topologycache.NewTopologyCache(),
	}
	c.reconciler = reconciler.NewReconciler(env.Client, c.nodes, maxPerSlice, c.written, c.zones, env.Recorder, managedBy,
		reconciler.WithPreferSameTrafficDistributionEnabled(true))
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, core.Services().Informer(), controller.Any(func(service *corev1.Service) {
		c.queue.Add(cache.MetaObjectToName(service))
	}))
	controller.Watch(&c.sources, core.Pods().Informer(), controller.Handlers[*corev1.Pod]{
		Add:    func(pod *corev1.Pod) { c.podChanged(sliceutil.GetPodUpdateProjectionKey(nil, pod)) },
		Update: func(old, pod *corev1.Pod) { c.podChanged(sliceutil.GetPodUpdateProjectionKey(old, pod)) },
		Delete: func(pod *corev1.Pod) { c.podChanged(sliceutil.GetPodUpdateProjectionKey(pod, nil)) },
	})
	controller.Watch(&c.sources, slices.Informer(), controller.Handlers[*discoveryv1.EndpointSlice]{Add: c.sliceSeen, Update: c.sliceUpdated, Delete: c.sliceDeleted})
	controller.Watch(&c.sources, core.Nodes().Informer(), controller.Handlers[*corev1.Node]{
		Add: func(*corev1.Node) { c.nodesChanged() },
		Update: func(old, node *corev1.Node) {
			if zoneFacts(old) != zoneFacts(node) {
				c.nodesChanged()
			}
		},
		Delete: func(*corev1.Node) { c.nodesChanged() },
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "endpointslice-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, c.workers)
	}
	return nil
}

func (c *Controller) podChanged(change *sliceutil.PodProjectionKey) {
	affected, err := sliceutil.GetServicesToUpdate(c.services, change)
	if err != nil {
		return
	}
	for key := range affected {
		if name, err := cache.ParseObjectName(key); err == nil {
			c.queue.Add(name)
		}
	}
}

func (c *Controller) wake(slice *discoveryv1.EndpointSlice) {
	if name := slice.Labels[discoveryv1.LabelServiceName]; name != "" {
		c.queue.Add(controller.Key{Namespace: slice.Namespace, Name: name})
	}
}

// sliceSeen wakes the Service of a slice that somebody else has written.
func (c *Controller) sliceSeen(slice *discoveryv1.EndpointSlice) {
	if c.reconciler.ManagedByController(slice) && c.written.ShouldSync(slice) {
		c.wake(slice)
	}
}

func (c *Controller) sliceUpdated(old, slice *discoveryv1.EndpointSlice) {
	if old.Labels[discoveryv1.LabelServiceName] != slice.Labels[discoveryv1.LabelServiceName] || c.reconciler.ManagedByChanged(old, slice) {
		c.wake(old)
		c.wake(slice)
		return
	}
	c.sliceSeen(slice)
}

func (c *Controller) sliceDeleted(slice *discoveryv1.EndpointSlice) {
	if c.reconciler.ManagedByController(slice) && c.written.Has(slice) && !c.written.HandleDeletion(slice) {
		c.wake(slice)
	}
}

// facts of a node that topology hints depend on.
type facts struct {
	zone, cpu string
	ready     corev1.ConditionStatus
	excluded  bool
}

func zoneFacts(node *corev1.Node) facts {
	f := facts{zone: node.Labels[corev1.LabelTopologyZone], cpu: node.Status.Allocatable.Cpu().String()}
	_, f.excluded = node.Labels["node-role.kubernetes.io/control-plane"]
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			f.ready = condition.Status
		}
	}
	return f
}

func (c *Controller) nodesChanged() {
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return
	}
	c.zones.SetNodes(klog.Background(), nodes)
	for _, key := range c.zones.GetOverloadedServices() {
		if name, err := cache.ParseObjectName(key); err == nil {
			c.queue.Add(name)
		}
	}
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	service, err := c.services.Services(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		// The garbage collector deletes the slices.
		c.triggers.DeleteService(key.Namespace, key.Name)
		c.reconciler.DeleteService(key.Namespace, key.Name)
		c.written.DeleteService(key.Namespace, key.Name)
		return nil
	}
	if err != nil {
		return err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName || service.Spec.Selector == nil {
		return nil
	}
	pods, err := c.pods.Pods(key.Namespace).List(labels.Set(service.Spec.Selector).AsSelectorPreValidated())
	if err != nil {
		return err
	}
	ours := labels.Set{discoveryv1.LabelServiceName: key.Name, discoveryv1.LabelManagedBy: managedBy}
	all, err := c.slices.EndpointSlices(key.Namespace).List(ours.AsSelectorPreValidated())
	if err != nil {
		return err
	}
	existing := all[:0:0]
	for _, slice := range all {
		if slice.DeletionTimestamp == nil {
			existing = append(existing, slice)
		}
	}
	if c.written.StaleSlices(service, existing) {
		return errBehind
	}
	since := c.triggers.ComputeEndpointLastChangeTriggerTime(key.Namespace, service, pods)
	if err := c.reconciler.Reconcile(klog.FromContext(ctx), service, pods, existing, since); err != nil {
		c.env.Recorder.Eventf(service, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s/%s: %v", key.Namespace, key.Name, err)
		return err
	}
	return nil
}
