package volume

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/quantity"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// ClaimOptions loosen the rules for claims that were stored before a rule existed.
type ClaimOptions struct {
	// AnyLabelValue tolerates values in the selector that no label can have.
	AnyLabelValue bool
	// AnyDataSourceGroup tolerates API groups that are no DNS subdomain.
	AnyDataSourceGroup bool
}

// ClaimOptionsFor makes the options for an update; old may be nil.
func ClaimOptionsFor(old *corev1.PersistentVolumeClaimSpec) ClaimOptions {
	if old == nil {
		return ClaimOptions{}
	}
	grouped := old.DataSource != nil && old.DataSource.APIGroup != nil || old.DataSourceRef != nil && old.DataSourceRef.APIGroup != nil
	return ClaimOptions{
		AnyLabelValue:      len(metav1validation.ValidateLabelSelector(old.Selector, metav1validation.LabelSelectorValidationOptions{}, nil)) > 0,
		AnyDataSourceGroup: grouped,
	}
}

// ValidateClaimSpec checks a claim's spec, also where it is a template.
func ValidateClaimSpec(s *corev1.PersistentVolumeClaimSpec, at *field.Path, o ClaimOptions) field.ErrorList {
	var found problem.List
	if len(s.AccessModes) == 0 {
		found.Required(at.Child("accessModes"), "at least 1 access mode is required")
	}
	if s.Selector != nil {
		found.Add(metav1validation.ValidateLabelSelector(s.Selector,
			metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: o.AnyLabelValue}, at.Child("selector"))...)
	}
	ValidateAccessModes(&found, at.Child("accessModes"), s.AccessModes)

	sizeAt := at.Child("resources").Key(string(corev1.ResourceStorage))
	if size, given := s.Resources.Requests[corev1.ResourceStorage]; given {
		found.Add(quantity.ValidatePositive(size, sizeAt)...)
	} else {
		found.Required(sizeAt, "")
	}
	ValidateClassName(&found, at.Child("storageClassName"), ptr.Deref(s.StorageClassName, ""))
	ValidateMode(&found, at.Child("volumeMode"), s.VolumeMode)
	ValidateClassName(&found, at.Child("volumeAttributesClassName"), ptr.Deref(s.VolumeAttributesClassName, ""))

	if d := s.DataSource; d != nil {
		dataSource(&found, at.Child("dataSource"), &corev1.TypedObjectReference{APIGroup: d.APIGroup, Kind: d.Kind, Name: d.Name}, o)
	}
	if s.DataSourceRef != nil {
		dataSource(&found, at.Child("dataSourceRef"), s.DataSourceRef, o)
	}
	if s.DataSource != nil && s.DataSourceRef != nil {
		ref := s.DataSourceRef
		same := reflect.DeepEqual(s.DataSource, &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name})
		switch {
		case ptr.Deref(ref.Namespace, "") != "":
			found.Invalid(at, at.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified")
		case !same:
			found.Invalid(at, at.Child("dataSource"), "must match dataSourceRef")
		}
	}
	return found.Errors
}

func dataSource(found *problem.List, at *field.Path, d *corev1.TypedObjectReference, o ClaimOptions) {
	found.NonEmpty(at.Child("name"), d.Name)
	found.NonEmpty(at.Child("kind"), d.Kind)
	group := ptr.Deref(d.APIGroup, "")
	switch {
	case group == "" && d.Kind != "PersistentVolumeClaim":
		found.Invalid(at, d.Kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
	case group != "" && !o.AnyDataSourceGroup:
		found.Messages(at.Child("apiGroup"), group, validation.IsDNS1123Subdomain(group))
	}
	if ns := ptr.Deref(d.Namespace, ""); ns != "" {
		found.Messages(at.Child("namespace"), ns, apivalidation.ValidateNamespaceName(ns, false))
	}
}

// ValidateAccessModes checks how a volume may be mounted.
func ValidateAccessModes(found *problem.List, at *field.Path, modes []corev1.PersistentVolumeAccessMode) {
	lone, shared := false, false
	for _, m := range modes {
		before := len(found.Errors)
		problem.OneOf(found, at, m, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		if m == corev1.ReadWriteOncePod {
			lone = true
		} else if len(found.Errors) == before {
			shared = true
		}
	}
	if lone && shared {
		found.Forbidden(at, "may not use ReadWriteOncePod with other access modes")
	}
}

// ValidateClassName checks the name of a class, if there is one.
func ValidateClassName(found *problem.List, at *field.Path, name string) {
	if name != "" {
		found.Messages(at, name, apivalidation.NameIsDNSSubdomain(name, false))
	}
}

// ValidateMode checks whether a volume is a file system or a block device.
func ValidateMode(found *problem.List, at *field.Path, mode *corev1.PersistentVolumeMode) {
	if mode != nil {
		problem.OneOf(found, at, *mode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
}

// ValidateTemplateMeta checks the metadata of a template inside another object, in
// which only labels and annotations make sense.
func ValidateTemplateMeta(m *metav1.ObjectMeta, at *field.Path) field.ErrorList {
	var found problem.List
	found.Add(apivalidation.ValidateAnnotations(m.Annotations, at.Child("annotations"))...)
	found.Add(metav1validation.ValidateLabels(m.Labels, at.Child("labels"))...)
	found.Add(problem.OnlyFields(*m, at, "cannot be set", "Annotations", "Labels")...)
	return found.Errors
}
