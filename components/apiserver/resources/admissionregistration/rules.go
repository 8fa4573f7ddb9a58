package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// orElse sets a field that was left out.
func orElse[T any](target **T, value T) {
	if *target == nil {
		*target = &value
	}
}

func defaultRule(rule *admissionregistrationv1.RuleWithOperations) {
	orElse(&rule.Scope, admissionregistrationv1.AllScopes)
}

func defaultMatch(match *admissionregistrationv1.MatchResources) {
	if match == nil {
		return
	}
	orElse(&match.MatchPolicy, admissionregistrationv1.Equivalent)
	orElse(&match.NamespaceSelector, metav1.LabelSelector{})
	orElse(&match.ObjectSelector, metav1.LabelSelector{})
	for i := range match.ResourceRules {
		defaultRule(&match.ResourceRules[i].RuleWithOperations)
	}
	for i := range match.ExcludeResourceRules {
		defaultRule(&match.ExcludeResourceRules[i].RuleWithOperations)
	}
}

func validateRule(rule *admissionregistrationv1.RuleWithOperations, at *field.Path) field.ErrorList {
	var found problem.List
	operations := at.Child("operations")
	if len(rule.Operations) == 0 {
		found.Required(operations, "")
	}
	if len(rule.Operations) > 1 && slices.Contains(rule.Operations, admissionregistrationv1.OperationAll) {
		found.Invalid(operations, rule.Operations, "if '*' is present, must not specify other operations")
	}
	for i, operation := range rule.Operations {
		problem.OneOf(&found, operations.Index(i), operation, admissionregistrationv1.OperationAll, admissionregistrationv1.Connect,
			admissionregistrationv1.Create, admissionregistrationv1.Delete, admissionregistrationv1.Update)
	}
	validateStars(&found, at.Child("apiGroups"), rule.APIGroups, "API groups")
	validateStars(&found, at.Child("apiVersions"), rule.APIVersions, "API versions")
	for i, version := range rule.APIVersions {
		found.NonEmpty(at.Child("apiVersions").Index(i), version)
	}
	found.Add(validateResources(rule.Resources, at.Child("resources"))...)
	if rule.Scope != nil {
		problem.OneOf(&found, at.Child("scope"), *rule.Scope, admissionregistrationv1.AllScopes,
			admissionregistrationv1.ClusterScope, admissionregistrationv1.NamespacedScope)
	}
	return found.Errors
}

// validateStars checks a list that is needed, and in which "*" must stand alone.
func validateStars(found *problem.List, at *field.Path, items []string, what string) {
	if len(items) == 0 {
		found.Required(at, "")
	} else if len(items) > 1 && slices.Contains(items, "*") {
		found.Invalid(at, items, "if '*' is present, must not specify other "+what)
	}
}

// validateResources checks a list of "pods", "pods/status", "*", "pods/*", "*/scale"
// and "*/*", in which nothing may be covered by an earlier one.
func validateResources(resources []string, at *field.Path) field.ErrorList {
	var found problem.List
	if len(resources) == 0 {
		found.Required(at, "")
	}
	// last is about the last entry without a subresource, as it is upstream.
	last := ""
	for i, text := range resources {
		if text == "" {
			found.Required(at.Index(i), "")
			continue
		}
		resource, sub, nested := strings.Cut(text, "/")
		if !nested {
			last = resource
			continue
		}
		for _, wider := range []string{resource + "/*", "*/" + sub} {
			if slices.Contains(resources[:i], wider) {
				found.Invalid(at.Index(i), text, fmt.Sprintf("if '%s' is present, must not specify %s", wider, text))
			}
		}
	}
	if len(resources) > 1 && slices.Contains(resources, "*/*") {
		found.Invalid(at, resources, "if '*/*' is present, must not specify other resources")
	}
	if slices.Contains(resources, "*") && last != "" && last != "*" {
		found.Invalid(at, resources, "if '*' is present, must not specify other resources without subresources")
	}
	return found.Errors
}

func validateMatch(match *admissionregistrationv1.MatchResources, at *field.Path) field.ErrorList {
	if match == nil {
		return nil
	}
	var found problem.List
	if match.MatchPolicy == nil {
		found.Required(at.Child("matchPolicy"), "")
	} else {
		problem.OneOf(&found, at.Child("matchPolicy"), *match.MatchPolicy, admissionregistrationv1.Equivalent, admissionregistrationv1.Exact)
	}
	for _, s := range []struct {
		name     string
		selector *metav1.LabelSelector
	}{{"namespaceSelector", match.NamespaceSelector}, {"objectSelector", match.ObjectSelector}} {
		if s.selector == nil {
			found.Required(at.Child(s.name), "")
		}
		found.Add(metav1validation.ValidateLabelSelector(s.selector, metav1validation.LabelSelectorValidationOptions{}, at.Child(s.name))...)
	}
	for i := range match.ResourceRules {
		found.Add(validateNamedRule(&match.ResourceRules[i], at.Child("resourceRules").Index(i))...)
	}
	for i := range match.ExcludeResourceRules {
		found.Add(validateNamedRule(&match.ExcludeResourceRules[i], at.Child("excludeResourceRules").Index(i))...)
	}
	return found.Errors
}

func validateNamedRule(rule *admissionregistrationv1.NamedRuleWithOperations, at *field.Path) field.ErrorList {
	var found problem.List
	for i, name := range rule.ResourceNames {
		at := at.Child("resourceNames").Index(i)
		found.Messages(at, name, content.IsPathSegmentName(name))
		if slices.Contains(rule.ResourceNames[:i], name) {
			found.Duplicate(at, name)
		}
	}
	found.Add(validateRule(&rule.RuleWithOperations, at)...)
	return found.Errors
}

// validateMutableOperations refuses operations that leave nothing to change.
func validateMutableOperations(match *admissionregistrationv1.MatchResources, at *field.Path) field.ErrorList {
	if match == nil {
		return nil
	}
	var found problem.List
	for _, rule := range match.ResourceRules {
		for _, operation := range rule.Operations {
			problem.OneOf(&found, at.Child("resourceRules", "operations"), operation, admissionregistrationv1.OperationAll,
				admissionregistrationv1.Connect, admissionregistrationv1.Create, admissionregistrationv1.Update)
		}
	}
	return found.Errors
}

func validateFailurePolicy(policy *admissionregistrationv1.FailurePolicyType, at *field.Path) field.ErrorList {
	var found problem.List
	if policy != nil {
		problem.OneOf(&found, at, *policy, admissionregistrationv1.Fail, admissionregistrationv1.Ignore)
	}
	return found.Errors
}

// staticSuffix ends the names of what is configured by files beside the API (KEP-5793).
const staticSuffix = ".static.k8s.io"

const staticReason = "names ending with \"" + staticSuffix + "\" are reserved for static manifest-based configurations and cannot be managed via the API"

func validateNotStatic(name string) field.ErrorList {
	if !strings.HasSuffix(name, staticSuffix) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), name, staticReason)}
}

// staticWarnings tells of a stored object with such a name.
func staticWarnings(name string, stored bool) []string {
	if !stored || !strings.HasSuffix(name, staticSuffix) {
		return nil
	}
	return []string{"metadata.name: " + staticReason}
}
