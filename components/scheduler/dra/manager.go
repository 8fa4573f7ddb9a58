// Package dra is what the scheduler knows of dynamic resources: claims as the API server has them, as this scheduler has
// just written them and as it is about to write them; the devices that they hold; slices of devices with their taints;
// and device classes. It is the SharedDRAManager of k8s.io/kube-scheduler/framework.
// https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
package dra

import (
	"context"
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/dynamic-resource-allocation/deviceclass/extendedresourcecache"
	"k8s.io/dynamic-resource-allocation/resourceslice/tracker"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// Manager is what one scheduler knows of dynamic resources; all profiles share it.
type Manager struct {
	claims   *Tracker
	slices   *tracker.Tracker
	classes  resourcelisters.DeviceClassLister
	extended *extendedresourcecache.ExtendedResourceCache
	sources  map[fwk.EventResource]Source
}

var _ fwk.SharedDRAManager = &Manager{}

// NewManager makes a manager that listens to the informers, which are not started yet, until ctx is done.
func NewManager(ctx context.Context, client clientset.Interface, factory informers.SharedInformerFactory) (*Manager, error) {
	resource := factory.Resource().V1()
	m := &Manager{claims: NewTracker(), classes: resource.DeviceClasses().Lister(), extended: extendedresourcecache.NewExtendedResourceCache(klog.FromContext(ctx))}
	claims, err := resource.ResourceClaims().Informer().AddEventHandler(m.claims)
	if err != nil {
		return nil, fmt.Errorf("listening to claims: %w", err)
	}
	classes, err := resource.DeviceClasses().Informer().AddEventHandler(m.extended)
	if err != nil {
		return nil, fmt.Errorf("listening to device classes: %w", err)
	}
	m.slices, err = tracker.StartTracker(ctx, tracker.Options{
		EnableDeviceTaintRules:   true,
		EnableConsumableCapacity: true,
		SliceInformer:            resource.ResourceSlices(),
		TaintInformer:            resource.DeviceTaintRules(),
		KubeClient:               client,
	})
	if err != nil {
		return nil, fmt.Errorf("listening to device slices: %w", err)
	}
	context.AfterFunc(ctx, m.slices.Stop)
	m.sources = map[fwk.EventResource]Source{
		fwk.ResourceClaim: &source{listen: m.claims.listen, own: claims},
		fwk.DeviceClass:   &source{listen: m.extended.AddEventHandler, own: classes},
		fwk.ResourceSlice: m.slices,
	}
	return m, nil
}

// ResourceClaims returns what is known of claims.
func (m *Manager) ResourceClaims() fwk.ResourceClaimTracker { return m.claims }

// ResourceSlices lists the slices of devices.
func (m *Manager) ResourceSlices() fwk.ResourceSliceLister { return sliceLister{m.slices} }

// DeviceClasses lists the device classes.
func (m *Manager) DeviceClasses() fwk.DeviceClassLister { return classLister{m.classes} }

// DeviceClassResolver finds the class that stands for an extended resource.
func (m *Manager) DeviceClassResolver() fwk.DeviceClassResolver { return m.extended }

// Changed returns a channel that is closed with the next change of any claim.
func (m *Manager) Changed() <-chan struct{} { return m.claims.changed() }

// Source delivers a resource's events once this manager knows of them itself. It is to be asked before the informers
// start.
type Source interface {
	AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error)
}

// source is one whose handlers are called by the manager's own.
type source struct {
	listen func(handler cache.ResourceEventHandler)
	own    cache.ResourceEventHandlerRegistration
}

// AddEventHandler implements Source: what the manager's own handler has taken in, others have heard of.
func (s *source) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	s.listen(handler)
	return s.own, nil
}

// Source returns where to listen to a resource; there is none for resources that this manager does not keep. Whoever
// listened to the informers could act upon an event before the manager has heard of it.
func (m *Manager) Source(resource fwk.EventResource) (Source, bool) {
	from, found := m.sources[resource]
	return from, found
}

type sliceLister struct{ tracker *tracker.Tracker }

// ListWithDeviceTaintRules returns all slices, with the taints that rules put on their devices.
func (l sliceLister) ListWithDeviceTaintRules() ([]*resourcev1.ResourceSlice, error) {
	return l.tracker.ListPatchedResourceSlices()
}

type classLister struct {
	lister resourcelisters.DeviceClassLister
}

// Get returns a class.
func (l classLister) Get(name string) (*resourcev1.DeviceClass, error) { return l.lister.Get(name) }

// List returns all classes.
func (l classLister) List() ([]*resourcev1.DeviceClass, error) {
	return l.lister.List(labels.Everything())
}
