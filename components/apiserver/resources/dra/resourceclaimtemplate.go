package dra

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// ResourceClaimTemplates are what claims are made from, one for each pod.
func ResourceClaimTemplates() *resource.Definition[*resourcev1.ResourceClaimTemplate] {
	rights := &rights{}
	return &resource.Definition[*resourcev1.ResourceClaimTemplate]{
		Identity: resource.Identity{
			GroupVersion: resourcev1.SchemeGroupVersion,
			Kind:         "ResourceClaimTemplate", Name: "resourceclaimtemplates", Singular: "resourceclaimtemplate",
		},
		New:                 func() *resourcev1.ResourceClaimTemplate { return &resourcev1.ResourceClaimTemplate{} },
		NewList:             func() runtime.Object { return &resourcev1.ResourceClaimTemplateList{} },
		ReturnDeletedObject: true,
		Default:             func(t *resourcev1.ResourceClaimTemplate) { defaultRequests(&t.Spec.Spec.Devices) },
		PrepareForCreate: func(_ context.Context, t *resourcev1.ResourceClaimTemplate) {
			dropOffFields(&t.Spec.Spec.Devices)
		},
		PrepareForUpdate: func(_ context.Context, t, _ *resourcev1.ResourceClaimTemplate) {
			dropOffFields(&t.Spec.Spec.Devices)
		},
		Validate: func(ctx context.Context, t *resourcev1.ResourceClaimTemplate) field.ErrorList {
			return append(rights.checkAdmin(ctx, t.Spec.Spec.Devices.Requests, t.Namespace), validateTemplate(&t.Spec)...)
		},
		ValidateUpdate: func(_ context.Context, t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
			return append(validateTemplate(&t.Spec), apivalidation.ValidateImmutableField(t.Spec, old.Spec, field.NewPath("spec"))...)
		},
		Columns: []metav1.TableColumnDefinition{table.Name(), table.Age()},
		Cells: func(t *resourcev1.ResourceClaimTemplate) []any {
			return []any{t.Name, table.Since(t.CreationTimestamp)}
		},
		Attach: rights.attach,
	}
}

func validateTemplate(spec *resourcev1.ResourceClaimTemplateSpec) field.ErrorList {
	var found problem.List
	meta := field.NewPath("spec", "metadata")
	found.Add(apivalidation.ValidateAnnotations(spec.Annotations, meta.Child("annotations"))...)
	found.Add(metav1validation.ValidateLabels(spec.Labels, meta.Child("labels"))...)
	found.Add(validateClaim(&spec.Spec.Devices, field.NewPath("spec", "spec", "devices"))...)
	return found.Errors
}
