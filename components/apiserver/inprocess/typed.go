package inprocess

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// Getter reads objects of one kind: from the watch cache, and from etcd where the cache has none.
func Getter[T runtime.Object](s Stores, gr schema.GroupResource) func(ctx context.Context, namespace, name string) (T, error) {
	return func(ctx context.Context, namespace, name string) (T, error) {
		obj, err := s.Get(ctx, gr, namespace, name)
		if apierrors.IsNotFound(err) {
			obj, err = s.GetLatest(ctx, gr, namespace, name)
		}
		if err != nil {
			var none T
			return none, err
		}
		return obj.(T), nil
	}
}

// Lister reads all objects of one kind in a namespace, or in all with "", from the watch cache.
func Lister[T runtime.Object](s Stores, gr schema.GroupResource) func(ctx context.Context, namespace string) ([]T, error) {
	return func(ctx context.Context, namespace string) ([]T, error) {
		store, err := s(gr)
		if err != nil {
			return nil, err
		}
		list, err := store.List(Context(ctx, namespace), &metainternal.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return nil, err
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			return nil, err
		}
		typed := make([]T, len(objects))
		for i, obj := range objects {
			typed[i] = obj.(T)
		}
		return typed, nil
	}
}

// Awaiter reads an object that somebody is about to create, and waits for it until ctx is done.
func Awaiter[T runtime.Object](s Stores, gr schema.GroupResource) func(ctx context.Context, namespace, name string) (T, error) {
	return func(ctx context.Context, namespace, name string) (T, error) {
		var none T
		store, err := s(gr)
		if err != nil {
			return none, err
		}
		// A watch from version 0 begins with the object if it is already there.
		events, err := store.Watch(Context(ctx, namespace), &metainternal.ListOptions{
			ResourceVersion: "0", FieldSelector: fields.OneTermEqualSelector("metadata.name", name),
		})
		if err != nil {
			return none, err
		}
		defer events.Stop()
		for {
			select {
			case event, open := <-events.ResultChan():
				if !open {
					return none, apierrors.NewNotFound(gr, name)
				}
				event, _ = unwrap(event)
				if obj, ok := event.Object.(T); ok && (event.Type == watch.Added || event.Type == watch.Modified) {
					return obj, nil
				}
			case <-ctx.Done():
				return none, apierrors.NewNotFound(gr, name)
			}
		}
	}
}
