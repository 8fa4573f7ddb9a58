// Package partial has the strategy of endpoints below an object that change a part of
// it: pods/resize, namespaces/finalize.
package partial

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// Update describes such an endpoint. The zero functions change and check nothing.
type Update[T resource.Object] struct {
	*runtime.Scheme
	// ClusterScoped is true where the object lives outside namespaces.
	ClusterScoped bool
	// Prepare puts back what the endpoint does not change.
	Prepare func(obj, old T)
	// Validate checks what it does.
	Validate func(obj, old T) field.ErrorList
}

var _ rest.UpdateResetFieldsStrategy = Update[resource.Object]{}

// NamespaceScoped says where objects live.
func (u Update[T]) NamespaceScoped() bool { return !u.ClusterScoped }

// AllowCreateOnUpdate is false: there has to be an object to change a part of.
func (Update[T]) AllowCreateOnUpdate(context.Context) bool { return false }

// AllowUnconditionalUpdate lets clients leave out the resource version.
func (Update[T]) AllowUnconditionalUpdate(context.Context) bool { return true }

// Canonicalize changes nothing.
func (Update[T]) Canonicalize(runtime.Object) {}

// PrepareForUpdate puts back what is not the endpoint's.
func (u Update[T]) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	if u.Prepare != nil {
		u.Prepare(obj.(T), old.(T))
	}
}

// ValidateUpdate checks the change.
func (u Update[T]) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	if u.Validate == nil {
		return nil
	}
	return u.Validate(obj.(T), old.(T))
}

// WarningsOnUpdate says nothing.
func (Update[T]) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// GetResetFields names no fields: what an apply names beside the endpoint's own is
// brought back by Prepare.
func (Update[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set { return nil }
