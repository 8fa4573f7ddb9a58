package core

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

const enforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// ServiceAccounts are who pods act as. token is the endpoint that issues tokens.
// https://kubernetes.io/docs/concepts/security/service-accounts/
func ServiceAccounts(token ...resource.Subresource) *resource.Definition[*corev1.ServiceAccount] {
	namesOnly := func(a *corev1.ServiceAccount) {
		for i := range a.Secrets {
			a.Secrets[i] = corev1.ObjectReference{Name: a.Secrets[i].Name}
		}
	}
	return &resource.Definition[*corev1.ServiceAccount]{
		Identity:         identity("ServiceAccount", "serviceaccounts", "serviceaccount", "sa"),
		New:              func() *corev1.ServiceAccount { return new(corev1.ServiceAccount) },
		NewList:          func() runtime.Object { return new(corev1.ServiceAccountList) },
		PrepareForCreate: func(_ context.Context, a *corev1.ServiceAccount) { namesOnly(a) },
		PrepareForUpdate: func(_ context.Context, a, _ *corev1.ServiceAccount) { namesOnly(a) },
		ValidateUpdate:   func(context.Context, *corev1.ServiceAccount, *corev1.ServiceAccount) field.ErrorList { return nil },
		Warnings: func(_ context.Context, a, old *corev1.ServiceAccount) []string {
			_, has := a.Annotations[enforceMountableSecrets]
			if old != nil {
				if _, had := old.Annotations[enforceMountableSecrets]; had {
					return nil
				}
			}
			if !has {
				return nil
			}
			return []string{fmt.Sprintf("metadata.annotations[%s]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets", enforceMountableSecrets)}
		},
		ReturnDeletedObject: true,
		Columns:             []metav1.TableColumnDefinition{table.Name(), table.Age()},
		Cells: func(a *corev1.ServiceAccount) []any {
			return []any{a.Name, table.Since(a.CreationTimestamp)}
		},
		Subresources: token,
	}
}
