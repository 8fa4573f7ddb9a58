package resource

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Stored is the main endpoint of a stored resource: the registry's store with the
// resource's further names.
type Stored struct {
	*genericregistry.Store
	id Identity
}

var (
	_ rest.ShortNamesProvider   = &Stored{}
	_ rest.CategoriesProvider   = &Stored{}
	_ rest.SingularNameProvider = &Stored{}
)

// Registered is a main endpoint that has a store behind it.
type Registered interface {
	Registry() *genericregistry.Store
}

// Registry is the store itself.
func (s *Stored) Registry() *genericregistry.Store { return s.Store }

// ShortNames are what kubectl accepts beside the plural.
func (s *Stored) ShortNames() []string { return s.id.ShortNames }

// Categories are the groups of resources this one answers to.
func (s *Stored) Categories() []string { return s.id.Categories }

// Storage makes the store and every endpoint of the resource.
func (d *Definition[T]) Storage(env *Env) (map[string]rest.Storage, error) {
	store, err := d.newStore(env)
	if err != nil {
		return nil, fmt.Errorf("resource %s: %w", d.Name, err)
	}
	stored := &Stored{Store: store, id: d.Identity}
	endpoints := map[string]rest.Storage{d.Name: stored}
	if d.Main != nil {
		endpoints[d.Name] = d.Main(env, stored)
	}
	if d.Status != nil {
		endpoints[d.Name+"/status"] = newStatusEndpoint(d, store, env)
	}
	if d.Scale != nil {
		endpoints[d.Name+"/scale"] = &scaleEndpoint[T]{def: d, store: store}
	}
	for _, sub := range d.Subresources {
		endpoint, err := sub.Storage(env, store)
		if err != nil {
			return nil, fmt.Errorf("resource %s/%s: %w", d.Name, sub.Name, err)
		}
		endpoints[d.Name+"/"+sub.Name] = endpoint
	}
	return endpoints, nil
}

func (d *Definition[T]) newStore(env *Env) (*genericregistry.Store, error) {
	strategy := newStrategy(d, env.Scheme, env.Features)
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return d.New() },
		NewListFunc:               d.NewList,
		DefaultQualifiedResource:  d.GroupResource(),
		SingularQualifiedResource: d.singular(),
		PredicateFunc:             d.predicate,
		CreateStrategy:            strategy,
		UpdateStrategy:            strategy,
		DeleteStrategy:            strategy,
		ResetFieldsStrategy:       strategy,
		ReturnDeletedObject:       d.ReturnDeletedObject,
		TableConvertor:            d.tableConvertor(),
	}
	if d.CheckGracefulDelete != nil {
		store.DeleteStrategy = gracefulStrategy[T]{strategy}
	}
	if d.TTL != nil {
		store.TTLFunc = func(obj runtime.Object, _ uint64, _ bool) (uint64, error) { return d.TTL(obj.(T)), nil }
	}
	options := &generic.StoreOptions{RESTOptions: d.restOptions(env.RESTOptions), AttrFunc: d.attributes}
	d.indexInto(options)
	if err := store.CompleteWithOptions(options); err != nil {
		return nil, err
	}
	if d.Attach != nil {
		return store, d.Attach(env, store)
	}
	return store, nil
}

// attributes are what selectors are matched against.
func (d *Definition[T]) attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	o, ok := obj.(T)
	if !ok {
		return nil, nil, fmt.Errorf("expected a %s, got %T", d.Kind, obj)
	}
	return o.GetLabels(), d.selectable(o), nil
}

func (d *Definition[T]) predicate(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{
		Label:       label,
		Field:       field,
		GetAttrs:    d.attributes,
		IndexFields: d.IndexFields,
	}
}

// indexInto makes the watch cache keep an index of each field of IndexFields; the
// first one also decides which watchers an event is offered to.
func (d *Definition[T]) indexInto(options *generic.StoreOptions) {
	if len(d.IndexFields) == 0 {
		return
	}
	value := func(obj any, name string) string { return d.Fields(obj.(T))[name] }
	indexers := cache.Indexers{}
	for _, name := range d.IndexFields {
		indexers[storage.FieldIndex(name)] = func(obj any) ([]string, error) { return []string{value(obj, name)}, nil }
	}
	options.Indexers = &indexers
	first := d.IndexFields[0]
	options.TriggerFunc = map[string]storage.IndexerFunc{
		first: func(obj runtime.Object) string { return value(obj, first) },
	}
}

// restOptions puts the resource into the directory where upstream keeps it.
func (d *Definition[T]) restOptions(getter generic.RESTOptionsGetter) generic.RESTOptionsGetter {
	if d.StorageKey == "" {
		return getter
	}
	return keyedOptions{RESTOptionsGetter: getter, key: d.StorageKey}
}

type keyedOptions struct {
	generic.RESTOptionsGetter
	key string
}

func (k keyedOptions) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	options, err := k.RESTOptionsGetter.GetRESTOptions(resource, example)
	options.ResourcePrefix = k.key
	return options, err
}

// SubresourceStore gives a subresource the narrow face of a copy of the resource's store
// with strategies of its own: get, update and patch.
type SubresourceStore struct {
	store *genericregistry.Store
	reset rest.ResetFieldsStrategy
}

var (
	_ rest.Patcher             = &SubresourceStore{}
	_ rest.ResetFieldsStrategy = &SubresourceStore{}
)

// NewSubresourceStore makes an endpoint that reads and updates whole objects of store
// under another update strategy, as "status" and "ephemeralcontainers" do.
func NewSubresourceStore(store *genericregistry.Store, update rest.UpdateResetFieldsStrategy) *SubresourceStore {
	own := *store
	own.UpdateStrategy = update
	own.ResetFieldsStrategy = update
	return &SubresourceStore{store: &own, reset: update}
}

func newStatusEndpoint[T Object](d *Definition[T], store *genericregistry.Store, env *Env) *SubresourceStore {
	return NewSubresourceStore(store, statusStrategy[T]{newStrategy(d, env.Scheme, env.Features)})
}

// New makes an empty object.
func (s *SubresourceStore) New() runtime.Object { return s.store.New() }

// Destroy does nothing: the store belongs to the main endpoint.
func (s *SubresourceStore) Destroy() {}

// Get reads the whole object.
func (s *SubresourceStore) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, options)
}

// Update changes an object; it never creates one.
//
//nolint:revive // rest.Updater asks for all of them
func (s *SubresourceStore) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return s.store.Update(ctx, name, info, create, update, false, options)
}

// GetResetFields tells server-side apply which fields this endpoint leaves alone.
func (s *SubresourceStore) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.reset.GetResetFields()
}

// ConvertToTable prints what the main endpoint prints.
func (s *SubresourceStore) ConvertToTable(ctx context.Context, object, tableOptions runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, object, tableOptions)
}

// Storage makes what answers.
func (v *Virtual) Storage(env *Env) (map[string]rest.Storage, error) {
	endpoint, err := v.Serve(env)
	if err != nil {
		return nil, fmt.Errorf("resource %s: %w", v.Name, err)
	}
	return map[string]rest.Storage{v.Name: endpoint}, nil
}
