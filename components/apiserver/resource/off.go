package resource

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/component-base/featuregate"

	"github.com/plumbline/plumbline/components/apiserver/features"
)

// Feature is one that is off by default, with the fields it brings. A client may send them;
// they are cleared, unless the stored object uses one of them already.
type Feature struct {
	// Name is the feature gate's.
	Name featuregate.Feature
	// Fields are JSON paths from the object, "spec.volumes.emptyDir.mode". Lists on the way
	// are gone through.
	Fields []string
}

// offFeatures are the fields to clear, found once in the object's type.
type offFeatures []offFeature

type offFeature struct {
	name   featuregate.Feature
	fields []fieldSteps
}

// fieldSteps are the indexes of struct fields from an object to one below it.
type fieldSteps []int

func compileFeatures(object reflect.Type, features []Feature) (offFeatures, error) {
	var all offFeatures
	for _, feature := range features {
		var paths []fieldSteps
		for _, field := range feature.Fields {
			steps, err := stepsTo(object, field)
			if err != nil {
				return nil, fmt.Errorf("feature %s: %w", feature.Name, err)
			}
			paths = append(paths, steps)
		}
		all = append(all, offFeature{feature.Name, paths})
	}
	return all, nil
}

func stepsTo(t reflect.Type, path string) (fieldSteps, error) {
	var steps fieldSteps
	for name := range strings.SplitSeq(path, ".") {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		index, err := fieldNamed(t, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		// Inlined structs make an index of several numbers.
		steps = append(steps, index...)
		t = t.FieldByIndex(index).Type
	}
	return steps, nil
}

func fieldNamed(t reflect.Type, name string) ([]int, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s has no fields", t)
	}
	for _, f := range reflect.VisibleFields(t) {
		if tagged, _, _ := strings.Cut(f.Tag.Get("json"), ","); tagged == name {
			return f.Index, nil
		}
	}
	return nil, fmt.Errorf("%s has no field %q", t, name)
}

// without leaves out the features that are on after all.
func (o offFeatures) without(on features.Set) offFeatures {
	return slices.DeleteFunc(slices.Clone(o), func(f offFeature) bool { return on.Has(f.name) })
}

// drop clears what belongs to each feature in obj that old, which may be nil, does not use.
func (o offFeatures) drop(obj, old any) {
	for _, feature := range o {
		if old != nil && inUse(reflect.ValueOf(old), feature) {
			continue
		}
		for _, path := range feature.fields {
			each(reflect.ValueOf(obj), path, func(field reflect.Value) bool {
				if !field.IsZero() {
					field.SetZero()
				}
				return true
			})
		}
	}
}

func inUse(old reflect.Value, feature offFeature) bool {
	for _, path := range feature.fields {
		if !each(old, path, reflect.Value.IsZero) {
			return true
		}
	}
	return false
}

// each visits every field at a path, until a visit says false.
func each(at reflect.Value, path fieldSteps, visit func(reflect.Value) bool) bool {
	if len(path) == 0 {
		return visit(at)
	}
	switch at.Kind() {
	case reflect.Pointer:
		return at.IsNil() || each(at.Elem(), path, visit)
	case reflect.Slice:
		for i := range at.Len() {
			if !each(at.Index(i), path, visit) {
				return false
			}
		}
		return true
	default:
		return each(at.Field(path[0]), path[1:], visit)
	}
}
