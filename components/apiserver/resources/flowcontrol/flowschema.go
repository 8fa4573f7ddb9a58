// Package flowcontrol has the resources of the group flowcontrol.apiserver.k8s.io/v1:
// which requests share the API server's capacity, and how.
//
// See https://kubernetes.io/docs/concepts/cluster-administration/flow-control/.
package flowcontrol

import (
	"context"
	"fmt"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

const (
	defaultPrecedence int32 = 1000
	// exemptPrecedence is kept for the schema of requests that are never held up.
	exemptPrecedence int32 = 1
)

// FlowSchemas put requests into flows.
func FlowSchemas() *resource.Definition[*flowcontrolv1.FlowSchema] {
	docs := flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()
	return &resource.Definition[*flowcontrolv1.FlowSchema]{
		Identity: resource.Identity{
			GroupVersion: flowcontrolv1.SchemeGroupVersion,
			Kind:         "FlowSchema", Name: "flowschemas", Singular: "flowschema",
			ClusterScoped: true,
		},
		New:     func() *flowcontrolv1.FlowSchema { return &flowcontrolv1.FlowSchema{} },
		NewList: func() runtime.Object { return &flowcontrolv1.FlowSchemaList{} },
		Default: func(s *flowcontrolv1.FlowSchema) {
			if s.Spec.MatchingPrecedence == 0 {
				s.Spec.MatchingPrecedence = defaultPrecedence
			}
		},
		Validate: func(_ context.Context, s *flowcontrolv1.FlowSchema) field.ErrorList { return validateSchema(s) },
		ValidateUpdate: func(_ context.Context, s, _ *flowcontrolv1.FlowSchema) field.ErrorList {
			return validateSchema(s)
		},
		Spec:             func(s *flowcontrolv1.FlowSchema) any { return &s.Spec },
		TracksGeneration: true,
		Status:           func(s *flowcontrolv1.FlowSchema) any { return &s.Status },
		StatusResets:     []resource.MetadataField{resource.AllMetadata},
		ValidateStatusUpdate: func(_ context.Context, s, _ *flowcontrolv1.FlowSchema) field.ErrorList {
			var types []string
			for _, c := range s.Status.Conditions {
				types = append(types, string(c.Type))
			}
			return validateConditionTypes(types)
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("PriorityLevel", flowcontrolv1.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"]),
			table.String("MatchingPrecedence", docs["matchingPrecedence"]),
			table.String("DistinguisherMethod", docs["distinguisherMethod"]),
			table.Age(),
			table.String("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
		},
		Cells: func(s *flowcontrolv1.FlowSchema) []any {
			method, missing := table.None, "?"
			if s.Spec.DistinguisherMethod != nil {
				method = string(s.Spec.DistinguisherMethod.Type)
			}
			for _, c := range s.Status.Conditions {
				if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
					missing = string(c.Status)
					break
				}
			}
			return []any{s.Name, s.Spec.PriorityLevelConfiguration.Name, int64(s.Spec.MatchingPrecedence), method,
				table.Since(s.CreationTimestamp), missing}
		},
	}
}

// validateConditionTypes checks that each condition has a type, and no two the same.
func validateConditionTypes(types []string) field.ErrorList {
	var found problem.List
	for i, t := range types {
		at := field.NewPath("status", "conditions").Index(i).Child("type")
		if slices.Contains(types[:i], t) {
			found.Duplicate(at, t)
		}
		found.NonEmpty(at, t)
	}
	return found.Errors
}

func validateSchema(s *flowcontrolv1.FlowSchema) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	precedence := at.Child("matchingPrecedence")
	switch n := s.Spec.MatchingPrecedence; {
	case n <= 0:
		found.Invalid(precedence, n, "must be a positive value")
	case n > flowcontrolv1.FlowSchemaMaxMatchingPrecedence:
		found.Invalid(precedence, n, fmt.Sprintf("must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence))
	case n == exemptPrecedence && s.Name != flowcontrolv1.FlowSchemaNameExempt:
		found.Invalid(precedence, n, "only the schema named 'exempt' may have matchingPrecedence 1")
	}
	if method := s.Spec.DistinguisherMethod; method != nil {
		problem.OneOf(&found, at.Child("distinguisherMethod", "type"), method.Type,
			flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType)
	}
	level := s.Spec.PriorityLevelConfiguration.Name
	if level == "" {
		found.Required(at.Child("priorityLevelConfiguration", "name"), "must reference a priority level")
	} else {
		found.Messages(at.Child("priorityLevelConfiguration", "name"), level, validation.IsDNS1123Subdomain(level))
	}
	for i := range s.Spec.Rules {
		found.Add(validateRule(&s.Spec.Rules[i], at.Child("rules").Index(i))...)
	}
	for _, fixed := range bootstrap.MandatoryFlowSchemas {
		if fixed.Name == s.Name && !apiequality.Semantic.DeepEqual(fixed.Spec, s.Spec) {
			found.Invalid(at, s.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", s.Name))
		}
	}
	return found.Errors
}

func validateRule(rule *flowcontrolv1.PolicyRulesWithSubjects, at *field.Path) field.ErrorList {
	var found problem.List
	if len(rule.Subjects) == 0 {
		found.Required(at.Child("subjects"), "subjects must contain at least one value")
	}
	for i := range rule.Subjects {
		found.Add(validateSubject(&rule.Subjects[i], at.Child("subjects").Index(i))...)
	}
	if len(rule.ResourceRules)+len(rule.NonResourceRules) == 0 {
		found.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")
	}
	for i := range rule.ResourceRules {
		r, at := &rule.ResourceRules[i], at.Child("resourceRules").Index(i)
		found.Add(validateVerbs(r.Verbs, at.Child("verbs"))...)
		found.Add(validateStars(r.APIGroups, at.Child("apiGroups"), "resource rules must supply at least one api group", "api groups")...)
		found.Add(validateStars(r.Resources, at.Child("resources"), "resource rules must supply at least one resource", "resources")...)
		found.Add(validateNamespaces(r, at.Child("namespaces"))...)
	}
	for i := range rule.NonResourceRules {
		r, at := &rule.NonResourceRules[i], at.Child("nonResourceRules").Index(i)
		found.Add(validateVerbs(r.Verbs, at.Child("verbs"))...)
		at = at.Child("nonResourceURLs")
		found.Add(validateStars(r.NonResourceURLs, at, "nonResourceURLs must contain at least one value", "non-resource URLs")...)
		for j, url := range r.NonResourceURLs {
			if detail := urlProblem(url); detail != "" && !slices.Contains(r.NonResourceURLs, flowcontrolv1.NonResourceAll) {
				found.Invalid(at.Index(j), url, detail)
			}
		}
	}
	return found.Errors
}

// validateStars checks a list that is needed, and in which "*" must stand alone.
func validateStars(items []string, at *field.Path, needed, what string) field.ErrorList {
	var found problem.List
	if len(items) == 0 {
		found.Required(at, needed)
	} else if len(items) > 1 && slices.Contains(items, "*") {
		found.Invalid(at, items, "if '*' is present, must not specify other "+what)
	}
	return found.Errors
}

func validateVerbs(verbs []string, at *field.Path) field.ErrorList {
	found := problem.List{Errors: validateStars(verbs, at, "verbs must contain at least one value", "verbs")}
	known := []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}
	unknown := slices.ContainsFunc(verbs, func(v string) bool { return !slices.Contains(known, v) })
	if unknown && !slices.Contains(verbs, flowcontrolv1.VerbAll) {
		found.Add(field.NotSupported(at, verbs, known))
	}
	return found.Errors
}

func validateNamespaces(rule *flowcontrolv1.ResourcePolicyRule, at *field.Path) field.ErrorList {
	var found problem.List
	names := rule.Namespaces
	if len(names) == 0 {
		if !rule.ClusterScope {
			found.Required(at, "resource rules that are not cluster scoped must supply at least one namespace")
		}
		return found.Errors
	}
	if slices.Contains(names, flowcontrolv1.NamespaceEvery) {
		return validateStars(names, at, "", "namespaces")
	}
	for i, name := range names {
		for _, detail := range apivalidation.ValidateNamespaceName(name, false) {
			found.Invalid(at.Index(i), name, "each member of this list must be '*' or a DNS-1123 label; "+detail)
		}
	}
	return found.Errors
}

func validateSubject(s *flowcontrolv1.Subject, at *field.Path) field.ErrorList {
	var found problem.List
	members := []struct {
		kind flowcontrolv1.SubjectKind
		name string
		set  bool
	}{
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil},
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil},
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil},
	}
	known := false
	for _, m := range members {
		known = known || m.kind == s.Kind
	}
	if !known {
		problem.OneOf(&found, at.Child("kind"), s.Kind, flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser)
		return found.Errors
	}
	for _, m := range members {
		at := at.Child(m.name)
		switch {
		case m.kind != s.Kind && m.set:
			found.Forbidden(at, fmt.Sprintf("%s is forbidden when subject kind is not '%s'", m.name, m.kind))
		case m.kind == s.Kind && !m.set:
			found.Required(at, fmt.Sprintf("%s is required when subject kind is '%s'", m.name, m.kind))
		case m.kind == s.Kind:
			found.Add(validateSubjectName(s, at)...)
		}
	}
	return found.Errors
}

func validateSubjectName(s *flowcontrolv1.Subject, at *field.Path) field.ErrorList {
	var found problem.List
	switch s.Kind {
	case flowcontrolv1.SubjectKindUser:
		found.NonEmpty(at.Child("name"), s.User.Name)
	case flowcontrolv1.SubjectKindGroup:
		found.NonEmpty(at.Child("name"), s.Group.Name)
	case flowcontrolv1.SubjectKindServiceAccount:
		account := s.ServiceAccount
		found.NonEmpty(at.Child("name"), account.Name)
		if account.Name != "" && account.Name != flowcontrolv1.NameAll {
			found.Messages(at.Child("name"), account.Name, apivalidation.ValidateServiceAccountName(account.Name, false))
		}
		if account.Namespace == "" {
			found.Required(at.Child("namespace"), "must specify namespace for service account")
		} else {
			found.Messages(at.Child("namespace"), account.Namespace, apivalidation.ValidateNamespaceName(account.Namespace, false))
		}
	}
	return found.Errors
}

func urlProblem(url string) string {
	stars := strings.Count(url, "*")
	switch {
	case url == "":
		return "must not be empty"
	case !strings.HasPrefix(url, "/"):
		return "must start with slash"
	case strings.Contains(url, " "):
		return "must not contain white-space"
	case strings.Contains(url, "//"):
		return "must not contain double slash"
	case stars > 1 || stars == 1 && !strings.HasSuffix(url, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}
