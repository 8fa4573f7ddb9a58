package garbagecollector

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

const (
	// rediscover is how often resources are discovered without a reason.
	rediscover = 30 * time.Second
	// patience bounds how long work stands still for a resource that cannot be listed.
	patience = 30 * time.Second
)

// afterChange is when to discover after a CRD or an API service changed: soon, and once more for slow ones.
var afterChange = []time.Duration{100 * time.Millisecond, time.Second}

// monitors keeps an informer of every resource that can be listed, watched and deleted.
type monitors struct {
	env       *controller.Env
	collector *Controller
	// first is closed once the first set of informers has synced.
	first chan struct{}
	// changed says that the set of resources may have changed.
	changed chan struct{}

	running sync.WaitGroup
	watched map[schema.GroupVersionResource]*monitor
	shared  map[schema.GroupVersionResource]bool
}

type monitor struct {
	kind   schema.GroupVersionKind
	synced cache.DoneChecker
	stop   func()
}

func newMonitors(env *controller.Env, collector *Controller) *monitors {
	return &monitors{
		env: env, collector: collector,
		first:   make(chan struct{}),
		changed: make(chan struct{}, 1),
		watched: map[schema.GroupVersionResource]*monitor{},
	}
}

// ignored are resources that nobody owns anything by and that there are many of.
func ignored(resource schema.GroupResource) bool {
	return resource.Resource == "events" && (resource.Group == "" || resource.Group == "events.k8s.io")
}

// announcing tells whether a change of such an object can change what resources there are.
func announcing(resource schema.GroupResource) bool {
	return resource == schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"} ||
		resource == schema.GroupResource{Group: "apiregistration.k8s.io", Resource: "apiservices"}
}

func (m *monitors) run(ctx context.Context) {
	defer m.running.Wait()
	m.shared = m.env.SharedResources()
	m.refresh(ctx)
	close(m.first)
	tick := m.env.Clock.NewTicker(rediscover)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C():
			m.refresh(ctx)
		case <-m.changed:
			for _, wait := range afterChange {
				select {
				case <-ctx.Done():
					return
				case <-m.env.Clock.After(wait):
				}
				m.refresh(ctx)
			}
		}
	}
}

func (m *monitors) noteChange() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// refresh starts informers of new resources and stops those of resources that are gone.
func (m *monitors) refresh(ctx context.Context) {
	logger := klog.FromContext(ctx)
	lists, err := m.env.Discovery.ServerPreferredResources()
	if err != nil {
		logger.V(2).Info("Some resources were not discovered", "err", err)
		if len(lists) == 0 {
			return
		}
	}
	wanted := map[schema.GroupVersionResource]schema.GroupVersionKind{}
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "watch", "delete"}}, lists) {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for _, resource := range list.APIResources {
			if at := gv.WithResource(resource.Name); !ignored(at.GroupResource()) {
				wanted[at] = gv.WithKind(resource.Kind)
			}
		}
	}
	var fresh []schema.GroupVersionResource
	for at, kind := range wanted {
		if old := m.watched[at]; old == nil || old.kind != kind {
			fresh = append(fresh, at)
		}
	}
	for at, old := range m.watched {
		// While a group cannot be discovered, its informers stay: absence is no proof.
		if _, still := wanted[at]; !still && err == nil {
			old.stop()
			delete(m.watched, at)
		}
	}
	if len(fresh) == 0 {
		return
	}
	m.env.Mapper.Reset()
	m.collector.settled.Lock()
	defer m.collector.settled.Unlock()
	var checks []cache.DoneChecker
	for _, at := range fresh {
		started, err := m.start(ctx, at, wanted[at])
		if err != nil {
			logger.Error(err, "Cannot watch", "resource", at)
			continue
		}
		if old := m.watched[at]; old != nil {
			old.stop()
		}
		m.watched[at] = started
		checks = append(checks, started.synced)
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !cache.WaitFor(bounded, "", checks...) && ctx.Err() == nil {
		logger.Info("Some resources cannot be listed; going on without them")
	}
}

// start watches one resource: by the manager's own informer where there is one, else by metadata alone.
func (m *monitors) start(ctx context.Context, at schema.GroupVersionResource, kind schema.GroupVersionKind) (*monitor, error) {
	var informer cache.SharedIndexInformer
	own := !m.shared[at]
	if own {
		informer = metadatainformer.NewFilteredMetadataInformer(m.env.Metadata, at, metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
		if err := informer.SetTransform(bare); err != nil {
			return nil, err
		}
	} else {
		generic, err := m.env.Informers.ForResource(at)
		if err != nil {
			return nil, err
		}
		informer = generic.Informer()
	}
	apiVersion, name := kind.ToAPIVersionAndKind()
	put := func(obj any) {
		if object, ok := obj.(metav1.Object); ok {
			m.collector.schedule(m.collector.graph.put(observe(object, apiVersion, name)))
		}
		if announcing(at.GroupResource()) {
			m.noteChange()
		}
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    put,
		UpdateFunc: func(_, obj any) { put(obj) },
		DeleteFunc: func(obj any) {
			if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = tombstone.Obj
			}
			if object, ok := obj.(metav1.Object); ok {
				m.collector.schedule(m.collector.graph.remove(object.GetUID()))
			}
			if announcing(at.GroupResource()) {
				m.noteChange()
			}
		},
	})
	if err != nil {
		return nil, err
	}
	watching, cancel := context.WithCancel(ctx)
	if own {
		m.running.Go(func() { informer.RunWithContext(watching) })
	}
	return &monitor{kind: kind, synced: registration.HasSyncedChecker(), stop: func() {
		_ = informer.RemoveEventHandler(registration)
		cancel()
	}}, nil
}

// bare keeps of an object what the graph needs.
func bare(obj any) (any, error) {
	if object, ok := obj.(metav1.Object); ok {
		object.SetManagedFields(nil)
		object.SetLabels(nil)
		object.SetAnnotations(nil)
	}
	return obj, nil
}
