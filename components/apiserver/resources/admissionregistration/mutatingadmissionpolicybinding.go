package admissionregistration

import (
	"context"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// MutatingAdmissionPolicyBindings say where a policy applies, with which parameters.
func MutatingAdmissionPolicyBindings() *resource.Definition[*admissionregistrationv1.MutatingAdmissionPolicyBinding] {
	type object = *admissionregistrationv1.MutatingAdmissionPolicyBinding
	reading := &readers{}
	reading.policyKind = func(ctx context.Context, name string) (*admissionregistrationv1.ParamKind, error) {
		policy, err := reading.stored(ctx, "mutatingadmissionpolicies", name)
		if err != nil {
			return nil, err
		}
		return policy.(*admissionregistrationv1.MutatingAdmissionPolicy).Spec.ParamKind, nil
	}
	return &resource.Definition[object]{
		Identity: resource.Identity{
			GroupVersion: admissionregistrationv1.SchemeGroupVersion,
			Kind:         "MutatingAdmissionPolicyBinding", Name: "mutatingadmissionpolicybindings", Singular: "mutatingadmissionpolicybinding",
			Categories: []string{"api-extensions"}, ClusterScoped: true,
		},
		New:     func() object { return &admissionregistrationv1.MutatingAdmissionPolicyBinding{} },
		NewList: func() runtime.Object { return &admissionregistrationv1.MutatingAdmissionPolicyBindingList{} },
		Default: func(b object) { defaultMatch(b.Spec.MatchResources) },
		Validate: func(ctx context.Context, b object) field.ErrorList {
			errs := append(validateMutatingBinding(&b.Spec), validateNotStatic(b.Name)...)
			if len(errs) > 0 {
				return errs
			}
			return reading.checkRef(ctx, b.Spec.PolicyName, b.Spec.ParamRef)
		},
		ValidateUpdate: func(ctx context.Context, b, old object) field.ErrorList {
			errs := validateMutatingBinding(&b.Spec)
			same := apiequality.Semantic.DeepEqual(b.Spec.ParamRef, old.Spec.ParamRef) && b.Spec.PolicyName == old.Spec.PolicyName
			if len(errs) > 0 || same {
				return errs
			}
			return reading.checkRef(ctx, b.Spec.PolicyName, b.Spec.ParamRef)
		},
		Warnings:               func(_ context.Context, b, old object) []string { return staticWarnings(b.Name, old != nil) },
		RequireVersionOnUpdate: true,
		Spec:                   func(b object) any { return &b.Spec },
		TracksGeneration:       true,
		Columns:                bindingColumns(),
		Cells: func(b object) []any {
			return []any{b.Name, b.Spec.PolicyName, paramCell(b.Spec.ParamRef), table.Since(b.CreationTimestamp)}
		},
		Attach: reading.attach,
	}
}

func validateMutatingBinding(spec *admissionregistrationv1.MutatingAdmissionPolicyBindingSpec) field.ErrorList {
	errs := validateBinding(spec.PolicyName, spec.ParamRef, spec.MatchResources)
	return append(errs, validateMutableOperations(spec.MatchResources, field.NewPath("spec", "matchResources"))...)
}
