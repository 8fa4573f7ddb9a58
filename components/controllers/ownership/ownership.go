// Package ownership finds the objects that a controller's object owns, takes in orphans that match its selector and
// lets go of what no longer matches. https://kubernetes.io/docs/concepts/architecture/garbage-collection/#owners-dependents
package ownership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// byController is the index of objects by the UID of their controller, and of orphans by their namespace.
const byController = "byController"

func orphansOf(namespace string) string { return "orphan/" + namespace }

// Index lets Candidates look up an informer's objects by their controller. It must be called before the informer starts
// and may be called by several controllers.
func Index(informer cache.SharedIndexInformer) error {
	if _, there := informer.GetIndexer().GetIndexers()[byController]; there {
		return nil
	}
	return informer.AddIndexers(cache.Indexers{byController: func(obj any) ([]string, error) {
		object, ok := obj.(metav1.Object)
		if !ok {
			return nil, nil
		}
		if ref := metav1.GetControllerOfNoCopy(object); ref != nil {
			return []string{string(ref.UID)}, nil
		}
		return []string{orphansOf(object.GetNamespace())}, nil
	}})
}

// Owned returns the objects whose controller has the UID.
func Owned[T any](indexer cache.Indexer, uid types.UID) ([]T, error) {
	return lookUp[T](indexer, string(uid))
}

// Orphans returns the objects of the namespace that have no controller.
func Orphans[T any](indexer cache.Indexer, namespace string) ([]T, error) {
	return lookUp[T](indexer, orphansOf(namespace))
}

// Candidates returns what owner owns and what it might adopt.
func Candidates[T any](indexer cache.Indexer, owner metav1.Object) ([]T, error) {
	owned, err := Owned[T](indexer, owner.GetUID())
	if err != nil {
		return nil, err
	}
	orphans, err := Orphans[T](indexer, owner.GetNamespace())
	return append(owned, orphans...), err
}

func lookUp[T any](indexer cache.Indexer, value string) ([]T, error) {
	objects, err := indexer.ByIndex(byController, value)
	if err != nil {
		return nil, err
	}
	found := make([]T, 0, len(objects))
	for _, object := range objects {
		if typed, ok := object.(T); ok {
			found = append(found, typed)
		}
	}
	return found, nil
}

// Adopters names the owners that might adopt an object: those of its namespace whose selector matches its labels. An
// object that has a controller, or no labels, is nobody's to adopt.
func Adopters[T metav1.Object](object metav1.Object, owners []T, selectorOf func(T) *metav1.LabelSelector) []cache.ObjectName {
	if metav1.GetControllerOfNoCopy(object) != nil || len(object.GetLabels()) == 0 {
		return nil
	}
	var adopters []cache.ObjectName
	for _, owner := range owners {
		// An empty selector matches everything, which no owner means.
		selector, err := metav1.LabelSelectorAsSelector(selectorOf(owner))
		if err == nil && !selector.Empty() && owner.GetNamespace() == object.GetNamespace() && selector.Matches(labels.Set(object.GetLabels())) {
			adopters = append(adopters, cache.MetaObjectToName(owner))
		}
	}
	return adopters
}

// Claim describes one owner's claim to objects.
type Claim[T metav1.Object] struct {
	Owner    metav1.Object
	Kind     schema.GroupVersionKind
	Selector labels.Selector
	// Live reads the owner from the API server: before adopting, a cache is not proof enough that it still exists.
	Live func(ctx context.Context) (metav1.Object, error)
	// Patch applies a strategic merge patch to one object.
	Patch func(ctx context.Context, object T, patch []byte) error
	// Adoptable further restricts which orphans are taken in; nil takes all that match.
	Adoptable func(object T) bool
	// Finalizers are set on what is adopted.
	Finalizers []string
}

// Resolve adopts and releases as needed and returns what owner owns afterwards.
func (c *Claim[T]) Resolve(ctx context.Context, candidates []T) ([]T, error) {
	var (
		owned []T
		errs  []error
	)
	mayAdopt := sync.OnceValue(func() error { return c.mayAdopt(ctx) })
	for _, object := range candidates {
		mine, err := c.resolve(ctx, object, mayAdopt)
		if err != nil {
			errs = append(errs, err)
		} else if mine {
			owned = append(owned, object)
		}
	}
	return owned, errors.Join(errs...)
}

func (c *Claim[T]) resolve(ctx context.Context, object T, mayAdopt func() error) (bool, error) {
	matches := c.Selector.Matches(labels.Set(object.GetLabels()))
	if ref := metav1.GetControllerOfNoCopy(object); ref != nil {
		if ref.UID != c.Owner.GetUID() {
			return false, nil
		}
		if matches {
			return true, nil
		}
		if c.Owner.GetDeletionTimestamp() != nil {
			return false, nil
		}
		return false, c.release(ctx, object)
	}
	if c.Owner.GetDeletionTimestamp() != nil || object.GetDeletionTimestamp() != nil || !matches || object.GetNamespace() != c.Owner.GetNamespace() {
		return false, nil
	}
	if c.Adoptable != nil && !c.Adoptable(object) {
		return false, nil
	}
	if err := mayAdopt(); err != nil {
		return false, fmt.Errorf("can't adopt %s/%s (%s): %w", object.GetNamespace(), object.GetName(), object.GetUID(), err)
	}
	if err := c.adopt(ctx, object); err != nil {
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return false, err
	}
	return true, nil
}

func (c *Claim[T]) mayAdopt(ctx context.Context) error {
	live, err := c.Live(ctx)
	if err != nil {
		return err
	}
	if live.GetUID() != c.Owner.GetUID() {
		return fmt.Errorf("original %s %s/%s is gone: got uid %s, wanted %s", c.Kind.Kind, c.Owner.GetNamespace(), c.Owner.GetName(), live.GetUID(), c.Owner.GetUID())
	}
	if live.GetDeletionTimestamp() != nil {
		return fmt.Errorf("%s/%s has just been deleted at %v", c.Owner.GetNamespace(), c.Owner.GetName(), live.GetDeletionTimestamp())
	}
	return nil
}

func (c *Claim[T]) adopt(ctx context.Context, object T) error {
	meta := map[string]any{"uid": object.GetUID(), "ownerReferences": []metav1.OwnerReference{*metav1.NewControllerRef(c.Owner, c.Kind)}}
	if len(c.Finalizers) > 0 {
		meta["finalizers"] = c.Finalizers
	}
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return err
	}
	return c.Patch(ctx, object, patch)
}

func (c *Claim[T]) release(ctx context.Context, object T) error {
	meta := map[string]any{"uid": object.GetUID(), "ownerReferences": []map[string]any{{"$patch": "delete", "uid": c.Owner.GetUID()}}}
	if len(c.Finalizers) > 0 {
		meta["$deleteFromPrimitiveList/finalizers"] = c.Finalizers
	}
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return err
	}
	err = c.Patch(ctx, object, patch)
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		// Gone, or another object of that name by now (the UID in the patch does not fit).
		return nil
	}
	return err
}
