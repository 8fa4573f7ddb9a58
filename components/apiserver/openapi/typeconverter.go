package openapi

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// NewTypeConverter knows the structure of every described type, for server-side
// apply. It reads the definitions at the first write, once for all groups.
func NewTypeConverter(p *Publisher) managedfields.TypeConverter {
	return lazyConverter{load: sync.OnceValues(func() (managedfields.TypeConverter, error) {
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
}

func (c lazyConverter) ObjectToTyped(obj runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	converter, err := c.load()
	if err != nil {
		return nil, err
	}
	return converter.ObjectToTyped(obj, options...)
}

func (c lazyConverter) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	converter, err := c.load()
	if err != nil {
		return nil, err
	}
	return converter.TypedToObject(value)
}
