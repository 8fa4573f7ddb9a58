package admissionregistration

import (
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// hook is what mutating and validating webhooks have in common: all but the policy
// on being called again. The pointers lead into the webhook itself.
type hook struct {
	*admissionregistrationv1.ValidatingWebhook
	reinvocation **admissionregistrationv1.ReinvocationPolicyType
}

func mutatingHooks(c *admissionregistrationv1.MutatingWebhookConfiguration) []hook {
	hooks := make([]hook, len(c.Webhooks))
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		hooks[i] = hook{
			ValidatingWebhook: &admissionregistrationv1.ValidatingWebhook{
				Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
				NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
				TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
			},
			reinvocation: &w.ReinvocationPolicy,
		}
	}
	return hooks
}

func validatingHooks(c *admissionregistrationv1.ValidatingWebhookConfiguration) []hook {
	hooks := make([]hook, len(c.Webhooks))
	for i := range c.Webhooks {
		hooks[i] = hook{ValidatingWebhook: &c.Webhooks[i]}
	}
	return hooks
}

// complete fills in a webhook's defaults.
func (h hook) complete() {
	orElse(&h.FailurePolicy, admissionregistrationv1.Fail)
	orElse(&h.MatchPolicy, admissionregistrationv1.Equivalent)
	orElse(&h.NamespaceSelector, metav1.LabelSelector{})
	orElse(&h.ObjectSelector, metav1.LabelSelector{})
	orElse(&h.TimeoutSeconds, 10)
	if service := h.ClientConfig.Service; service != nil {
		orElse(&service.Port, 443)
	}
	for i := range h.Rules {
		defaultRule(&h.Rules[i])
	}
}

// reviewVersions are the versions of AdmissionReview that this API server speaks.
func reviewVersions() []string { return []string{"v1", "v1beta1"} }

func sideEffectFree() []admissionregistrationv1.SideEffectClass {
	return []admissionregistrationv1.SideEffectClass{admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.SideEffectClassNoneOnDryRun}
}

// hookRules say what is forgiven in a configuration because it is stored like that.
type hookRules struct {
	expressions   *expressions
	anySideEffect bool
	anyReview     bool
	repeatedNames bool
	anyLabelValue bool
	// sameConditions is true where no webhook's conditions have changed.
	sameConditions bool
}

func newHookRules() hookRules { return hookRules{expressions: &expressions{}} }

// hookRulesFor makes the rules for an update of now that was old.
func hookRulesFor(now, old []hook) hookRules {
	r := newHookRules()
	r.expressions.stored = sets.New[string]()
	r.sameConditions = len(now) == len(old)
	names := sets.New[string]()
	for i, h := range old {
		for _, c := range h.MatchConditions {
			r.expressions.stored.Insert(c.Expression)
		}
		if !slices.Contains(sideEffectFree(), ptr.Deref(h.SideEffects, "")) {
			r.anySideEffect = true
		}
		known := slices.ContainsFunc(h.AdmissionReviewVersions, func(v string) bool { return slices.Contains(reviewVersions(), v) })
		r.anyReview = r.anyReview || !known && len(h.AdmissionReviewVersions) > 0
		r.repeatedNames = r.repeatedNames || names.Has(h.Name)
		names.Insert(h.Name)
		r.anyLabelValue = r.anyLabelValue || metav1validation.LabelSelectorHasInvalidLabelValue(h.NamespaceSelector) ||
			metav1validation.LabelSelectorHasInvalidLabelValue(h.ObjectSelector)
		if r.sameConditions && !apiequality.Semantic.DeepEqual(h.MatchConditions, now[i].MatchConditions) {
			r.sameConditions = false
		}
	}
	return r
}

func (r hookRules) validate(hooks []hook) field.ErrorList {
	var found problem.List
	names := sets.New[string]()
	for i, h := range hooks {
		at := field.NewPath("webhooks").Index(i)
		found.Add(r.hook(h, at)...)
		found.Add(r.reviews(h.AdmissionReviewVersions, at.Child("admissionReviewVersions"))...)
		if !r.repeatedNames && h.Name != "" && names.Has(h.Name) {
			found.Duplicate(at.Child("name"), h.Name)
		}
		names.Insert(h.Name)
	}
	return found.Errors
}

func (r hookRules) hook(h hook, at *field.Path) field.ErrorList {
	var found problem.List
	found.Add(validation.IsFullyQualifiedName(at.Child("name"), h.Name)...)
	for i := range h.Rules {
		found.Add(validateRule(&h.Rules[i], at.Child("rules").Index(i))...)
	}
	found.Add(validateFailurePolicy(h.FailurePolicy, at.Child("failurePolicy"))...)
	if h.MatchPolicy != nil {
		problem.OneOf(&found, at.Child("matchPolicy"), *h.MatchPolicy, admissionregistrationv1.Equivalent, admissionregistrationv1.Exact)
	}
	found.Add(r.sideEffects(h.SideEffects, at.Child("sideEffects"))...)
	if t := h.TimeoutSeconds; t != nil {
		found.Within(at.Child("timeoutSeconds"), int64(*t), 1, 30, "the timeout value must be between 1 and 30 seconds")
	}
	options := metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: r.anyLabelValue}
	found.Add(metav1validation.ValidateLabelSelector(h.NamespaceSelector, options, at.Child("namespaceSelector"))...)
	found.Add(metav1validation.ValidateLabelSelector(h.ObjectSelector, options, at.Child("objectSelector"))...)
	if h.reinvocation != nil && *h.reinvocation != nil {
		problem.OneOf(&found, at.Child("reinvocationPolicy"), **h.reinvocation,
			admissionregistrationv1.IfNeededReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
	}
	found.Add(validateClient(&h.ClientConfig, at.Child("clientConfig"))...)
	if !r.sameConditions {
		found.Add(r.expressions.conditions(h.MatchConditions, at.Child("matchConditions"))...)
	}
	return found.Errors
}

func (r hookRules) sideEffects(class *admissionregistrationv1.SideEffectClass, at *field.Path) field.ErrorList {
	var found problem.List
	allowed := sideEffectFree()
	if r.anySideEffect {
		allowed = append(allowed, admissionregistrationv1.SideEffectClassSome, admissionregistrationv1.SideEffectClassUnknown)
	}
	if class != nil {
		problem.OneOf(&found, at, *class, allowed...)
		return found.Errors
	}
	var names []string
	for _, c := range allowed {
		names = append(names, string(c))
	}
	found.Required(at, "must specify one of "+strings.Join(names, ", "))
	return found.Errors
}

func validateClient(client *admissionregistrationv1.WebhookClientConfig, at *field.Path) field.ErrorList {
	switch url, service := client.URL, client.Service; {
	case (url == nil) == (service == nil):
		return field.ErrorList{field.Required(at, "exactly one of url or service is required")}
	case url != nil:
		return webhook.ValidateWebhookURL(at.Child("url"), *url, true)
	default:
		return webhook.ValidateWebhookService(at.Child("service"), service.Name, service.Namespace, service.Path, ptr.Deref(service.Port, 443))
	}
}

func (r hookRules) reviews(versions []string, at *field.Path) field.ErrorList {
	var found problem.List
	spoken := reviewVersions()
	if len(versions) == 0 {
		found.Required(at, "must specify one of "+strings.Join(spoken, ", "))
		return found.Errors
	}
	known := false
	for i, v := range versions {
		if slices.Contains(versions[:i], v) {
			found.Invalid(at.Index(i), v, "duplicate version")
			continue
		}
		found.Messages(at.Index(i), v, validation.IsDNS1035Label(v))
		known = known || slices.Contains(spoken, v)
	}
	if !known && !r.anyReview {
		found.Invalid(at, versions, "must include at least one of "+strings.Join(spoken, ", "))
	}
	return found.Errors
}
