package pod

import (
	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// Options loosen validation where an object that was accepted earlier must stay
// updatable. The zero value is right for new objects; OptionsFor makes that of an update.
type Options struct {
	// Old is the spec that is stored, nil for a new object.
	Old *corev1.PodSpec
	// OldAnnotations are those that stood beside Old.
	OldAnnotations map[string]string
	// Pod is true where the spec is a pod's own and not that of a template.
	Pod bool
}

// OptionsFor makes the options for an update of a template; old may be nil.
func OptionsFor(old *corev1.PodTemplateSpec) Options {
	if old == nil {
		return Options{}
	}
	return Options{Old: &old.Spec, OldAnnotations: old.Annotations}
}

// ValidateTemplate checks a pod template. at is the template's own path, "spec.template".
func ValidateTemplate(t *corev1.PodTemplateSpec, at *field.Path, o Options) field.ErrorList {
	var found problem.List
	found.Add(metav1validation.ValidateLabels(t.Labels, at.Child("labels"))...)
	found.Add(ValidateSpec(&t.Spec, at.Child("spec"), o)...)
	return found.Errors
}

// ValidateSpec checks a pod spec that stands in another object than a pod.
func ValidateSpec(s *corev1.PodSpec, at *field.Path, o Options) field.ErrorList {
	var found problem.List
	if len(s.Containers) == 0 {
		found.Required(at.Child("containers"), "")
	}
	for c := range members(s, at) {
		found.NonEmpty(c.at.Child("name"), c.Name)
	}
	return found.Errors
}
