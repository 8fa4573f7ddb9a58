package api

import (
	"context"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/plumbline/plumbline/e2e/behaviour"
	"github.com/plumbline/plumbline/e2e/suite"
	"github.com/plumbline/plumbline/framework/expect"
)

func validatingPolicySpecs(s *suite.Suite) {
	behaviour.It(behaviour.Behaviour{
		ID:      "api.validating-policy",
		Promise: "A ValidatingAdmissionPolicy that is bound refuses what its expression says, with its message, and only where it is bound.",
		Source:  admission + "validating-admission-policy/", Judges: judged(),
	}, func(ctx context.Context) {
		namespace, elsewhere := s.Namespace(ctx), s.Namespace(ctx)
		policy := &admissionv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: namespace},
			Spec: admissionv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
					RuleWithOperations: admissionv1.RuleWithOperations{
						Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
						Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
					},
				}}},
				Validations: []admissionv1.Validation{{
					Expression: "!has(object.data) || object.data.all(key, size(object.data[key]) <= 5)", Message: "values have at most 5 characters",
				}},
			},
		}
		binding := &admissionv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: namespace},
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: policy.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
				MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{
					MatchLabels: map[string]string{"kubernetes.io/metadata.name": namespace},
				}},
			},
		}
		s.Create(ctx, policy, binding)
		ginkgo.DeferCleanup(func(ctx context.Context) {
			s.Delete(ctx, binding, metav1.DeletePropagationBackground)
			s.Delete(ctx, policy, metav1.DeletePropagationBackground)
		})
		long := map[string]string{"word": "too long"}
		// Admission compiles policies in its own time; nothing in the API says when it has.
		gomega.Eventually(ctx, func() error { return s.Client.Create(ctx, configMap(namespace, "long", long), client.DryRunAll) }).
			WithTimeout(expect.Scaled(expect.Medium)).Should(gomega.MatchError(gomega.And(
			gomega.ContainSubstring("ValidatingAdmissionPolicy '"+policy.Name+"' with binding '"+binding.Name+"' denied request"),
			gomega.ContainSubstring("values have at most 5 characters"))))
		s.Create(ctx, configMap(namespace, "short", map[string]string{"word": "short"}), configMap(elsewhere, "long", long))
	})
}
