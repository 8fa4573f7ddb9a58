package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// PodTemplates hold a template by itself.
func PodTemplates() *resource.Definition[*corev1.PodTemplate] {
	at := field.NewPath("template")
	return &resource.Definition[*corev1.PodTemplate]{
		Identity: identity("PodTemplate", "podtemplates", "podtemplate"),
		New:      func() *corev1.PodTemplate { return new(corev1.PodTemplate) },
		NewList:  func() runtime.Object { return new(corev1.PodTemplateList) },
		Off:      pod.OffFeatures("template.spec"),
		Default:  func(t *corev1.PodTemplate) { pod.DefaultTemplate(&t.Template) },
		Validate: func(_ context.Context, t *corev1.PodTemplate) field.ErrorList {
			return pod.ValidateTemplate(&t.Template, at, pod.Options{})
		},
		ValidateUpdate: func(_ context.Context, t, old *corev1.PodTemplate) field.ErrorList {
			return pod.ValidateTemplate(&t.Template, at, pod.OptionsFor(&old.Template))
		},
		Warnings: func(_ context.Context, t, old *corev1.PodTemplate) []string {
			if old != nil && t.Generation == old.Generation {
				return nil
			}
			return pod.TemplateWarnings(&t.Template, at)
		},
		// The template stands where others have a spec.
		Spec: func(t *corev1.PodTemplate) any { return &t.Template }, TracksGeneration: true,
		ReturnDeletedObject: true,
		Columns: []metav1.TableColumnDefinition{
			table.Name(), table.String("Containers", "Names of each container in the template."),
			table.String("Images", "Images referenced by each container in the template."), table.String("Pod Labels", "The labels for the pod template."),
		},
		Cells: func(t *corev1.PodTemplate) []any {
			containers := table.ContainerCells(t.Template.Spec.Containers)
			return []any{t.Name, containers[0], containers[1], labels.FormatLabels(t.Template.Labels)}
		},
	}
}
