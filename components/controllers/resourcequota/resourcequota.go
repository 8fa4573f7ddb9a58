// Package resourcequota keeps the usage in the status of ResourceQuotas right. Admission adds what is created; what goes
// is noticed here. https://kubernetes.io/docs/concepts/policy/resource-quotas/
package resourcequota

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/discovery"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/quota"
)

// Controller is the resource quota controller.
type Controller struct {
	env     *controller.Env
	workers int
	period  time.Duration

	sources controller.Sources
	quotas  corelisters.ResourceQuotaLister
	queue   *controller.Queue[controller.Key]

	// running is the informers of resources that some quota counts by count/NAME; they start when one first does.
	running  sync.WaitGroup
	mu       sync.Mutex
	counters map[schema.GroupResource]*counter
}

// counter is a resource of which objects are counted.
type counter struct {
	evaluator quotav1.Evaluator
	synced    cache.DoneChecker
	// run watches the resource; nil if one of the manager's informers does.
	run   func(ctx context.Context)
	start sync.Once
}

// listPatience bounds the wait for a resource's first list.
const listPatience = 10 * time.Second

// New makes the resource quota controller, which counts everything anew each period.
func New(env *controller.Env, workers int, period time.Duration) (controller.Controller, error) {
	quotas := env.Informers.Core().V1().ResourceQuotas()
	c := &Controller{env: env, workers: workers, period: period, quotas: quotas.Lister(), counters: map[schema.GroupResource]*counter{}}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, quotas.Informer(), controller.Handlers[*corev1.ResourceQuota]{
		Add: func(q *corev1.ResourceQuota) { c.queue.Add(cache.MetaObjectToName(q)) },
		Update: func(old, q *corev1.ResourceQuota) {
			// Usage is written by admission as well: only a change of the limits is a reason to count.
			if !equality.Semantic.DeepEqual(old.Spec, q.Spec) || !equality.Semantic.DeepEqual(q.Spec.Hard, q.Status.Hard) {
				c.queue.Add(cache.MetaObjectToName(q))
			}
		},
	})
	// Quotas are counted from where they come from: another watch may not know yet of one that is being counted for.
	c.counters[corev1.Resource("resourcequotas")] = &counter{
		evaluator: generic.NewObjectCountEvaluator(corev1.Resource("resourcequotas"), c.listQuotas, corev1.ResourceQuotas),
		synced:    quotas.Informer().HasSyncedChecker(),
	}
	c.watch(quotas.Informer(), c.counters[corev1.Resource("resourcequotas")].evaluator)
	for _, evaluator := range quota.Evaluators(c.lister, env.Clock) {
		at := corev1.SchemeGroupVersion.WithResource(evaluator.GroupResource().Resource)
		switch at.Resource {
		case "pods", "services", "persistentvolumeclaims":
		default:
			continue // Counted by metadata alone, once a quota asks for it.
		}
		informer, err := env.Informers.ForResource(at)
		if err != nil {
			return nil, err
		}
		c.counters[evaluator.GroupResource()] = &counter{evaluator: evaluator, synced: informer.Informer().HasSyncedChecker()}
		c.watch(informer.Informer(), evaluator)
	}
	return c, nil
}

func (c *Controller) listQuotas(namespace string) ([]runtime.Object, error) {
	found, err := c.quotas.ResourceQuotas(namespace).List(labels.Everything())
	objects := make([]runtime.Object, len(found))
	for i, q := range found {
		objects[i] = q
	}
	return objects, err
}

func (c *Controller) lister(at schema.GroupVersionResource) (cache.GenericLister, error) {
	informer, err := c.env.Informers.ForResource(at)
	if err != nil {
		return nil, err
	}
	return informer.Lister(), nil
}

// watch wakes the quotas of a namespace when something in it may use less than before.
func (c *Controller) watch(informer cache.SharedIndexInformer, evaluator quotav1.Evaluator) {
	controller.Watch(&c.sources, informer, controller.Handlers[runtime.Object]{
		Update: func(old, object runtime.Object) {
			before, err1 := evaluator.Usage(old)
			after, err2 := evaluator.Usage(object)
			if err1 == nil && err2 == nil && !quotav1.Equals(before, after) {
				c.wake(object)
			}
		},
		Delete: c.wake,
	})
}

func (c *Controller) wake(object runtime.Object) {
	accessor, ok := object.(metav1.Object)
	if !ok {
		return
	}
	quotas, err := c.quotas.ResourceQuotas(accessor.GetNamespace()).List(labels.Everything())
	if err != nil {
		return
	}
	for _, q := range quotas {
		c.queue.Add(cache.MetaObjectToName(q))
	}
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "resourcequota-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if !c.sources.WaitForSync(ctx) {
		return nil
	}
	c.running.Go(func() { c.queue.Run(ctx, c.workers) })
	defer c.running.Wait()
	tick := c.env.Clock.NewTicker(c.period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
			all, err := c.quotas.List(labels.Everything())
			if err != nil {
				continue
			}
			for _, q := range all {
				c.queue.Add(cache.MetaObjectToName(q))
			}
		}
	}
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	q, err := c.quotas.ResourceQuotas(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	registry, err := c.registry(ctx, q.Spec.Hard)
	if err != nil {
		return err
	}
	used, countErr := quotav1.CalculateUsage(key.Namespace, q.Spec.Scopes, q.Spec.Hard, registry, q.Spec.ScopeSelector)
	status := withUsage(q, used)
	if equality.Semantic.DeepEqual(q.Status, status) {
		// What admission added meanwhile may not have come here, and would wake nobody when it does.
		stale, err := c.stale(ctx, q)
		if stale {
			return fmt.Errorf("%s was changed while it was counted", key)
		}
		return errors.Join(err, countErr)
	}
	updated := q.DeepCopy()
	updated.Status = status
	if _, err := c.env.Client.CoreV1().ResourceQuotas(key.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{}); err != nil {
		return err
	}
	return countErr
}

// stale says whether the API server has a newer version of a quota. The controller's role may list and not get.
func (c *Controller) stale(ctx context.Context, q *corev1.ResourceQuota) (bool, error) {
	live, err := c.env.Client.CoreV1().ResourceQuotas(q.Namespace).List(ctx, metav1.SingleObject(q.ObjectMeta))
	if err != nil || len(live.Items) == 0 {
		return false, err
	}
	return live.Items[0].ResourceVersion != q.ResourceVersion, nil
}

// withUsage is a quota's status with what was counted; what could not be counted stays as it was.
func withUsage(q *corev1.ResourceQuota, used corev1.ResourceList) corev1.ResourceQuotaStatus {
	status := corev1.ResourceQuotaStatus{Hard: q.Spec.Hard.DeepCopy(), Used: corev1.ResourceList{}}
	for name, amount := range q.Status.Used {
		if _, limited := q.Spec.Hard[name]; limited {
			status.Used[name] = amount
		}
	}
	for name, amount := range used {
		status.Used[name] = amount
	}
	return status
}

// registry returns the evaluators that the limits need.
func (c *Controller) registry(ctx context.Context, hard corev1.ResourceList) (quotav1.Registry, error) {
	registry := generic.NewRegistry(nil)
	wanted := map[schema.GroupResource]bool{}
	c.mu.Lock()
	for resource := range c.counters {
		wanted[resource] = len(c.counters[resource].evaluator.MatchingResources(quotav1.ResourceNames(hard))) > 0
	}
	c.mu.Unlock()
	for name := range hard {
		if resource, ok := countedBy(name); ok {
			wanted[resource] = true
		}
	}
	for resource, needed := range wanted {
		if !needed {
			continue
		}
		known, err := c.counter(ctx, resource)
		if err != nil {
			return nil, err
		}
		if known != nil {
			registry.Add(known.evaluator)
		}
	}
	return registry, nil
}

// countedBy is the resource that a name like count/deployments.apps, or the short name of one, is about.
func countedBy(name corev1.ResourceName) (schema.GroupResource, bool) {
	switch name {
	case corev1.ResourceConfigMaps, corev1.ResourceQuotas, corev1.ResourceReplicationControllers, corev1.ResourceSecrets:
		return corev1.Resource(string(name)), true
	}
	const prefix = "count/"
	if len(name) <= len(prefix) || name[:len(prefix)] != prefix {
		return schema.GroupResource{}, false
	}
	return schema.ParseGroupResource(string(name[len(prefix):])), true
}

// counter returns the counter of a resource and starts one where there is none; nil if no such resource is served.
func (c *Controller) counter(ctx context.Context, resource schema.GroupResource) (*counter, error) {
	known, err := c.counterOf(resource)
	if known == nil || err != nil {
		return nil, err
	}
	if known.run != nil {
		known.start.Do(func() { c.running.Go(func() { known.run(ctx) }) })
	}
	// A resource that cannot be listed, say because it was just removed, must not hold up other quotas for long.
	bounded, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	if !cache.WaitFor(bounded, "", known.synced) {
		return nil, fmt.Errorf("%s cannot be counted: its objects have not been listed", resource)
	}
	return known, nil
}

// counterOf returns the counter of a resource, made if there is none.
func (c *Controller) counterOf(resource schema.GroupResource) (*counter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.counters[resource]; known != nil {
		return known, nil
	}
	if _, ignored := quota.Ignored()[resource]; ignored {
		return nil, nil
	}
	at, err := c.env.Mapper.ResourceFor(resource.WithVersion(""))
	if err != nil {
		// Not served now; the periodic count finds out when it is.
		if discovery.IsGroupDiscoveryFailedError(err) {
			return nil, err
		}
		return nil, nil
	}
	generated := metadatainformer.NewFilteredMetadataInformer(c.env.Metadata, at, metav1.NamespaceAll, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, nil)
	list := func(namespace string) ([]runtime.Object, error) {
		return generated.Lister().ByNamespace(namespace).List(labels.Everything())
	}
	var alias corev1.ResourceName
	if resource.Group == "" {
		switch name := corev1.ResourceName(resource.Resource); name {
		case corev1.ResourceConfigMaps, corev1.ResourceReplicationControllers, corev1.ResourceSecrets:
			alias = name
		}
	}
	fresh := &counter{evaluator: generic.NewObjectCountEvaluator(resource, list, alias), synced: generated.Informer().HasSyncedChecker(), run: generated.Informer().RunWithContext}
	c.counters[resource] = fresh
	_, err = generated.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: func(obj any) {
		if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = tombstone.Obj
		}
		if object, ok := obj.(runtime.Object); ok {
			c.wake(object)
		}
	}})
	if err != nil {
		return nil, err
	}
	return fresh, nil
}
