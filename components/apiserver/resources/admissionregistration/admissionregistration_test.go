package admissionregistration

import (
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// expect compares errors by how they start: the CEL library words the rest.
func expect(t *testing.T, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestMutatingWebhooks(t *testing.T) {
	config := &admissionregistrationv1.MutatingWebhookConfiguration{Webhooks: []admissionregistrationv1.MutatingWebhook{{
		Name: "hook.example.com", AdmissionReviewVersions: []string{"v1"},
		SideEffects:  ptr.To(admissionregistrationv1.SideEffectClassNone),
		ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "n", Name: "s"}},
	}}}
	definition := MutatingWebhookConfigurations()
	definition.Default(config)
	expect(t, definition.Validate(t.Context(), config))
	w := &config.Webhooks[0]
	if *w.FailurePolicy != admissionregistrationv1.Fail || *w.MatchPolicy != admissionregistrationv1.Equivalent || *w.TimeoutSeconds != 10 ||
		w.NamespaceSelector == nil || w.ObjectSelector == nil || *w.ReinvocationPolicy != admissionregistrationv1.NeverReinvocationPolicy ||
		*w.ClientConfig.Service.Port != 443 {
		t.Errorf("the defaults are %+v", w)
	}

	bad := config.DeepCopy()
	w = &bad.Webhooks[0]
	w.Name, w.AdmissionReviewVersions, w.SideEffects = "hook", []string{"v2"}, ptr.To(admissionregistrationv1.SideEffectClassSome)
	w.TimeoutSeconds, w.ClientConfig = ptr.To[int32](31), admissionregistrationv1.WebhookClientConfig{}
	w.Rules = []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{"CREATE", "*"},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"*", "pods"}},
	}}
	w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "mine", Expression: "object.nope("}}
	want := []string{
		`webhooks[0].name: Invalid value: "hook": should be a domain with at least three segments separated by dots`,
		`webhooks[0].rules[0].operations: Invalid value: ["CREATE","*"]: if '*' is present, must not specify other operations`,
		`webhooks[0].rules[0].resources: Invalid value: ["*","pods"]: if '*' is present, must not specify other resources without subresources`,
		`webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`,
		`webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds`,
		`webhooks[0].clientConfig: Required value: exactly one of url or service is required`,
		`webhooks[0].matchConditions[0].expression: Invalid value: "object.nope(": compilation failed: `,
		`webhooks[0].admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1`,
	}
	expect(t, definition.Validate(t.Context(), bad), want...)
	// What is stored may stay as it is.
	stored := bad.DeepCopy()
	w.FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
	expect(t, definition.ValidateUpdate(t.Context(), bad, stored), want[0], want[1], want[2], want[4], want[5])
}

func TestValidatingPolicies(t *testing.T) {
	policy := func(change func(*admissionregistrationv1.ValidatingAdmissionPolicySpec)) field.ErrorList {
		p := &admissionregistrationv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "policy.example.com"},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
					RuleWithOperations: admissionregistrationv1.RuleWithOperations{
						Operations: []admissionregistrationv1.OperationType{"CREATE"},
						Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
					},
				}}},
				Variables:   []admissionregistrationv1.Variable{{Name: "few", Expression: "object.spec.replicas < 5"}},
				Validations: []admissionregistrationv1.Validation{{Expression: "variables.few"}},
			},
		}
		change(&p.Spec)
		ValidatingAdmissionPolicies().Default(p)
		return validateValidatingPolicy(p, nil)
	}
	const validation = "spec.validations[0]."
	for name, test := range map[string]struct {
		change func(*admissionregistrationv1.ValidatingAdmissionPolicySpec)
		want   []string
	}{
		"good": {func(*admissionregistrationv1.ValidatingAdmissionPolicySpec) {}, nil},
		"an unknown variable": {func(s *admissionregistrationv1.ValidatingAdmissionPolicySpec) {
			s.Validations[0].Expression = "variables.many"
		}, []string{validation + `expression: Invalid value: "variables.many": compilation failed: `}},
		"parameters without a kind": {func(s *admissionregistrationv1.ValidatingAdmissionPolicySpec) {
			s.Validations[0].Expression = "params.most > 3"
		}, []string{validation + `expression: Invalid value: "params.most > 3": compilation failed: `}},
		"parameters": {func(s *admissionregistrationv1.ValidatingAdmissionPolicySpec) {
			s.ParamKind = &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
			s.Validations[0].Expression = "params.most > 3"
		}, nil},
		"no boolean": {func(s *admissionregistrationv1.ValidatingAdmissionPolicySpec) {
			s.Validations[0].Expression = "1 + 1"
		}, []string{validation + `expression: Invalid value: "1 + 1": must evaluate to bool`}},
		"a message of two lines": {func(s *admissionregistrationv1.ValidatingAdmissionPolicySpec) {
			s.Validations[0].Message, s.Validations[0].MessageExpression = "a\nb", "1"
		}, []string{
			validation + `messageExpression: Invalid value: "1": must evaluate to string`,
			validation + `message: Invalid value: "a\nb": must not contain line breaks`,
		}},
		"nothing to check": {func(s *admissionregistrationv1.ValidatingAdmissionPolicySpec) {
			s.Validations, s.MatchConstraints = nil, nil
		}, []string{
			`spec.matchConstraints: Required value`,
			`spec.validations: Required value: validations or auditAnnotations must contain at least one item`,
			`spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item`,
		}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, policy(test.change), test.want...) })
	}
}
