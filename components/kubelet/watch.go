package kubelet

import (
	"context"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/kubelet/node"
)

// watchNode keeps the keeper's idea of the node equal to the API server's.
func watchNode(ctx context.Context, client kubernetes.Interface, name string, keeper *node.Keeper) {
	selector := fields.OneTermEqualSelector("metadata.name", name).String()
	nodes := client.CoreV1().Nodes()
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return nodes.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return nodes.Watch(ctx, o)
		},
	}
	observe := func(object any) {
		if n, ok := object.(*v1.Node); ok {
			keeper.Observe(n)
		}
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source, ObjectType: &v1.Node{}, Transform: stripManagedFields,
		Handler: cache.ResourceEventHandlerFuncs{AddFunc: observe, UpdateFunc: func(_, now any) { observe(now) }},
	})
	informer.Run(ctx.Done())
}

// services are the cluster's services, for the environment of containers.
type services struct {
	once  sync.Once
	known chan struct{}
	store cache.Store
}

func (s *services) set(store cache.Store) {
	s.once.Do(func() {
		s.store = store
		close(s.known)
	})
}

// list waits until the services were listed once.
func (s *services) list(ctx context.Context) ([]*v1.Service, error) {
	select {
	case <-s.known:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.store == nil {
		return nil, nil
	}
	var out []*v1.Service
	for _, object := range s.store.List() {
		out = append(out, object.(*v1.Service))
	}
	return out, nil
}

func watchServices(ctx context.Context, client kubernetes.Interface, into *services) {
	all := client.CoreV1().Services(metav1.NamespaceAll)
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return all.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return all.Watch(ctx, o)
		},
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source, ObjectType: &v1.Service{}, Transform: stripManagedFields, Handler: cache.ResourceEventHandlerFuncs{},
	})
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			into.set(store)
		}
	}()
	informer.Run(ctx.Done())
}

// stripManagedFields drops what the kubelet never looks at.
func stripManagedFields(object any) (any, error) {
	if m, ok := object.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	return object, nil
}
