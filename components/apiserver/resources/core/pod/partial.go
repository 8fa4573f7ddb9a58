package pod

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// partialUpdate is the strategy of an endpoint that changes a part of a pod.
type partialUpdate struct {
	*runtime.Scheme
	// prepare puts back what the endpoint does not change.
	prepare func(p, old *corev1.Pod)
	// validate checks what it does.
	validate func(p, old *corev1.Pod) field.ErrorList
}

var _ rest.UpdateResetFieldsStrategy = partialUpdate{}

func (partialUpdate) NamespaceScoped() bool                         { return true }
func (partialUpdate) AllowCreateOnUpdate(context.Context) bool      { return false }
func (partialUpdate) AllowUnconditionalUpdate(context.Context) bool { return true }
func (partialUpdate) Canonicalize(runtime.Object)                   {}

func (u partialUpdate) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	p, was := obj.(*corev1.Pod), old.(*corev1.Pod)
	if u.prepare == nil {
		return
	}
	u.prepare(p, was)
	if !equality.Semantic.DeepEqual(p.Spec, was.Spec) {
		p.Generation = was.Generation + 1
	}
}

func (u partialUpdate) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	if u.validate == nil {
		return nil
	}
	return u.validate(obj.(*corev1.Pod), old.(*corev1.Pod))
}

func (partialUpdate) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// GetResetFields names no fields: an apply that names others than the endpoint's is
// brought back by prepare.
func (partialUpdate) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set { return nil }
