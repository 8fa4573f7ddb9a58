package admissionregistration

import (
	"context"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// ValidatingAdmissionPolicyBindings say where a policy applies, with which parameters.
func ValidatingAdmissionPolicyBindings() *resource.Definition[*admissionregistrationv1.ValidatingAdmissionPolicyBinding] {
	type object = *admissionregistrationv1.ValidatingAdmissionPolicyBinding
	reading := &readers{}
	reading.policyKind = func(ctx context.Context, name string) (*admissionregistrationv1.ParamKind, error) {
		policy, err := reading.stored(ctx, "validatingadmissionpolicies", name)
		if err != nil {
			return nil, err
		}
		return policy.(*admissionregistrationv1.ValidatingAdmissionPolicy).Spec.ParamKind, nil
	}
	return &resource.Definition[object]{
		Identity: resource.Identity{
			GroupVersion: admissionregistrationv1.SchemeGroupVersion,
			Kind:         "ValidatingAdmissionPolicyBinding", Name: "validatingadmissionpolicybindings", Singular: "validatingadmissionpolicybinding",
			Categories: []string{"api-extensions"}, ClusterScoped: true,
		},
		New:     func() object { return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{} },
		NewList: func() runtime.Object { return &admissionregistrationv1.ValidatingAdmissionPolicyBindingList{} },
		Default: func(b object) { defaultMatch(b.Spec.MatchResources) },
		Validate: func(ctx context.Context, b object) field.ErrorList {
			errs := append(validateValidatingBinding(&b.Spec), validateNotStatic(b.Name)...)
			if len(errs) > 0 {
				return errs
			}
			return reading.checkRef(ctx, b.Spec.PolicyName, b.Spec.ParamRef)
		},
		ValidateUpdate: func(ctx context.Context, b, old object) field.ErrorList {
			errs := validateValidatingBinding(&b.Spec)
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

func bindingColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		table.Name(),
		table.String("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
		table.String("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
		table.Age(),
	}
}

// validateBinding checks what both kinds of bindings have.
func validateBinding(policy string, ref *admissionregistrationv1.ParamRef, match *admissionregistrationv1.MatchResources) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	if policy == "" {
		found.Required(at.Child("policyName"), "")
	} else {
		found.Messages(at.Child("policyName"), policy, apivalidation.NameIsDNSSubdomain(policy, false))
	}
	found.Add(validateParamRef(ref, at.Child("paramRef"))...)
	found.Add(validateMatch(match, at.Child("matchResources"))...)
	return found.Errors
}

func validateValidatingBinding(spec *admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec) field.ErrorList {
	found := problem.List{Errors: validateBinding(spec.PolicyName, spec.ParamRef, spec.MatchResources)}
	actions, at := spec.ValidationActions, field.NewPath("spec", "validationActions")
	for i, action := range actions {
		problem.OneOf(&found, at.Index(i), action, admissionregistrationv1.Audit, admissionregistrationv1.Deny, admissionregistrationv1.Warn)
		if slices.Contains(actions[:i], action) {
			found.Duplicate(at.Index(i), action)
		}
	}
	if slices.Contains(actions, admissionregistrationv1.Deny) && slices.Contains(actions, admissionregistrationv1.Warn) {
		found.Invalid(at, actions, "must not contain both Deny and Warn "+
			"(repeating the same validation failure information in the API response and headers serves no purpose)")
	}
	if len(actions) == 0 {
		found.Required(at, "")
	}
	return found.Errors
}
