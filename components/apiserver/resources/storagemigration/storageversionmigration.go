// Package storagemigration has the resources of the group storagemigration.k8s.io/v1:
// orders to write objects anew in the version that is stored now.
package storagemigration

import (
	"context"
	"strings"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	storagemigrationv1beta1 "k8s.io/api/storagemigration/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// StorageVersionMigrations name a resource whose objects are to be written anew.
func StorageVersionMigrations() *resource.Definition[*storagemigrationv1.StorageVersionMigration] {
	return &resource.Definition[*storagemigrationv1.StorageVersionMigration]{
		Identity: resource.Identity{
			GroupVersion: storagemigrationv1.SchemeGroupVersion, StoredAs: storagemigrationv1beta1.SchemeGroupVersion,
			Kind: "StorageVersionMigration", Name: "storageversionmigrations", Singular: "storageversionmigration",
			ClusterScoped: true,
		},
		New: func() *storagemigrationv1.StorageVersionMigration {
			return &storagemigrationv1.StorageVersionMigration{}
		},
		NewList: func() runtime.Object { return &storagemigrationv1.StorageVersionMigrationList{} },
		Validate: func(_ context.Context, m *storagemigrationv1.StorageVersionMigration) field.ErrorList {
			return validateMigration(&m.Spec)
		},
		ValidateUpdate: func(_ context.Context, m, old *storagemigrationv1.StorageVersionMigration) field.ErrorList {
			return append(validateMigration(&m.Spec), apivalidation.ValidateImmutableField(m.Spec, old.Spec, field.NewPath("spec"))...)
		},
		RequireVersionOnUpdate: true,
		Spec:                   func(m *storagemigrationv1.StorageVersionMigration) any { return &m.Spec },
		Status:                 func(m *storagemigrationv1.StorageVersionMigration) any { return &m.Status },
		StatusResets:           []resource.MetadataField{resource.AllMetadata},
		ValidateStatusUpdate:   validateProgress,
		Columns: []metav1.TableColumnDefinition{
			table.String("Name", metav1.ObjectMeta{}.SwaggerDoc()["name"]),
			table.String("Resource", "GroupResource to migrate"),
			table.String("Status", "Status of the migration"),
		},
		Cells: func(m *storagemigrationv1.StorageVersionMigration) []any {
			return []any{m.Name, m.Spec.Resource.String(), state(m)}
		},
	}
}

func state(m *storagemigrationv1.StorageVersionMigration) string {
	now := "Unknown"
	for _, c := range m.Status.Conditions {
		switch kind := storagemigrationv1.MigrationConditionType(c.Type); kind {
		case storagemigrationv1.MigrationRunning, storagemigrationv1.MigrationFailed, storagemigrationv1.MigrationSucceeded:
			if c.Status == metav1.ConditionTrue {
				now = c.Type
			}
		}
	}
	return now
}

func validateMigration(spec *storagemigrationv1.StorageVersionMigrationSpec) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec", "resource")
	if name := spec.Resource.Resource; name == "" {
		found.Required(at.Child("resource"), "resource is required to be set")
	} else if problems := validation.IsDNS1035Label(name); len(problems) > 0 {
		found.Invalid(at.Child("resource"), name, strings.Join(problems, ","))
	}
	if group := spec.Resource.Group; group != "" {
		if problems := validation.IsDNS1123Subdomain(group); len(problems) > 0 {
			found.Invalid(at.Child("group"), group, strings.Join(problems, ","))
		}
	}
	return found.Errors
}

// validateProgress lets a migration end once, and well or badly.
func validateProgress(_ context.Context, m, old *storagemigrationv1.StorageVersionMigration) field.ErrorList {
	var found problem.List
	at := field.NewPath("status")
	version, before := m.Status.ResourceVersion, old.Status.ResourceVersion
	if version != "" {
		if _, err := resourceversion.CompareResourceVersion(version, version); err != nil {
			found.Invalid(at.Child("resourceVersion"), version, err.Error())
		}
	}
	conditions := m.Status.Conditions
	found.Add(metav1validation.ValidateConditions(conditions, at.Child("conditions"))...)
	if before != "" && version != before {
		found.Invalid(at.Child("resourceVersion"), version, apivalidation.FieldImmutableErrorMsg)
	}
	is := func(m *storagemigrationv1.StorageVersionMigration, kind storagemigrationv1.MigrationConditionType) bool {
		return meta.IsStatusConditionTrue(m.Status.Conditions, string(kind))
	}
	const succeeded, failed = storagemigrationv1.MigrationSucceeded, storagemigrationv1.MigrationFailed
	for _, rule := range []struct {
		broken bool
		detail string
	}{
		{is(m, succeeded) && is(m, failed), "Both success and failed conditions cannot be true at the same time"},
		{is(old, succeeded) && !is(m, succeeded), "Success condition cannot be set to false once it is true"},
		{is(old, failed) && !is(m, failed), "Failed condition cannot be set to false once it is true"},
	} {
		if rule.broken {
			found.Invalid(at.Child("conditions"), conditions, rule.detail)
		}
	}
	return found.Errors
}
