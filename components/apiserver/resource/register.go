package resource

import (
	"errors"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ID names the resource.
func (d *Definition[T]) ID() Identity { return d.Identity }

// Register adds the hub type and its list, under its own version and under
// __internal of every group it is served in, with defaults and field selectors.
func (d *Definition[T]) Register(scheme *runtime.Scheme) error {
	if err := d.check(); err != nil {
		return err
	}
	var err error
	if d.off, err = compileFeatures(reflect.TypeFor[T](), d.Off); err != nil {
		return err
	}
	scheme.AddKnownTypeWithName(d.GroupVersion.WithKind(d.Kind), d.New())
	scheme.AddKnownTypeWithName(d.GroupVersion.WithKind(d.Kind+"List"), d.NewList())
	for _, gv := range d.Versions() {
		if err := RegisterHub(scheme, gv.Group, d.Kind, d.New()); err != nil {
			return err
		}
		if err := RegisterHub(scheme, gv.Group, d.Kind+"List", d.NewList()); err != nil {
			return err
		}
	}
	if d.Default != nil {
		scheme.AddTypeDefaultingFunc(d.New(), func(obj any) { d.Default(obj.(T)) })
	}
	if d.Fields != nil {
		selectable := d.selectable(d.New())
		for _, gv := range d.Versions() {
			if err := addSelectableFields(scheme, gv.WithKind(d.Kind), selectable); err != nil {
				return err
			}
		}
	}
	if stored := d.StorageVersion(); stored != d.GroupVersion {
		complete := func(hub any) {
			if d.Default != nil {
				d.Default(hub.(T))
			}
		}
		if err := registerStored(scheme, stored.WithKind(d.Kind), d.New(), complete); err != nil {
			return err
		}
	}
	if d.AddToScheme != nil {
		return d.AddToScheme(scheme)
	}
	return nil
}

func (d *Definition[T]) check() error {
	if err := d.Identity.check(); err != nil {
		return err
	}
	if d.New == nil || d.NewList == nil {
		return errors.New("the functions New and NewList must be set")
	}
	if (d.Columns == nil) != (d.Cells == nil) {
		return errors.New("the fields Columns and Cells must be set together")
	}
	if (d.TracksGeneration || d.FixedSpec) && d.Spec == nil {
		return errors.New("the fields TracksGeneration and FixedSpec need Spec")
	}
	return nil
}

func (i Identity) check() error {
	if i.GroupVersion.Version == "" || i.Kind == "" || i.Name == "" || i.Singular == "" {
		return fmt.Errorf("identity %+v needs GroupVersion, Kind, Name and Singular", i)
	}
	return nil
}

// selectable are the fields of obj that clients may select by.
func (d *Definition[T]) selectable(obj T) fields.Set {
	set := fields.Set{}
	if d.Fields != nil {
		set = d.Fields(obj)
	}
	set["metadata.name"] = obj.GetName()
	if !d.ClusterScoped {
		set["metadata.namespace"] = obj.GetNamespace()
	}
	return set
}

// ID names the resource.
func (v *Virtual) ID() Identity { return v.Identity }

// Register adds the type under its version and as its own hub.
func (v *Virtual) Register(scheme *runtime.Scheme) error {
	if err := v.check(); err != nil {
		return err
	}
	for _, gv := range v.Versions() {
		if err := v.registerIn(scheme, gv); err != nil {
			return err
		}
	}
	if v.Default != nil {
		scheme.AddTypeDefaultingFunc(v.New(), func(obj any) { v.Default(obj.(runtime.Object)) })
	}
	if v.AddToScheme != nil {
		return v.AddToScheme(scheme)
	}
	return nil
}

func (v *Virtual) registerIn(scheme *runtime.Scheme, gv schema.GroupVersion) error {
	if gv == v.GroupVersion {
		scheme.AddKnownTypeWithName(gv.WithKind(v.Kind), v.New())
	}
	return RegisterHub(scheme, gv.Group, v.Kind, v.New())
}
