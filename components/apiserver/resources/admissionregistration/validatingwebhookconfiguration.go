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

// ValidatingWebhookConfigurations name webhooks that may refuse requests.
func ValidatingWebhookConfigurations() *resource.Definition[*admissionregistrationv1.ValidatingWebhookConfiguration] {
	type object = *admissionregistrationv1.ValidatingWebhookConfiguration
	return &resource.Definition[object]{
		Identity: resource.Identity{
			GroupVersion: admissionregistrationv1.SchemeGroupVersion,
			Kind:         "ValidatingWebhookConfiguration", Name: "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration",
			Categories: []string{"api-extensions"}, ClusterScoped: true,
		},
		New:     func() object { return &admissionregistrationv1.ValidatingWebhookConfiguration{} },
		NewList: func() runtime.Object { return &admissionregistrationv1.ValidatingWebhookConfigurationList{} },
		Default: func(c object) {
			for _, h := range validatingHooks(c) {
				h.complete()
			}
		},
		Validate: func(_ context.Context, c object) field.ErrorList {
			return append(newHookRules().validate(validatingHooks(c)), validateNotStatic(c.Name)...)
		},
		ValidateUpdate: func(_ context.Context, c, old object) field.ErrorList {
			now := validatingHooks(c)
			return hookRulesFor(now, validatingHooks(old)).validate(now)
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
