package resource

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// StorageVersion is the group version that objects are written to etcd under.
func (i Identity) StorageVersion() schema.GroupVersion {
	if i.StoredAs != (schema.GroupVersion{}) {
		return i.StoredAs
	}
	return i.GroupVersion
}

// registerStored lets a hub be written as the version that it is stored under, and read
// from it. The version's type must hold everything that the hub holds; what more it holds
// is not read, as upstream does not show it in the version that is served either.
func registerStored(scheme *runtime.Scheme, stored schema.GroupVersionKind, hub runtime.Object, complete func(hub any)) error {
	object, err := scheme.New(stored)
	if err != nil {
		return err
	}
	if err := holds(reflect.TypeOf(object).Elem(), reflect.TypeOf(hub).Elem(), map[reflect.Type]bool{}); err != nil {
		return fmt.Errorf("stored as %s: %w", stored.GroupVersion(), err)
	}
	reshaped := func(in, out any, _ conversion.Scope) error {
		reshape(reflect.ValueOf(out).Elem(), reflect.ValueOf(in).Elem())
		return nil
	}
	if err := scheme.AddConversionFunc(hub, object, reshaped); err != nil {
		return err
	}
	return scheme.AddConversionFunc(object, hub, func(in, out any, scope conversion.Scope) error {
		if err := reshaped(in, out, scope); err != nil {
			return err
		}
		complete(out)
		return nil
	})
}

// holds says whether values of one type can hold those of another without a loss: their
// fields have the same names and kinds, however their types are called.
func holds(one, other reflect.Type, known map[reflect.Type]bool) error {
	if one == other || known[other] {
		return nil
	}
	known[other] = true
	if one.Kind() != other.Kind() {
		return fmt.Errorf("%s is a %s, and %s a %s", one, one.Kind(), other, other.Kind())
	}
	switch other.Kind() {
	case reflect.Struct:
		for i := range other.NumField() {
			field := other.Field(i)
			same, ok := one.FieldByName(field.Name)
			if !ok || same.Tag.Get("json") != field.Tag.Get("json") {
				return fmt.Errorf("%s has no field %s as %s has", one, field.Name, other)
			}
			if err := holds(same.Type, field.Type, known); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		if one.Key() != other.Key() {
			return fmt.Errorf("%s has other keys than %s", one, other)
		}
		return holds(one.Elem(), other.Elem(), known)
	case reflect.Pointer, reflect.Slice:
		return holds(one.Elem(), other.Elem(), known)
	case reflect.Interface, reflect.Array, reflect.Func, reflect.Chan:
		return fmt.Errorf("%s and %s are of a kind that API types do not have", one, other)
	default:
		return nil
	}
}

// reshape fills to with what from has of its fields.
func reshape(to, from reflect.Value) {
	if to.Type() == from.Type() {
		to.Set(from)
		return
	}
	switch to.Kind() {
	case reflect.Struct:
		for i := range to.NumField() {
			if field := from.FieldByName(to.Type().Field(i).Name); field.IsValid() {
				reshape(to.Field(i), field)
			}
		}
	case reflect.Pointer:
		if !from.IsNil() {
			to.Set(reflect.New(to.Type().Elem()))
			reshape(to.Elem(), from.Elem())
		}
	case reflect.Slice:
		if !from.IsNil() {
			to.Set(reflect.MakeSlice(to.Type(), from.Len(), from.Len()))
			for i := range from.Len() {
				reshape(to.Index(i), from.Index(i))
			}
		}
	case reflect.Map:
		if !from.IsNil() {
			to.Set(reflect.MakeMapWithSize(to.Type(), from.Len()))
			for each := from.MapRange(); each.Next(); {
				value := reflect.New(to.Type().Elem()).Elem()
				reshape(value, each.Value())
				to.SetMapIndex(each.Key(), value)
			}
		}
	default:
		to.Set(from.Convert(to.Type()))
	}
}
