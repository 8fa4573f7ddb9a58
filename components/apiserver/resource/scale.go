package resource

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

var (
	_ rest.Patcher                  = &scaleEndpoint[Object]{}
	_ rest.GroupVersionKindProvider = &scaleEndpoint[Object]{}
)

// scaleEndpoint shows an object as an autoscaling/v1 Scale and writes the wanted
// count back into it.
type scaleEndpoint[T Object] struct {
	def   *Definition[T]
	store *genericregistry.Store
}

// GroupVersionKind says that the body is a Scale, whatever group the resource is in.
func (e *scaleEndpoint[T]) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

func (e *scaleEndpoint[T]) New() runtime.Object { return &autoscalingv1.Scale{} }

func (e *scaleEndpoint[T]) Destroy() {}

func (e *scaleEndpoint[T]) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := e.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return e.show(obj)
}

//nolint:revive // rest.Updater asks for all of them
func (e *scaleEndpoint[T]) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	obj, _, err := e.store.Update(ctx, name, &scaledObject[T]{endpoint: e, asked: info, name: name},
		e.onScale(create), e.onScales(update), false, options)
	if err != nil {
		return nil, false, err
	}
	scale, err := e.show(obj)
	return scale, false, err
}

func (e *scaleEndpoint[T]) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(schema.GroupResource{Group: "autoscaling", Resource: "scales"}).ConvertToTable(ctx, object, options)
}

// onScale and onScales let admission see the Scale rather than the object behind it.
func (e *scaleEndpoint[T]) onScale(admit rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, obj runtime.Object) error {
		scale, err := e.show(obj)
		if err != nil {
			return err
		}
		return admit(ctx, scale)
	}
}

func (e *scaleEndpoint[T]) onScales(admit rest.ValidateObjectUpdateFunc) rest.ValidateObjectUpdateFunc {
	return func(ctx context.Context, obj, old runtime.Object) error {
		now, err := e.show(obj)
		if err != nil {
			return err
		}
		before, err := e.show(old)
		if err != nil {
			return err
		}
		return admit(ctx, now, before)
	}
}

func (e *scaleEndpoint[T]) show(obj runtime.Object) (*autoscalingv1.Scale, error) {
	o := obj.(T)
	selector, err := e.def.Scale.Selector(o)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("the selector cannot be shown: %w", err))
	}
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name:              o.GetName(),
			Namespace:         o.GetNamespace(),
			UID:               o.GetUID(),
			ResourceVersion:   o.GetResourceVersion(),
			CreationTimestamp: o.GetCreationTimestamp(),
		},
		Status: autoscalingv1.ScaleStatus{Replicas: e.def.Scale.Current(o), Selector: selector},
	}
	if wanted := e.def.Scale.Replicas(o); wanted != nil {
		scale.Spec.Replicas = *wanted
	}
	return scale, nil
}

// replicasPaths says, per version, which field of the object the Scale stands for.
func (e *scaleEndpoint[T]) replicasPaths() managedfields.ResourcePathMappings {
	paths := managedfields.ResourcePathMappings{}
	for _, gv := range e.def.Versions() {
		paths[gv.String()] = fieldpath.MakePathOrDie("spec", "replicas")
	}
	return paths
}

// scaledObject is an update of the object behind a Scale, made from one of the Scale.
type scaledObject[T Object] struct {
	endpoint *scaleEndpoint[T]
	asked    rest.UpdatedObjectInfo
	name     string
}

func (s *scaledObject[T]) Preconditions() *metav1.Preconditions { return s.asked.Preconditions() }

func (s *scaledObject[T]) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj := old.DeepCopyObject().(T)
	if obj.GetName() == "" {
		return nil, apierrors.NewNotFound(s.endpoint.def.GroupResource(), s.name)
	}
	before, err := s.endpoint.show(obj)
	if err != nil {
		return nil, err
	}
	owners := managedfields.NewScaleHandler(obj.GetManagedFields(), s.version(ctx), s.endpoint.replicasPaths())
	if before.ManagedFields, err = owners.ToSubresource(); err != nil {
		return nil, err
	}
	answer, err := s.asked.UpdatedObject(ctx, before)
	if err != nil {
		return nil, err
	}
	scale, ok := answer.(*autoscalingv1.Scale)
	if !ok || scale == nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, got %T", answer))
	}
	if errs := validateScale(scale); len(errs) > 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), s.name, errs)
	}
	if scale.ResourceVersion != "" {
		obj.SetResourceVersion(scale.ResourceVersion)
	}
	*s.endpoint.def.Scale.Replicas(obj) = scale.Spec.Replicas
	merged, err := owners.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, err
	}
	obj.SetManagedFields(merged)
	return obj, nil
}

// version is the one the object is addressed under in this request.
func (s *scaledObject[T]) version(ctx context.Context) schema.GroupVersion {
	if info, ok := genericrequest.RequestInfoFrom(ctx); ok {
		return schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
	}
	return s.endpoint.def.GroupVersion
}

func validateScale(scale *autoscalingv1.Scale) field.ErrorList {
	errs := validation.ValidateObjectMeta(&scale.ObjectMeta, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	return append(errs, validation.ValidateNonnegativeField(int64(scale.Spec.Replicas), field.NewPath("spec", "replicas"))...)
}
