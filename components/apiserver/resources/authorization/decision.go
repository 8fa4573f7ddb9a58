package authorization

import (
	"context"
	"errors"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// decide asks the authorizer on somebody's behalf.
func decide(ctx context.Context, by authorizer.Authorizer, who user.Info, resource *authorizationv1.ResourceAttributes, other *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	attributes := authorizer.AttributesRecord{User: who}
	if resource != nil {
		fillResource(&attributes, resource)
	} else {
		attributes.Path, attributes.Verb = other.Path, other.Verb
	}
	decision, reason, err := by.Authorize(ctx, attributes)
	return authorizationv1.SubjectAccessReviewStatus{
		Allowed:         decision == authorizer.DecisionAllow,
		Denied:          decision == authorizer.DecisionDeny,
		Reason:          reason,
		EvaluationError: evaluationError(err, &attributes),
	}
}

func fillResource(a *authorizer.AttributesRecord, in *authorizationv1.ResourceAttributes) {
	a.ResourceRequest = true
	a.Verb, a.Namespace, a.Name = in.Verb, in.Namespace, in.Name
	a.APIGroup, a.APIVersion = in.Group, in.Version
	a.Resource, a.Subresource = in.Resource, in.Subresource
	if a.APIVersion == "" {
		a.APIVersion = "*"
	}
	if s := in.LabelSelector; s != nil {
		if s.RawSelector != "" {
			selector, err := labels.Parse(s.RawSelector)
			if a.LabelSelectorParsingErr = err; err == nil {
				a.LabelSelectorRequirements, _ = selector.Requirements()
			}
		} else {
			a.LabelSelectorRequirements, a.LabelSelectorParsingErr = labelRequirements(s.Requirements)
		}
	}
	if s := in.FieldSelector; s != nil {
		if s.RawSelector != "" {
			selector, err := fields.ParseSelector(s.RawSelector)
			if a.FieldSelectorParsingErr = err; err == nil {
				a.FieldSelectorRequirements = selector.Requirements()
			}
		} else {
			a.FieldSelectorRequirements, a.FieldSelectorParsingErr = fieldRequirements(s.Requirements)
		}
	}
}

// labelRequirements keeps what can be understood. Requirements are joined by "and", so one that is
// dropped only widens what is asked about.
func labelRequirements(in []metav1.LabelSelectorRequirement) (labels.Requirements, error) {
	operators := map[metav1.LabelSelectorOperator]selection.Operator{
		metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
		metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	var out labels.Requirements
	var errs []error
	for _, r := range in {
		operator, known := operators[r.Operator]
		if !known {
			errs = append(errs, fmt.Errorf("%q is not a valid label selector operator", r.Operator))
			continue
		}
		requirement, err := labels.NewRequirement(r.Key, operator, r.Values)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, *requirement)
	}
	return out, errors.Join(errs...)
}

func fieldRequirements(in []metav1.FieldSelectorRequirement) (fields.Requirements, error) {
	operators := map[metav1.FieldSelectorOperator]selection.Operator{
		metav1.FieldSelectorOpIn: selection.Equals, metav1.FieldSelectorOpNotIn: selection.NotEquals,
	}
	var out fields.Requirements
	var errs []error
	for _, r := range in {
		operator, known := operators[r.Operator]
		switch {
		case len(r.Values) > 1:
			errs = append(errs, errors.New("fieldSelectors do not yet support multiple values"))
		case !known:
			errs = append(errs, fmt.Errorf("%q is not a valid field selector operator", r.Operator))
		case len(r.Values) == 0:
			errs = append(errs, fmt.Errorf("fieldSelectors %s must have one value", strings.ToLower(string(r.Operator))))
		default:
			out = append(out, fields.Requirement{Field: r.Key, Operator: operator, Value: r.Values[0]})
		}
	}
	return out, errors.Join(errs...)
}

func evaluationError(err error, a *authorizer.AttributesRecord) string {
	var parts []string
	if err != nil {
		parts = append(parts, err.Error())
	}
	note := func(which string, kept int, err error) {
		if err == nil {
			return
		}
		how := "ignored"
		if kept > 0 {
			how = "partially ignored"
		}
		parts = append(parts, fmt.Sprintf("spec.resourceAttributes.%s %s due to parse error", which, how))
	}
	note("fieldSelector", len(a.FieldSelectorRequirements), a.FieldSelectorParsingErr)
	note("labelSelector", len(a.LabelSelectorRequirements), a.LabelSelectorParsingErr)
	return strings.Join(parts, ", ")
}

func listRules(ctx context.Context, by authorizer.RuleResolver, who user.Info, namespace string) *authorizationv1.SelfSubjectRulesReview {
	resources, urls, incomplete, err := by.RulesFor(ctx, who, namespace)
	answer := &authorizationv1.SelfSubjectRulesReview{Status: authorizationv1.SubjectRulesReviewStatus{
		ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}, Incomplete: incomplete,
	}}
	for _, r := range resources {
		answer.Status.ResourceRules = append(answer.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: r.GetVerbs(), APIGroups: r.GetAPIGroups(), Resources: r.GetResources(), ResourceNames: r.GetResourceNames()})
	}
	for _, r := range urls {
		answer.Status.NonResourceRules = append(answer.Status.NonResourceRules, authorizationv1.NonResourceRule{
			Verbs: r.GetVerbs(), NonResourceURLs: r.GetNonResourceURLs()})
	}
	if err != nil {
		answer.Status.EvaluationError = err.Error()
	}
	return answer
}
