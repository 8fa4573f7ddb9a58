package resource

import (
	"context"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/plumbline/plumbline/components/apiserver/features"
)

// strategy is what the generic registry asks at each step of a write to the main
// endpoint.
type strategy[T Object] struct {
	runtime.ObjectTyper
	names.NameGenerator
	def *Definition[T]
	// off are the features whose fields are dropped.
	off offFeatures
}

var (
	_ rest.RESTCreateStrategy              = strategy[Object]{}
	_ rest.RESTUpdateStrategy              = strategy[Object]{}
	_ rest.GarbageCollectionDeleteStrategy = strategy[Object]{}
	_ rest.ResetFieldsStrategy             = strategy[Object]{}
	_ rest.RESTGracefulDeleteStrategy      = gracefulStrategy[Object]{}
	_ rest.UpdateResetFieldsStrategy       = statusStrategy[Object]{}
)

func newStrategy[T Object](def *Definition[T], typer runtime.ObjectTyper, on features.Set) strategy[T] {
	return strategy[T]{ObjectTyper: typer, NameGenerator: names.SimpleNameGenerator, def: def, off: def.off.without(on)}
}

// Rules are what the engine asks at a write, without a store: to validate objects that no
// server holds. No feature is on.
func (d *Definition[T]) Rules(typer runtime.ObjectTyper) rest.RESTCreateUpdateStrategy {
	return newStrategy(d, typer, nil)
}

func (s strategy[T]) NamespaceScoped() bool { return !s.def.ClusterScoped }

func (s strategy[T]) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	o := obj.(T)
	if s.def.Status != nil && !s.def.KeepStatusOnCreate {
		clearValue(s.def.Status(o))
	}
	if s.def.TracksGeneration {
		o.SetGeneration(1)
	}
	s.off.drop(o, nil)
	if s.def.PrepareForCreate != nil {
		s.def.PrepareForCreate(ctx, o)
	}
}

func (s strategy[T]) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	o := obj.(T)
	named := s.def.NameValidator
	if named == nil {
		named = validation.NameIsDNSSubdomain
	}
	errs := validation.ValidateObjectMetaAccessor(o, s.NamespaceScoped(), named, field.NewPath("metadata"))
	errs = append(errs, validateFinalizers(o)...)
	if s.def.Validate != nil {
		errs = append(errs, s.def.Validate(ctx, o)...)
	}
	return errs
}

// validateFinalizers refuses names without a domain but for those of Kubernetes itself,
// whose controllers know them.
func validateFinalizers(o metav1.Object) field.ErrorList {
	var errs field.ErrorList
	for i, name := range o.GetFinalizers() {
		switch name {
		case "kubernetes", metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents:
			continue
		}
		if !strings.Contains(name, "/") {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "finalizers").Index(i), name,
				"name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

func (s strategy[T]) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string {
	if s.def.Warnings == nil {
		return nil
	}
	var none T
	return s.def.Warnings(ctx, obj.(T), none)
}

func (s strategy[T]) Canonicalize(obj runtime.Object) {
	if s.def.Canonicalize != nil {
		s.def.Canonicalize(obj.(T))
	}
}

func (s strategy[T]) AllowCreateOnUpdate(context.Context) bool { return s.def.AllowCreateOnUpdate }

func (s strategy[T]) AllowUnconditionalUpdate(context.Context) bool {
	return !s.def.RequireVersionOnUpdate
}

func (s strategy[T]) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	o, before := obj.(T), old.(T)
	if s.def.Status != nil {
		copyValue(s.def.Status(o), s.def.Status(before))
	}
	if s.def.FixedSpec {
		copyValue(s.def.Spec(o), s.def.Spec(before))
	}
	s.off.drop(o, before)
	if s.def.PrepareForUpdate != nil {
		s.def.PrepareForUpdate(ctx, o, before)
	}
	if s.def.TracksGeneration && !equality.Semantic.DeepEqual(s.def.Spec(o), s.def.Spec(before)) {
		o.SetGeneration(before.GetGeneration() + 1)
	}
}

func (s strategy[T]) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	errs := validateFinalizers(obj.(T))
	if s.def.ValidateUpdate != nil {
		errs = append(errs, s.def.ValidateUpdate(ctx, obj.(T), old.(T))...)
	}
	return errs
}

func (s strategy[T]) WarningsOnUpdate(ctx context.Context, obj, old runtime.Object) []string {
	if s.def.Warnings == nil {
		return nil
	}
	return s.def.Warnings(ctx, obj.(T), old.(T))
}

func (s strategy[T]) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	if s.def.DefaultGarbageCollection == "" {
		return rest.DeleteDependents
	}
	return s.def.DefaultGarbageCollection
}

// GetResetFields tells server-side apply that the status is not the main endpoint's, nor a spec
// that cannot change.
func (s strategy[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	var paths []fieldpath.Path
	if s.def.Status != nil {
		paths = append(paths, fieldpath.MakePathOrDie("status"))
	}
	if s.def.FixedSpec {
		paths = append(paths, fieldpath.MakePathOrDie("spec"))
	}
	if paths == nil {
		return nil
	}
	return s.def.forEachVersion(fieldpath.NewSet(paths...))
}

// gracefulStrategy is the strategy of a resource whose deletion waits for somebody.
// It is a type of its own because the registry goes by the method's presence.
type gracefulStrategy[T Object] struct{ strategy[T] }

func (s gracefulStrategy[T]) CheckGracefulDelete(ctx context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	return s.def.CheckGracefulDelete(ctx, obj.(T), options)
}

// statusStrategy is asked for writes to the status endpoint.
type statusStrategy[T Object] struct{ strategy[T] }

func (s statusStrategy[T]) AllowCreateOnUpdate(context.Context) bool { return false }

func (s statusStrategy[T]) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	o, before := obj.(T), old.(T)
	if s.def.Spec != nil {
		copyValue(s.def.Spec(o), s.def.Spec(before))
	}
	for _, reset := range s.def.StatusResets {
		reset.restore(o, before)
	}
	s.off.drop(o, before)
	if s.def.PrepareForStatusUpdate != nil {
		s.def.PrepareForStatusUpdate(ctx, o, before)
	}
}

func (s statusStrategy[T]) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	if s.def.ValidateStatusUpdate == nil {
		return nil
	}
	return s.def.ValidateStatusUpdate(ctx, obj.(T), old.(T))
}

func (s statusStrategy[T]) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (s statusStrategy[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	var paths []fieldpath.Path
	if s.def.Spec != nil {
		paths = append(paths, fieldpath.MakePathOrDie("spec"))
	}
	for _, reset := range s.def.StatusResets {
		paths = append(paths, reset.path())
	}
	for _, kept := range s.def.StatusKept {
		paths = append(paths, pathOf(kept))
	}
	return s.def.forEachVersion(fieldpath.NewSet(paths...))
}

// pathOf reads "status.conditions".
func pathOf(dotted string) fieldpath.Path {
	var path fieldpath.Path
	for name := range strings.SplitSeq(dotted, ".") {
		path = append(path, fieldpath.PathElement{FieldName: &name})
	}
	return path
}

func (d *Definition[T]) forEachVersion(set *fieldpath.Set) map[fieldpath.APIVersion]*fieldpath.Set {
	resets := map[fieldpath.APIVersion]*fieldpath.Set{}
	for _, gv := range d.Versions() {
		resets[fieldpath.APIVersion(gv.String())] = set
	}
	return resets
}

// MetadataField is a part of the metadata that a status endpoint leaves as it is.
type MetadataField string

// The parts of the metadata that upstream's status endpoints restore.
const (
	Labels            MetadataField = "labels"
	Annotations       MetadataField = "annotations"
	OwnerReferences   MetadataField = "ownerReferences"
	Finalizers        MetadataField = "finalizers"
	DeletionTimestamp MetadataField = "deletionTimestamp"
	// AllMetadata is everything but the managed fields and the resource version.
	AllMetadata MetadataField = ""
)

func (f MetadataField) path() fieldpath.Path {
	if f == AllMetadata {
		return fieldpath.MakePathOrDie("metadata")
	}
	return fieldpath.MakePathOrDie("metadata", string(f))
}

func (f MetadataField) restore(obj, old metav1.Object) {
	switch f {
	case Labels:
		obj.SetLabels(old.GetLabels())
	case Annotations:
		obj.SetAnnotations(old.GetAnnotations())
	case OwnerReferences:
		obj.SetOwnerReferences(old.GetOwnerReferences())
	case Finalizers:
		obj.SetFinalizers(old.GetFinalizers())
	case DeletionTimestamp:
		obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
	case AllMetadata:
		metav1.ResetObjectMetaForStatus(obj, old)
	}
}

// clearValue and copyValue work on pointers to a spec or a status. The copy is
// shallow: nothing below is changed in place.
func clearValue(ptr any) { reflect.ValueOf(ptr).Elem().SetZero() }

func copyValue(dst, src any) { reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(src).Elem()) }
