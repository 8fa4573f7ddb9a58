package admissionregistration

import (
	"context"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// MutatingAdmissionPolicies change requests by CEL expressions.
func MutatingAdmissionPolicies() *resource.Definition[*admissionregistrationv1.MutatingAdmissionPolicy] {
	type object = *admissionregistrationv1.MutatingAdmissionPolicy
	reading := &readers{}
	return &resource.Definition[object]{
		Identity: resource.Identity{
			GroupVersion: admissionregistrationv1.SchemeGroupVersion,
			Kind:         "MutatingAdmissionPolicy", Name: "mutatingadmissionpolicies", Singular: "mutatingadmissionpolicy",
			Categories: []string{"api-extensions"}, ClusterScoped: true,
		},
		New:     func() object { return &admissionregistrationv1.MutatingAdmissionPolicy{} },
		NewList: func() runtime.Object { return &admissionregistrationv1.MutatingAdmissionPolicyList{} },
		Default: func(p object) {
			orElse(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
			defaultMatch(p.Spec.MatchConstraints)
		},
		Validate: func(ctx context.Context, p object) field.ErrorList {
			errs := append(validateMutatingPolicy(p, nil), validateNotStatic(p.Name)...)
			if len(errs) > 0 {
				return errs
			}
			return reading.checkKind(ctx, p.Spec.ParamKind)
		},
		ValidateUpdate: func(ctx context.Context, p, old object) field.ErrorList {
			errs := validateMutatingPolicy(p, old)
			if len(errs) > 0 || apiequality.Semantic.DeepEqual(p.Spec.ParamKind, old.Spec.ParamKind) {
				return errs
			}
			return reading.checkKind(ctx, p.Spec.ParamKind)
		},
		Warnings:               func(_ context.Context, p, old object) []string { return staticWarnings(p.Name, old != nil) },
		RequireVersionOnUpdate: true,
		Spec:                   func(p object) any { return &p.Spec },
		TracksGeneration:       true,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.Integer("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
			table.String("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
			table.Age(),
		},
		Cells: func(p object) []any {
			return []any{p.Name, int64(len(p.Spec.Mutations)), kindCell(p.Spec.ParamKind), table.Since(p.CreationTimestamp)}
		},
		Attach: reading.attach,
	}
}

func validateMutatingPolicy(p, old *admissionregistrationv1.MutatingAdmissionPolicy) field.ErrorList {
	var found problem.List
	spec, at := &p.Spec, field.NewPath("spec")
	e := &expressions{params: spec.ParamKind != nil, stored: sets.New[string]()}
	sameConditions := false
	if old != nil {
		for _, c := range old.Spec.MatchConditions {
			e.stored.Insert(c.Expression)
		}
		for _, m := range old.Spec.Mutations {
			e.stored.Insert(patchText(&m))
		}
		sameConditions = apiequality.Semantic.DeepEqual(spec.ParamKind, old.Spec.ParamKind) &&
			apiequality.Semantic.DeepEqual(spec.MatchConditions, old.Spec.MatchConditions)
	}
	found.Add(validatePolicyScope(spec.FailurePolicy, spec.ParamKind, spec.MatchConstraints)...)
	found.Add(validateMutableOperations(spec.MatchConstraints, at.Child("matchConstraints"))...)
	if !sameConditions {
		found.Add(e.conditions(spec.MatchConditions, at.Child("matchConditions"))...)
	}
	if err := e.compose(); err != nil {
		found.Add(field.InternalError(at, err))
		return found.Errors
	}
	found.Add(e.variables(spec.Variables, at.Child("variables"))...)
	if len(spec.Mutations) == 0 {
		found.Required(at.Child("mutations"), "mutations must contain at least one item")
	}
	for i := range spec.Mutations {
		found.Add(e.mutation(&spec.Mutations[i], at.Child("mutations").Index(i))...)
	}
	if spec.ReinvocationPolicy == "" {
		found.Required(at.Child("reinvocationPolicy"), "")
	} else {
		problem.OneOf(&found, at.Child("reinvocationPolicy"), spec.ReinvocationPolicy,
			admissionregistrationv1.IfNeededReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
	}
	return found.Errors
}

// patchText is a mutation's expression, whichever kind it is.
func patchText(m *admissionregistrationv1.Mutation) string {
	switch {
	case m.ApplyConfiguration != nil:
		return m.ApplyConfiguration.Expression
	case m.JSONPatch != nil:
		return m.JSONPatch.Expression
	}
	return ""
}

func (e *expressions) mutation(m *admissionregistrationv1.Mutation, at *field.Path) field.ErrorList {
	var found problem.List
	json, apply := at.Child("jsonPatch"), at.Child("applyConfiguration")
	switch m.PatchType {
	case "":
		found.Required(at.Child("patchType"), "")
	case admissionregistrationv1.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			found.Required(json, "must be specified when patchType is JSONPatch")
		} else {
			text := strings.TrimSpace(m.JSONPatch.Expression)
			found.Add(e.patch(&patch.JSONPatchCondition{Expression: text}, m.JSONPatch.Expression, json.Child("expression"))...)
		}
		if m.ApplyConfiguration != nil {
			found.Invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch")
		}
	case admissionregistrationv1.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			found.Required(apply, "must be specified when patchType is ApplyConfiguration")
		} else {
			text := strings.TrimSpace(m.ApplyConfiguration.Expression)
			found.Add(e.patch(&patch.ApplyConfigurationCondition{Expression: text}, m.ApplyConfiguration.Expression, apply.Child("expression"))...)
		}
		if m.JSONPatch != nil {
			found.Invalid(json, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration")
		}
	default:
		problem.OneOf(&found, at.Child("patchType"), m.PatchType, admissionregistrationv1.PatchTypeApplyConfiguration, admissionregistrationv1.PatchTypeJSONPatch)
	}
	return found.Errors
}

func (e *expressions) patch(x plugincel.ExpressionAccessor, text string, at *field.Path) field.ErrorList {
	if x.GetExpression() == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	scope := e.scope()
	scope.HasPatchTypes = true
	return e.check(x, text, scope, at)
}
