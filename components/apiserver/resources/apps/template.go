package apps

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
)

// selection is a workload's selector with the template that it has to select.
type selection struct {
	// owner names the workload in messages: "Deployment" says so of its ReplicaSets.
	owner    string
	selector *metav1.LabelSelector
	template *corev1.PodTemplateSpec
	// old is the template before an update, nil on create.
	old *corev1.PodTemplateSpec
}

// validateRequired checks a selector that must be there and must not select everything.
func (s selection) validateRequired(workload string, path *field.Path) field.ErrorList {
	if s.selector == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	return append(s.validateForm(path), s.validateNotEmpty(workload, path)...)
}

func (s selection) validateForm(path *field.Path) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s.selector, metav1validation.LabelSelectorValidationOptions{}, path)
}

func (s selection) validateNotEmpty(workload string, path *field.Path) field.ErrorList {
	if s.selector == nil || len(s.selector.MatchLabels)+len(s.selector.MatchExpressions) > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, s.selector, "empty selector is invalid for "+workload)}
}

// validateMatch checks that the template's pods would be selected.
func (s selection) validateMatch(path *field.Path) field.ErrorList {
	parsed, err := metav1.LabelSelectorAsSelector(s.selector)
	if err != nil || parsed.Empty() || parsed.Matches(labels.Set(s.template.Labels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("metadata", "labels"), s.template.Labels,
		"`selector` does not match template `labels`")}
}

// validateTemplate checks the pods to be made, which must be such as run for ever.
func (s selection) validateTemplate(path *field.Path) field.ErrorList {
	return append(pod.ValidateTemplate(s.template, path, pod.OptionsFor(s.old)), s.validateEndless(path)...)
}

func (s selection) validateEndless(path *field.Path) (errs field.ErrorList) {
	spec := path.Child("spec")
	if policy := s.template.Spec.RestartPolicy; policy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(spec.Child("restartPolicy"), policy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if s.template.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(spec.Child("activeDeadlineSeconds"), "activeDeadlineSeconds in "+s.owner+" is not Supported"))
	}
	return errs
}

// selectorText is the serialised selector of a scale endpoint.
func selectorText(selector *metav1.LabelSelector) (string, error) {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return "", err
	}
	return s.String(), nil
}

// templateWarnings tells of a new object's name and template, and of a changed one's template.
func templateWarnings[T interface {
	metav1.Object
	comparable
}](obj, old T, template *corev1.PodTemplateSpec) []string {
	var none T
	var said []string
	switch {
	case old == none:
		said = nameWarnings(obj.GetName())
	case obj.GetGeneration() == old.GetGeneration():
		return nil
	}
	return append(said, pod.TemplateWarnings(template, field.NewPath("spec", "template"))...)
}

// nameWarnings tells of names that are allowed but make odd pod hostnames.
func nameWarnings(name string) []string {
	problems := validation.IsDNS1123Label(name)
	if len(problems) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in "+
		"surprising behavior; a DNS label is recommended: %v", problems)}
}
