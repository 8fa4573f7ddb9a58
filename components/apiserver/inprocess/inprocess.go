// Package inprocess lets the API server's own parts read and write its stores
// directly, without a request to itself: no encoding, no TLS, and at a start no wait for
// the listener.
package inprocess

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authentication/user"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Stores finds a resource's store.
type Stores func(schema.GroupResource) (*genericregistry.Store, error)

// Context is that of a request by the API server itself in a namespace; "" is all of them,
// and none for resources without one.
func Context(ctx context.Context, namespace string) context.Context {
	self := &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	return genericrequest.WithNamespace(genericrequest.WithUser(ctx, self), namespace)
}

// reading is the context of a read of one resource: what cannot be found is named after it, and not
// after what the client has asked for.
func reading(ctx context.Context, gr schema.GroupResource, namespace string) context.Context {
	info := &genericrequest.RequestInfo{IsResourceRequest: true, Verb: "get", APIGroup: gr.Group, Resource: gr.Resource, Namespace: namespace}
	return Context(genericrequest.WithRequestInfo(ctx, info), namespace)
}

// Get reads an object as the watch cache has it.
func (s Stores) Get(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error) {
	store, err := s(gr)
	if err != nil {
		return nil, err
	}
	return store.Get(reading(ctx, gr, namespace), name, &metav1.GetOptions{ResourceVersion: "0"})
}

// GetLatest reads an object from etcd.
func (s Stores) GetLatest(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error) {
	store, err := s(gr)
	if err != nil {
		return nil, err
	}
	return store.Get(reading(ctx, gr, namespace), name, &metav1.GetOptions{})
}

// List reads all objects of a namespace, or of all with "".
func (s Stores) List(ctx context.Context, gr schema.GroupResource, namespace string) ([]runtime.Object, error) {
	store, err := s(gr)
	if err != nil {
		return nil, err
	}
	list, err := store.List(Context(ctx, namespace), &metainternal.ListOptions{})
	if err != nil {
		return nil, err
	}
	return meta.ExtractList(list)
}

// Select reads the objects of all namespaces that a field selector matches: as the watch cache has
// them, or with latest set as they are stored.
func (s Stores) Select(ctx context.Context, gr schema.GroupResource, selector fields.Selector, latest bool) (runtime.Object, error) {
	store, err := s(gr)
	if err != nil {
		return nil, err
	}
	options := &metainternal.ListOptions{FieldSelector: selector, ResourceVersion: "0"}
	if latest {
		options.ResourceVersion = ""
	}
	return store.List(Context(ctx, metav1.NamespaceAll), options)
}

// Create stores an object. Admission is not asked.
func (s Stores) Create(ctx context.Context, gr schema.GroupResource, obj runtime.Object) (runtime.Object, error) {
	store, err := s(gr)
	if err != nil {
		return nil, err
	}
	return store.Create(Context(ctx, namespaceOf(obj)), obj, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
}

// Update replaces an object. Admission is not asked.
func (s Stores) Update(ctx context.Context, gr schema.GroupResource, obj runtime.Object) (runtime.Object, error) {
	store, err := s(gr)
	if err != nil {
		return nil, err
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	updated, _, err := store.Update(Context(ctx, accessor.GetNamespace()), accessor.GetName(), rest.DefaultUpdatedObjectInfo(obj),
		rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	return updated, err
}

// Delete removes an object; one that is not there is no error.
func (s Stores) Delete(ctx context.Context, gr schema.GroupResource, namespace, name string) error {
	store, err := s(gr)
	if err != nil {
		return err
	}
	_, _, err = store.Delete(Context(ctx, namespace), name, rest.ValidateAllObjectFunc, &metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func namespaceOf(obj runtime.Object) string {
	if accessor, err := meta.Accessor(obj); err == nil {
		return accessor.GetNamespace()
	}
	return ""
}

// NewInformer makes, for a shared informer factory, an informer that follows a store. The store
// need not exist before the informer runs.
func (s Stores) NewInformer(gr schema.GroupResource, example runtime.Object) func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer {
	return func(_ kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		source := &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				store, internal, err := s.prepare(gr, options)
				if err != nil {
					return nil, err
				}
				return store.List(Context(ctx, metav1.NamespaceAll), internal)
			},
			WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
				store, internal, err := s.prepare(gr, options)
				if err != nil {
					return nil, err
				}
				events, err := store.Watch(Context(ctx, metav1.NamespaceAll), internal)
				if err != nil {
					return nil, err
				}
				return watch.Filter(events, unwrap), nil
			},
		}
		return cache.NewSharedIndexInformer(source, example, resync, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	}
}

func (s Stores) prepare(gr schema.GroupResource, options metav1.ListOptions) (*genericregistry.Store, *metainternal.ListOptions, error) {
	store, err := s(gr)
	if err != nil {
		return nil, nil, err
	}
	internal := &metainternal.ListOptions{}
	if err := metainternal.Convert_v1_ListOptions_To_internalversion_ListOptions(&options, internal, nil); err != nil {
		return nil, nil, fmt.Errorf("list options: %w", err)
	}
	return store, internal, nil
}

// unwrap takes an event's object out of the wrapper that the watch cache shares
// among watchers to encode it once.
func unwrap(event watch.Event) (watch.Event, bool) {
	if shared, ok := event.Object.(runtime.CacheableObject); ok {
		event.Object = shared.GetObject()
	}
	return event, true
}
