package admissionregistration

import (
	"context"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/client-go/util/jsonpath"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

const (
	mostAuditAnnotations   = 20
	longestAuditExpression = 5 * 1024
)

// ValidatingAdmissionPolicies refuse requests by CEL expressions.
func ValidatingAdmissionPolicies() *resource.Definition[*admissionregistrationv1.ValidatingAdmissionPolicy] {
	type object = *admissionregistrationv1.ValidatingAdmissionPolicy
	reading := &readers{}
	return &resource.Definition[object]{
		Identity: resource.Identity{
			GroupVersion: admissionregistrationv1.SchemeGroupVersion,
			Kind:         "ValidatingAdmissionPolicy", Name: "validatingadmissionpolicies", Singular: "validatingadmissionpolicy",
			Categories: []string{"api-extensions"}, ClusterScoped: true,
		},
		New:     func() object { return &admissionregistrationv1.ValidatingAdmissionPolicy{} },
		NewList: func() runtime.Object { return &admissionregistrationv1.ValidatingAdmissionPolicyList{} },
		Default: func(p object) {
			orElse(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
			defaultMatch(p.Spec.MatchConstraints)
		},
		Validate: func(ctx context.Context, p object) field.ErrorList {
			errs := append(validateValidatingPolicy(p, nil), validateNotStatic(p.Name)...)
			if len(errs) > 0 {
				return errs
			}
			return reading.checkKind(ctx, p.Spec.ParamKind)
		},
		ValidateUpdate: func(ctx context.Context, p, old object) field.ErrorList {
			errs := validateValidatingPolicy(p, old)
			if len(errs) > 0 || apiequality.Semantic.DeepEqual(p.Spec.ParamKind, old.Spec.ParamKind) {
				return errs
			}
			return reading.checkKind(ctx, p.Spec.ParamKind)
		},
		Warnings:               func(_ context.Context, p, old object) []string { return staticWarnings(p.Name, old != nil) },
		RequireVersionOnUpdate: true,
		Spec:                   func(p object) any { return &p.Spec },
		TracksGeneration:       true,
		Status:                 func(p object) any { return &p.Status },
		StatusResets:           []resource.MetadataField{resource.AllMetadata},
		ValidateStatusUpdate: func(_ context.Context, p, _ object) field.ErrorList {
			return validatePolicyStatus(&p.Status)
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.Integer("Validations", "Validations indicates the number of validation rules defined in this configuration"),
			table.String("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
			table.Age(),
		},
		Cells: func(p object) []any {
			return []any{p.Name, int64(len(p.Spec.Validations)), kindCell(p.Spec.ParamKind), table.Since(p.CreationTimestamp)}
		},
		Attach: reading.attach,
	}
}

func kindCell(kind *admissionregistrationv1.ParamKind) string {
	if kind == nil {
		return table.Unset
	}
	return kind.APIVersion + "/" + kind.Kind
}

// storedExpressions are those that were accepted once.
func storedExpressions(p *admissionregistrationv1.ValidatingAdmissionPolicy) sets.Set[string] {
	texts := sets.New[string]()
	for _, c := range p.Spec.MatchConditions {
		texts.Insert(c.Expression)
	}
	for _, v := range p.Spec.Validations {
		texts.Insert(v.Expression, v.MessageExpression)
	}
	for _, a := range p.Spec.AuditAnnotations {
		texts.Insert(a.ValueExpression)
	}
	return texts
}

func validateValidatingPolicy(p, old *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
	var found problem.List
	spec, at := &p.Spec, field.NewPath("spec")
	e := &expressions{params: spec.ParamKind != nil}
	sameConditions := false
	if old != nil {
		e.stored = storedExpressions(old)
		sameConditions = apiequality.Semantic.DeepEqual(spec.ParamKind, old.Spec.ParamKind) &&
			apiequality.Semantic.DeepEqual(spec.MatchConditions, old.Spec.MatchConditions)
	}
	found.Add(validatePolicyScope(spec.FailurePolicy, spec.ParamKind, spec.MatchConstraints)...)
	if !sameConditions {
		found.Add(e.conditions(spec.MatchConditions, at.Child("matchConditions"))...)
	}
	if len(spec.Variables) > 0 {
		if err := e.compose(); err != nil {
			found.Add(field.InternalError(at.Child("variables"), err))
			return found.Errors
		}
		found.Add(e.variables(spec.Variables, at.Child("variables"))...)
	}
	if len(spec.Validations)+len(spec.AuditAnnotations) == 0 {
		const one = "validations or auditAnnotations must contain at least one item"
		found.Required(at.Child("validations"), one)
		found.Required(at.Child("auditAnnotations"), one)
		return found.Errors
	}
	for i := range spec.Validations {
		found.Add(e.validation(&spec.Validations[i], at.Child("validations").Index(i))...)
	}
	found.Add(e.auditAnnotations(p.Name, spec.AuditAnnotations, at.Child("auditAnnotations"))...)
	return found.Errors
}

// validatePolicyScope checks what both kinds of policies have: when they apply.
func validatePolicyScope(failure *admissionregistrationv1.FailurePolicyType, kind *admissionregistrationv1.ParamKind,
	match *admissionregistrationv1.MatchResources) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	if failure == nil {
		found.Required(at.Child("failurePolicy"), "")
	}
	found.Add(validateFailurePolicy(failure, at.Child("failurePolicy"))...)
	if kind != nil {
		found.Add(validateParamKind(kind, at.Child("paramKind"))...)
	}
	if match == nil {
		found.Required(at.Child("matchConstraints"), "")
		return found.Errors
	}
	found.Add(validateMatch(match, at.Child("matchConstraints"))...)
	if len(match.ResourceRules) == 0 {
		found.Required(at.Child("matchConstraints", "resourceRules"), "")
	}
	return found.Errors
}

func (e *expressions) validation(v *admissionregistrationv1.Validation, at *field.Path) field.ErrorList {
	var found problem.List
	if strings.TrimSpace(v.Expression) == "" {
		found.Required(at.Child("expression"), "expression is not specified")
	} else {
		found.Add(e.check(&validating.ValidationCondition{Expression: v.Expression}, v.Expression, e.scope(), at.Child("expression"))...)
	}
	if v.MessageExpression != "" && strings.TrimSpace(v.MessageExpression) == "" {
		found.Invalid(at.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified")
	} else if v.MessageExpression != "" {
		scope := plugincel.OptionalVariableDeclarations{HasParams: e.params}
		found.Add(e.check(&validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}, v.MessageExpression,
			scope, at.Child("messageExpression"))...)
	}
	switch text := strings.TrimSpace(v.Message); {
	case v.Message != "" && text == "":
		found.Invalid(at.Child("message"), v.Message, "must be non-empty if specified")
	case strings.ContainsAny(text, "\n\r"):
		found.Invalid(at.Child("message"), v.Message, "must not contain line breaks")
	}
	if v.Reason != nil {
		problem.OneOf(&found, at.Child("reason"), *v.Reason, metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)
	}
	return found.Errors
}

func (e *expressions) auditAnnotations(policy string, list []admissionregistrationv1.AuditAnnotation, path *field.Path) field.ErrorList {
	var found problem.List
	if len(list) > mostAuditAnnotations {
		found.Invalid(path, list, fmt.Sprintf("must not have more than %d auditAnnotations", mostAuditAnnotations))
	}
	keys := sets.New[string]()
	for i, a := range list {
		at := path.Index(i)
		if policy == "" {
			found.Invalid(at.Child("key"), a.Key, "requires metadata.name be non-empty")
		} else {
			key := policy + "/" + a.Key
			found.Messages(at.Child("key"), key, validation.IsQualifiedName(key))
		}
		switch text := strings.TrimSpace(a.ValueExpression); {
		case text == "":
			found.Required(at.Child("valueExpression"), "valueExpression is not specified")
		case len(text) > longestAuditExpression:
			found.Required(at.Child("valueExpression"), fmt.Sprintf("must not exceed %d bytes in length", longestAuditExpression))
		default:
			found.Add(e.check(&validating.AuditAnnotationCondition{ValueExpression: text}, a.ValueExpression, e.scope(), at.Child("valueExpression"))...)
		}
		if keys.Has(a.Key) {
			found.Duplicate(at.Child("key"), a.Key)
		}
		keys.Insert(a.Key)
	}
	return found.Errors
}

func validatePolicyStatus(status *admissionregistrationv1.ValidatingAdmissionPolicyStatus) field.ErrorList {
	var found problem.List
	at := field.NewPath("status")
	if checked := status.TypeChecking; checked != nil {
		for i, w := range checked.ExpressionWarnings {
			at := at.Child("typeChecking", "expressionWarnings").Index(i)
			found.NonEmpty(at.Child("warning"), w.Warning)
			ref := strings.TrimSpace(w.FieldRef)
			if ref == "" {
				found.Required(at.Child("fieldRef"), "")
			} else if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
				found.Invalid(at.Child("fieldRef"), ref, fmt.Sprintf("invalid JSONPath: %v", err))
			}
		}
	}
	found.Add(metav1validation.ValidateConditions(status.Conditions, at.Child("conditions"))...)
	return found.Errors
}
