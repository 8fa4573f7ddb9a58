package resource

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Sharing converts as a scheme does, for those who only look at what they are given: below
// the outermost struct, the result may be the very memory that was converted.
type Sharing struct{ *runtime.Scheme }

var _ runtime.ObjectConvertor = Sharing{}

// ConvertToVersion names a copy of the outermost struct where hub and version are one Go
// type: the scheme would copy all of it, or, asked not to, write the name into the object.
func (s Sharing) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	if _, untyped := in.(runtime.Unstructured); untyped {
		return s.UnsafeConvertToVersion(in, target)
	}
	kinds, _, err := s.ObjectKinds(in)
	if err != nil {
		return nil, err
	}
	kind, ok := target.KindForGroupVersionKinds(kinds)
	if !ok || !slices.Contains(kinds, kind) {
		return s.UnsafeConvertToVersion(in, target)
	}
	from := reflect.ValueOf(in).Elem()
	to := reflect.New(from.Type())
	to.Elem().Set(from)
	if kind.Version == runtime.APIVersionInternal {
		kind = schema.GroupVersionKind{} // a hub has no name
	}
	named := to.Interface().(runtime.Object)
	named.GetObjectKind().SetGroupVersionKind(kind)
	return named, nil
}
