package storage

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// Classes say how volumes are provisioned.
// See https://kubernetes.io/docs/concepts/storage/storage-classes/.
func Classes() *resource.Definition[*storagev1.StorageClass] {
	docs := storagev1.StorageClass{}.SwaggerDoc()
	return &resource.Definition[*storagev1.StorageClass]{
		Identity: resource.Identity{
			GroupVersion: storagev1.SchemeGroupVersion,
			Kind:         "StorageClass", Name: "storageclasses", Singular: "storageclass",
			ShortNames: []string{"sc"}, ClusterScoped: true,
		},
		New:                 func() *storagev1.StorageClass { return &storagev1.StorageClass{} },
		NewList:             func() runtime.Object { return &storagev1.StorageClassList{} },
		ReturnDeletedObject: true,
		Default: func(c *storagev1.StorageClass) {
			orElse(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
			orElse(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
		},
		Validate: func(_ context.Context, c *storagev1.StorageClass) field.ErrorList {
			return validateStorageClass(c)
		},
		ValidateUpdate: func(_ context.Context, c, old *storagev1.StorageClass) field.ErrorList {
			found := problem.List{Errors: validateStorageClass(c)}
			for _, fixed := range []struct {
				name     string
				now, was any
			}{
				{"parameters", c.Parameters, old.Parameters},
				{"provisioner", c.Provisioner, old.Provisioner},
				{"reclaimPolicy", c.ReclaimPolicy, old.ReclaimPolicy},
				{"volumeBindingMode", c.VolumeBindingMode, old.VolumeBindingMode},
			} {
				found.Add(apivalidation.ValidateImmutableField(fixed.now, fixed.was, field.NewPath(fixed.name))...)
			}
			return found.Errors
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Provisioner", docs["provisioner"]),
			table.String("ReclaimPolicy", docs["reclaimPolicy"]),
			table.String("VolumeBindingMode", docs["volumeBindingMode"]),
			table.String("AllowVolumeExpansion", docs["allowVolumeExpansion"]),
			table.Age(),
		},
		Cells: func(c *storagev1.StorageClass) []any {
			name := c.Name
			// Of several defaults upstream's lists mark the one that counts, the newest;
			// a row is made without the others here, so all are marked.
			if isDefault(c) {
				name += " (default)"
			}
			return []any{name, c.Provisioner,
				string(ptr.Deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
				string(ptr.Deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)),
				ptr.Deref(c.AllowVolumeExpansion, false), table.Since(c.CreationTimestamp)}
		},
	}
}

// orElse sets a field that was left out.
func orElse[T any](target **T, value T) {
	if *target == nil {
		*target = &value
	}
}

func isDefault(c *storagev1.StorageClass) bool {
	return c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" ||
		c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true"
}

func validateStorageClass(c *storagev1.StorageClass) field.ErrorList {
	found := problem.List{Errors: validateDriver(c.Provisioner, field.NewPath("provisioner"))}
	found.Add(validateParameters(c.Parameters, field.NewPath("parameters"))...)
	if reclaim := ptr.Deref(c.ReclaimPolicy, ""); reclaim != "" {
		problem.OneOf(&found, field.NewPath("reclaimPolicy"), reclaim, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	}
	if c.VolumeBindingMode == nil {
		found.Required(field.NewPath("volumeBindingMode"), "")
	} else {
		problem.OneOf(&found, field.NewPath("volumeBindingMode"), *c.VolumeBindingMode,
			storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	}
	found.Add(validateTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
	return found.Errors
}

// validateDriver checks the name of a provisioner or driver in a class.
func validateDriver(name string, at *field.Path) field.ErrorList {
	var found problem.List
	if name == "" {
		found.Required(at, "")
		return found.Errors
	}
	lower := strings.ToLower(name)
	found.Messages(at, lower, validation.IsQualifiedName(lower))
	return found.Errors
}

// How many parameters a class may have, and how much text.
const (
	mostParameters    = 512
	longestParameters = 256 * 1024
)

func validateParameters(parameters map[string]string, at *field.Path) field.ErrorList {
	var found problem.List
	if len(parameters) > mostParameters {
		found.Add(field.TooLong(at, "", mostParameters))
		return found.Errors
	}
	size := 0
	for key, value := range parameters {
		if key == "" {
			found.Invalid(at, key, "field can not be empty.")
		}
		size += len(key) + len(value)
	}
	if size > longestParameters {
		found.Add(field.TooLong(at, "", longestParameters))
	}
	return found.Errors
}

func validateTopologies(terms []corev1.TopologySelectorTerm, path *field.Path) field.ErrorList {
	var found problem.List
	var seen []map[string]sets.Set[string]
	for i, term := range terms {
		at := path.Index(i).Child("matchLabelExpressions")
		values := map[string]sets.Set[string]{}
		for j, r := range term.MatchLabelExpressions {
			at := at.Index(j)
			found.Add(validateTopologyRequirement(r, at)...)
			if _, again := values[r.Key]; again {
				found.Duplicate(at.Child("key"), r.Key)
			}
			values[r.Key] = sets.New(r.Values...)
		}
		if len(values) == 0 || slices.ContainsFunc(seen, func(other map[string]sets.Set[string]) bool {
			return apiequality.Semantic.DeepEqual(values, other)
		}) {
			found.Duplicate(at, "")
		}
		seen = append(seen, values)
	}
	return found.Errors
}

func validateTopologyRequirement(r corev1.TopologySelectorLabelRequirement, at *field.Path) field.ErrorList {
	var found problem.List
	if len(r.Values) == 0 {
		found.Required(at.Child("values"), "")
	}
	for i, value := range r.Values {
		if slices.Contains(r.Values[:i], value) {
			found.Duplicate(at.Child("values").Index(i), value)
		}
	}
	found.Add(metav1validation.ValidateLabelName(r.Key, at.Child("key"))...)
	return found.Errors
}
