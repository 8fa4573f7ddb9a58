package openapi

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	mergeschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// NewTypeConverter knows the structure of every described type, for server-side
// apply. It reads the definitions at the first write, once for all groups.
func NewTypeConverter(p *Publisher) managedfields.TypeConverter {
	return lazyConverter{known: &sync.Map{}, load: sync.OnceValues(func() (managedfields.TypeConverter, error) {
		return managedfields.NewTypeConverter(p.Definitions(), false)
	})}
}

// Definitions are all described types by their name.
func (p *Publisher) Definitions() map[string]*spec.Schema {
	described := GetOpenAPIDefinitions(func(name string) spec.Ref {
		return spec.MustCreateRef("#/components/schemas/" + common.EscapeJsonPointer(name))
	})
	schemas := make(map[string]*spec.Schema, len(described))
	for name, definition := range described {
		schema := definition.Schema
		if _, extensions := p.definitionName(name); extensions != nil {
			merged := spec.Extensions{}
			for k, v := range schema.Extensions {
				merged[k] = v
			}
			for k, v := range extensions {
				merged[k] = v
			}
			schema.Extensions = merged
		}
		schemas[name] = &schema
	}
	return schemas
}

type lazyConverter struct {
	load func() (managedfields.TypeConverter, error)
	// known are the structures of types that were met, by schema.GroupVersionKind.
	known *sync.Map
}

// structure is that of one type.
type structure struct {
	schema *mergeschema.Schema
	ref    mergeschema.TypeRef
}

// ObjectToTyped implements managedfields.TypeConverter. An object of a Go type that may have duplicates is not
// validated: it cannot be of another structure than its type's, and field management looks at all of it anyway.
func (c lazyConverter) ObjectToTyped(obj runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	kind := obj.GetObjectKind().GroupVersionKind()
	if _, untyped := obj.(runtime.Unstructured); !untyped && slices.Contains(options, typed.AllowDuplicates) {
		if found, ok := c.known.Load(kind); ok {
			content, err := value.NewValueReflect(obj)
			if err != nil {
				return nil, err
			}
			of := found.(structure)
			//nolint:staticcheck // said to be no longer worth while, but validation takes a hundred times as long
			return typed.AsTypedUnvalidated(content, of.schema, of.ref), nil
		}
	}
	converter, err := c.load()
	if err != nil {
		return nil, err
	}
	result, err := converter.ObjectToTyped(obj, options...)
	if err == nil {
		c.known.LoadOrStore(kind, structure{result.Schema(), result.TypeRef()})
	}
	return result, err
}

// TypedToObject implements managedfields.TypeConverter.
func (c lazyConverter) TypedToObject(object *typed.TypedValue) (runtime.Object, error) {
	converter, err := c.load()
	if err != nil {
		return nil, err
	}
	return converter.TypedToObject(object)
}
