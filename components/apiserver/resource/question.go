package resource

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Question serves a resource that can only be created, and whose creation is answered
// with the object filled in: the reviews of authentication and authorization.
type Question[T Object] struct {
	// Name is the singular.
	Name          string
	ClusterScoped bool
	// Empty makes an empty question.
	Empty func() T
	// Check refuses questions that make no sense; it may be nil.
	Check func(context.Context, T) error
	// Answer fills the question in.
	Answer func(context.Context, T) (T, error)
}

var (
	_ rest.Creater              = &Question[Object]{}
	_ rest.Scoper               = &Question[Object]{}
	_ rest.SingularNameProvider = &Question[Object]{}
)

// New makes an empty question.
func (q *Question[T]) New() runtime.Object { return q.Empty() }

// Destroy does nothing: nothing is stored.
func (q *Question[T]) Destroy() {}

// NamespaceScoped says whether questions are asked in a namespace.
func (q *Question[T]) NamespaceScoped() bool { return !q.ClusterScoped }

// GetSingularName names one.
func (q *Question[T]) GetSingularName() string { return q.Name }

// Create answers.
func (q *Question[T]) Create(ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	asked, ok := obj.(T)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a %s: %#v", q.Name, obj))
	}
	if q.Check != nil {
		if err := q.Check(ctx, asked); err != nil {
			return nil, err
		}
	}
	if admit != nil {
		if err := admit(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	return q.Answer(ctx, asked)
}
