package resource

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/plumbline/plumbline/components/apiserver/features"
)

// NewScheme makes the scheme that serves the entries: every version's types, and
// the hub types under __internal.
func NewScheme(entries []Entry) (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	// Entries come first: they say which type is a kind's hub.
	for _, e := range entries {
		if err := e.Register(scheme); err != nil {
			return nil, fmt.Errorf("resource %s: %w", e.ID().Name, err)
		}
	}
	for _, gv := range ServedVersions(entries) {
		if err := completeInternal(scheme, gv); err != nil {
			return nil, err
		}
	}
	// Status, Scale and the like are answered below other groups' objects.
	for _, gv := range []schema.GroupVersion{{Group: "autoscaling", Version: "v1"}, {Group: "policy", Version: "v1"}, {Group: "authentication.k8s.io", Version: "v1"}} {
		if err := completeInternal(scheme, gv); err != nil {
			return nil, err
		}
	}
	for group, versions := range versionsByGroup(entries) {
		if err := scheme.SetVersionPriority(versions...); err != nil {
			return nil, fmt.Errorf("group %q: %w", group, err)
		}
	}
	return scheme, nil
}

// Enabled are the entries that there are with these features.
func Enabled(entries []Entry, on features.Set) []Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool {
		feature := e.ID().Feature
		return feature != "" && !on.Has(feature)
	})
}

// ServedVersions lists each group version that an entry is served under, in the
// order of the entries.
func ServedVersions(entries []Entry) []schema.GroupVersion {
	var all []schema.GroupVersion
	for _, e := range entries {
		for _, gv := range e.ID().Versions() {
			if !slices.Contains(all, gv) {
				all = append(all, gv)
			}
		}
	}
	return all
}

func versionsByGroup(entries []Entry) map[string][]schema.GroupVersion {
	groups := map[string][]schema.GroupVersion{}
	for _, gv := range ServedVersions(entries) {
		groups[gv.Group] = append(groups[gv.Group], gv)
	}
	return groups
}

// Versions are all group versions the resource is served under, the hub's own first.
func (i Identity) Versions() []schema.GroupVersion {
	return append([]schema.GroupVersion{i.GroupVersion}, i.ServedAs...)
}

// DefaultVersions are those that are on by default.
func (i Identity) DefaultVersions() []schema.GroupVersion {
	return slices.DeleteFunc(i.Versions(), func(gv schema.GroupVersion) bool { return slices.Contains(i.OnRequest, gv) })
}

// GroupResource is the resource's name in its own group.
func (i Identity) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: i.GroupVersion.Group, Resource: i.Name}
}

func (i Identity) singular() schema.GroupResource {
	return schema.GroupResource{Group: i.GroupVersion.Group, Resource: i.Singular}
}

// completeInternal registers every type of a version under __internal too, where
// no hub has been registered for its kind, so that options and subresource bodies
// decode as well.
func completeInternal(scheme *runtime.Scheme, gv schema.GroupVersion) error {
	known := map[string]reflect.Type{}
	for kind, t := range scheme.KnownTypes(gv) {
		known[kind] = t
	}
	for kind, t := range known {
		obj, ok := reflect.New(t).Interface().(runtime.Object)
		if !ok || t.PkgPath() == reflect.TypeFor[metav1.Status]().PkgPath() {
			continue
		}
		if err := RegisterHub(scheme, gv.Group, kind, obj); err != nil {
			return err
		}
		if err := acceptQuery(scheme, obj); err != nil {
			return err
		}
	}
	return nil
}

// RegisterHub makes obj's type the hub of a kind in a group, unless there is one.
// It also registers the conversion of the type to itself, which version
// negotiation in admission asks for.
func RegisterHub(scheme *runtime.Scheme, group, kind string, obj runtime.Object) error {
	hub := schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal}.WithKind(kind)
	if scheme.Recognizes(hub) {
		return nil
	}
	scheme.AddKnownTypeWithName(hub, obj)
	return scheme.AddConversionFunc(obj, obj, func(in, out any, _ conversion.Scope) error {
		// A deep copy, because the two sides live on separately.
		reflect.ValueOf(out).Elem().Set(reflect.ValueOf(in.(runtime.Object).DeepCopyObject()).Elem())
		return nil
	})
}

// acceptQuery lets an options object be read from a URL's query.
func acceptQuery(scheme *runtime.Scheme, obj runtime.Object) error {
	if !isOptions(reflect.TypeOf(obj).Elem()) {
		return nil
	}
	return scheme.AddConversionFunc((*url.Values)(nil), obj, func(in, out any, _ conversion.Scope) error {
		return decodeQuery(*in.(*url.Values), out)
	})
}

func addSelectableFields(scheme *runtime.Scheme, gvk schema.GroupVersionKind, selectable fields.Set) error {
	return scheme.AddFieldLabelConversionFunc(gvk, func(label, value string) (string, string, error) {
		if _, ok := selectable[label]; ok {
			return label, value, nil
		}
		return "", "", fmt.Errorf("field label not supported: %s", label)
	})
}
