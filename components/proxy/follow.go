package proxy

import (
	"context"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// objects is what the API server says, by Service.
type objects struct {
	mu       sync.Mutex
	services map[types.NamespacedName]*corev1.Service
	byName   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice
	zone     string
	leaving  bool

	// dirty are the Services that changed since the kernel was last up to date, and when.
	dirty map[types.NamespacedName]time.Time
	// wake has room for one: a change that is noted needs no second note.
	wake chan struct{}
}

func newObjects() *objects {
	return &objects{
		services: map[types.NamespacedName]*corev1.Service{},
		byName:   map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		dirty:    map[types.NamespacedName]time.Time{},
		wake:     make(chan struct{}, 1),
	}
}

func (o *objects) service(name types.NamespacedName) *corev1.Service {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.services[name]
}

func (o *objects) slices(name types.NamespacedName) []*discoveryv1.EndpointSlice {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]*discoveryv1.EndpointSlice, 0, len(o.byName[name]))
	for _, slice := range o.byName[name] {
		all = append(all, slice)
	}
	return all
}

// mark notes a change; the caller holds mu.
func (o *objects) mark(name types.NamespacedName) {
	if _, noted := o.dirty[name]; !noted {
		o.dirty[name] = time.Now()
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns what changed since the last call.
func (o *objects) take() map[types.NamespacedName]time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	dirty := o.dirty
	o.dirty = map[types.NamespacedName]time.Time{}
	return dirty
}

// giveBack notes changes again that could not be programmed.
func (o *objects) giveBack(dirty map[types.NamespacedName]time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, since := range dirty {
		o.dirty[name] = since
	}
}

func (o *objects) setService(service *corev1.Service) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	o.services[name] = service
	o.mark(name)
}

func (o *objects) removeService(service *corev1.Service) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	delete(o.services, name)
	o.mark(name)
}

func serviceOf(slice *discoveryv1.EndpointSlice) (types.NamespacedName, bool) {
	service, ok := slice.Labels[discoveryv1.LabelServiceName]
	return types.NamespacedName{Namespace: slice.Namespace, Name: service}, ok && service != ""
}

func (o *objects) setSlice(slice *discoveryv1.EndpointSlice) {
	name, ok := serviceOf(slice)
	if !ok {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byName[name] == nil {
		o.byName[name] = map[string]*discoveryv1.EndpointSlice{}
	}
	o.byName[name][slice.Name] = slice
	o.mark(name)
}

func (o *objects) removeSlice(slice *discoveryv1.EndpointSlice) {
	name, ok := serviceOf(slice)
	if !ok {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.byName[name], slice.Name)
	if len(o.byName[name]) == 0 {
		delete(o.byName, name)
	}
	o.mark(name)
}

// toBeDeletedTaint is what an autoscaler sets on a node that it is about to remove.
const toBeDeletedTaint = "ToBeDeletedByClusterAutoscaler"

func (o *objects) setNode(node *corev1.Node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leaving = node.DeletionTimestamp != nil
	for _, taint := range node.Spec.Taints {
		o.leaving = o.leaving || taint.Key == toBeDeletedTaint
	}
	if zone := node.Labels[corev1.LabelTopologyZone]; zone != o.zone {
		o.zone = zone
		for name := range o.services {
			o.mark(name)
		}
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *objects) nodeFacts() (zone string, leaving bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.zone, o.leaving
}

// follow keeps the kernel up to date until ctx ends.
func (p *proxy) follow(ctx context.Context, client kubernetes.Interface) error {
	if err := awaitAPI(ctx, client); err != nil {
		return nil // stopped before the API server answered
	}
	objects := newObjects()
	synced, stop, err := watch(ctx, client, p.config.NodeName, objects)
	if err != nil {
		return err
	}
	defer stop()
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	// Even without a Service the table must be there: it stands for "programmed".
	if err := p.programme(objects, objects.take()); err != nil {
		klog.ErrorS(err, "Programming at the start; trying again")
		objects.wake <- struct{}{}
	}
	const firstDelay, longestDelay = 100 * time.Millisecond, 30 * time.Second
	delay := firstDelay
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-objects.wake:
		case <-retry:
		}
		zone, leaving := objects.nodeFacts()
		p.node.Zone = zone
		p.health.NodeLeaving(leaving)
		dirty := objects.take()
		if len(dirty) == 0 {
			continue
		}
		p.health.Queued()
		if err := p.programme(objects, maps.Clone(dirty)); err != nil {
			klog.ErrorS(err, "Programming Services; trying again", "in", delay, "services", len(dirty))
			objects.giveBack(dirty)
			retry = time.After(delay)
			delay = min(2*delay, longestDelay)
			continue
		}
		retry, delay = nil, firstDelay
	}
}

// awaitAPI returns when the API server answers. Informers back off by seconds where it
// refuses at first, and a booting cluster cannot spare those.
func awaitAPI(ctx context.Context, client kubernetes.Interface) error {
	return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	})
}

// watch feeds objects and returns what tells that they are complete.
func watch(ctx context.Context, client kubernetes.Interface, nodeName string, o *objects) ([]cache.InformerSynced, func(), error) {
	strip := func(object any) (any, error) {
		if meta, ok := object.(metav1.Object); ok {
			meta.SetManagedFields(nil)
		}
		return object, nil
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) {
			options.LabelSelector = "!" + corev1.IsHeadlessService
		}))
	own := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, nodeName).String()
		}))
	subscriptions := []struct {
		informer cache.SharedIndexInformer
		set      func(any)
		remove   func(any)
	}{
		{
			factory.Core().V1().Services().Informer(),
			func(object any) { o.setService(object.(*corev1.Service)) },
			func(object any) { o.removeService(object.(*corev1.Service)) },
		},
		{
			factory.Discovery().V1().EndpointSlices().Informer(),
			func(object any) { o.setSlice(object.(*discoveryv1.EndpointSlice)) },
			func(object any) { o.removeSlice(object.(*discoveryv1.EndpointSlice)) },
		},
		{
			own.Core().V1().Nodes().Informer(),
			func(object any) { o.setNode(object.(*corev1.Node)) },
			func(any) {},
		},
	}
	var synced []cache.InformerSynced
	for _, s := range subscriptions {
		registration, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    s.set,
			UpdateFunc: func(_, object any) { s.set(object) },
			DeleteFunc: func(object any) {
				if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = tombstone.Obj
				}
				s.remove(object)
			},
		})
		if err != nil {
			return nil, nil, err
		}
		synced = append(synced, registration.HasSynced)
	}
	factory.StartWithContext(ctx)
	own.StartWithContext(ctx)
	return synced, func() { factory.Shutdown(); own.Shutdown() }, nil
}
