package admissionregistration

import (
	"context"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// MutatingWebhookConfigurations name webhooks that may change requests.
func MutatingWebhookConfigurations() *resource.Definition[*admissionregistrationv1.MutatingWebhookConfiguration] {
	type object = *admissionregistrationv1.MutatingWebhookConfiguration
	return &resource.Definition[object]{
		Identity: resource.Identity{
			GroupVersion: admissionregistrationv1.SchemeGroupVersion,
			Kind:         "MutatingWebhookConfiguration", Name: "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration",
			Categories: []string{"api-extensions"}, ClusterScoped: true,
		},
		New:     func() object { return &admissionregistrationv1.MutatingWebhookConfiguration{} },
		NewList: func() runtime.Object { return &admissionregistrationv1.MutatingWebhookConfigurationList{} },
		Default: defaultMutatingWebhooks,
		Validate: func(_ context.Context, c object) field.ErrorList {
			return append(newHookRules().validate(mutatingHooks(c)), validateNotStatic(c.Name)...)
		},
		ValidateUpdate: func(_ context.Context, c, old object) field.ErrorList {
			now := mutatingHooks(c)
			return hookRulesFor(now, mutatingHooks(old)).validate(now)
		},
		Warnings:               func(_ context.Context, c, old object) []string { return staticWarnings(c.Name, old != nil) },
		RequireVersionOnUpdate: true,
		Spec:                   func(c object) any { return &c.Webhooks },
		TracksGeneration:       true,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.Integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
			table.Age(),
		},
		Cells: func(c object) []any {
			return []any{c.Name, int64(len(c.Webhooks)), table.Since(c.CreationTimestamp)}
		},
	}
}

func defaultMutatingWebhooks(c *admissionregistrationv1.MutatingWebhookConfiguration) {
	for i, h := range mutatingHooks(c) {
		h.complete()
		w := &c.Webhooks[i]
		w.FailurePolicy, w.MatchPolicy, w.TimeoutSeconds = h.FailurePolicy, h.MatchPolicy, h.TimeoutSeconds
		w.NamespaceSelector, w.ObjectSelector = h.NamespaceSelector, h.ObjectSelector
		orElse(&w.ReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
	}
}
