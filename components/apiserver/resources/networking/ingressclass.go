package networking

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

const longestController = 250

// IngressClasses say which controller looks after which ingresses.
func IngressClasses() *resource.Definition[*networkingv1.IngressClass] {
	return &resource.Definition[*networkingv1.IngressClass]{
		Identity: resource.Identity{
			GroupVersion: networkingv1.SchemeGroupVersion,
			Kind:         "IngressClass", Name: "ingressclasses", Singular: "ingressclass",
			ClusterScoped: true,
		},
		New:     func() *networkingv1.IngressClass { return &networkingv1.IngressClass{} },
		NewList: func() runtime.Object { return &networkingv1.IngressClassList{} },
		Default: func(c *networkingv1.IngressClass) {
			if p := c.Spec.Parameters; p != nil && p.Scope == nil {
				p.Scope = ptr.To(networkingv1.IngressClassParametersReferenceScopeCluster)
			}
		},
		Validate: func(_ context.Context, c *networkingv1.IngressClass) field.ErrorList {
			return validateIngressClass(&c.Spec)
		},
		ValidateUpdate: func(_ context.Context, c, old *networkingv1.IngressClass) field.ErrorList {
			fixed := apivalidation.ValidateImmutableField(c.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller"))
			return append(fixed, validateIngressClass(&c.Spec)...)
		},
		Spec:             func(c *networkingv1.IngressClass) any { return &c.Spec },
		TracksGeneration: true,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Controller", "Controller that is responsible for handling this class"),
			table.String("Parameters", "A reference to a resource with additional parameters"),
			table.Age(),
		},
		Cells: func(c *networkingv1.IngressClass) []any {
			name := c.Name
			if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
				name += " (default)"
			}
			return []any{name, c.Spec.Controller, parametersCell(c.Spec.Parameters), table.Since(c.CreationTimestamp)}
		},
	}
}

func parametersCell(p *networkingv1.IngressClassParametersReference) string {
	if p == nil {
		return table.None
	}
	kind := p.Kind
	if p.APIGroup != nil {
		kind += "." + *p.APIGroup
	}
	return kind + "/" + p.Name
}

func validateIngressClass(spec *networkingv1.IngressClassSpec) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	if len(spec.Controller) > longestController {
		found.Add(field.TooLong(at.Child("controller"), "", longestController))
	}
	found.Add(validation.IsDomainPrefixedPath(at.Child("controller"), spec.Controller)...)
	p := spec.Parameters
	if p == nil {
		return found.Errors
	}
	at = at.Child("parameters")
	found.Add(validateReference(p.APIGroup, p.Kind, p.Name, at)...)
	if p.Scope == nil {
		found.Required(at.Child("scope"), "")
		return found.Errors
	}
	const inCluster, inNamespace = networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace
	switch *p.Scope {
	case inCluster:
		if p.Namespace != nil {
			found.Forbidden(at.Child("namespace"), "`parameters.scope` is set to 'Cluster'")
		}
	case inNamespace:
		if p.Namespace == nil {
			found.Required(at.Child("namespace"), "`parameters.scope` is set to 'Namespace'")
		} else {
			found.Messages(at.Child("namespace"), *p.Namespace, apivalidation.ValidateNamespaceName(*p.Namespace, false))
		}
	default:
		problem.OneOf(&found, at.Child("scope"), *p.Scope, inCluster, inNamespace)
	}
	return found.Errors
}
