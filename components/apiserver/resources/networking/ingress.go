package networking

import (
	"context"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// classAnnotation named the class before spec.ingressClassName did.
const classAnnotation = "kubernetes.io/ingress.class"

// Ingresses route HTTP from outside to services.
// See https://kubernetes.io/docs/concepts/services-networking/ingress/.
func Ingresses() *resource.Definition[*networkingv1.Ingress] {
	return &resource.Definition[*networkingv1.Ingress]{
		Identity: resource.Identity{
			GroupVersion: networkingv1.SchemeGroupVersion,
			Kind:         "Ingress", Name: "ingresses", Singular: "ingress",
			ShortNames: []string{"ing"},
		},
		StorageKey: "ingress",
		New:        func() *networkingv1.Ingress { return &networkingv1.Ingress{} },
		NewList:    func() runtime.Object { return &networkingv1.IngressList{} },
		Validate: func(_ context.Context, in *networkingv1.Ingress) field.ErrorList {
			found := problem.List{Errors: ingressRules{}.validate(&in.Spec)}
			class, named := in.Annotations[classAnnotation]
			if named && in.Spec.IngressClassName != nil && class != *in.Spec.IngressClassName {
				found.Invalid(field.NewPath("annotations").Child(classAnnotation), class, "must match `ingressClassName` when both are specified")
			}
			return found.Errors
		},
		ValidateUpdate: func(_ context.Context, in, old *networkingv1.Ingress) field.ErrorList {
			return rulesFor(old).validate(&in.Spec)
		},
		Warnings: func(_ context.Context, in, old *networkingv1.Ingress) []string {
			if _, named := in.Annotations[classAnnotation]; old == nil && named && in.Spec.IngressClassName == nil {
				return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", classAnnotation)}
			}
			return nil
		},
		Spec:                 func(in *networkingv1.Ingress) any { return &in.Spec },
		TracksGeneration:     true,
		Status:               func(in *networkingv1.Ingress) any { return &in.Status },
		ValidateStatusUpdate: validateIngressStatus,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Class", "The name of the IngressClass resource that should be used for additional configuration"),
			table.String("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
			table.String("Address", "Address is a list containing ingress points for the load-balancer"),
			table.String("Ports", "Ports of TLS configurations that open"),
			table.Age(),
		},
		Cells: func(in *networkingv1.Ingress) []any {
			ports := "80"
			if len(in.Spec.TLS) > 0 {
				ports = "80, 443"
			}
			return []any{in.Name, ptr.Deref(in.Spec.IngressClassName, table.None), hostsCell(in.Spec.Rules),
				addressCell(in.Status.LoadBalancer.Ingress), ports, table.Since(in.CreationTimestamp)}
		},
	}
}

// hostsCell names the first three hosts. The rest is counted in rules.
func hostsCell(rules []networkingv1.IngressRule) string {
	const most = 3
	var hosts []string
	for i, rule := range rules {
		if len(hosts) == most {
			return fmt.Sprintf("%s + %d more...", strings.Join(hosts, ","), len(rules)-most)
		}
		if rules[i].Host != "" {
			hosts = append(hosts, rule.Host)
		}
	}
	if hosts == nil {
		return "*"
	}
	return strings.Join(hosts, ",")
}

func addressCell(points []networkingv1.IngressLoadBalancerIngress) string {
	var addresses []string
	for _, p := range points {
		if address := p.IP; address != "" {
			addresses = append(addresses, address)
		} else if p.Hostname != "" {
			addresses = append(addresses, p.Hostname)
		}
	}
	slices.Sort(addresses)
	return strings.Join(slices.Compact(addresses), ",")
}

// ingressRules are the rules for an Ingress, with what is forgiven because it was
// stored before the rule was made.
type ingressRules struct {
	anySecretName   bool
	anyWildcardRule bool
}

func rulesFor(old *networkingv1.Ingress) (r ingressRules) {
	for _, tls := range old.Spec.TLS {
		r.anySecretName = r.anySecretName || len(secretNameProblems(tls.SecretName)) > 0
	}
	for i := range old.Spec.Rules {
		rule := &old.Spec.Rules[i]
		if strings.Contains(rule.Host, "*") && len(validateHTTP(rule.HTTP, nil)) > 0 {
			r.anyWildcardRule = true
		}
	}
	return r
}

func (r ingressRules) validate(spec *networkingv1.IngressSpec) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	if spec.DefaultBackend != nil {
		found.Add(validateBackend(spec.DefaultBackend, at.Child("defaultBackend"))...)
	} else if len(spec.Rules) == 0 {
		found.Invalid(at, spec.Rules, "either `defaultBackend` or `rules` must be specified")
	}
	for i := range spec.Rules {
		rule, at := &spec.Rules[i], at.Child("rules").Index(i)
		if rule.Host != "" && netutils.ParseIPSloppy(rule.Host) != nil {
			found.Invalid(at.Child("host"), rule.Host, "must be a DNS name, not an IP address")
		}
		if rule.Host != "" {
			found.Messages(at.Child("host"), rule.Host, hostProblems(rule.Host))
		}
		if !r.anyWildcardRule || !strings.Contains(rule.Host, "*") {
			found.Add(validateHTTP(rule.HTTP, at.Child("http"))...)
		}
	}
	for i, tls := range spec.TLS {
		at := at.Child("tls").Index(i)
		for j, host := range tls.Hosts {
			found.Messages(at.Child("hosts").Index(j), host, hostProblems(host))
		}
		if !r.anySecretName {
			found.Messages(at.Child("secretName"), tls.SecretName, secretNameProblems(tls.SecretName))
		}
	}
	if spec.IngressClassName != nil {
		found.Messages(at.Child("ingressClassName"), *spec.IngressClassName, validation.IsDNS1123Subdomain(*spec.IngressClassName))
	}
	return found.Errors
}

func hostProblems(host string) []string {
	if strings.Contains(host, "*") {
		return validation.IsWildcardDNS1123Subdomain(host)
	}
	return validation.IsDNS1123Subdomain(host)
}

func secretNameProblems(name string) []string {
	if name == "" {
		return nil
	}
	return validation.IsDNS1123Subdomain(name)
}

func validateHTTP(http *networkingv1.HTTPIngressRuleValue, at *field.Path) field.ErrorList {
	if http == nil {
		return nil
	}
	var found problem.List
	if len(http.Paths) == 0 {
		found.Required(at.Child("paths"), "")
	}
	for i := range http.Paths {
		p, at := &http.Paths[i], at.Child("paths").Index(i)
		if p.PathType == nil {
			found.Required(at.Child("pathType"), "pathType must be specified")
			continue
		}
		found.Add(validatePath(p.Path, *p.PathType, at)...)
		found.Add(validateBackend(&p.Backend, at.Child("backend"))...)
	}
	return found.Errors
}

func validatePath(text string, kind networkingv1.PathType, at *field.Path) field.ErrorList {
	var found problem.List
	problem.OneOf(&found, at.Child("pathType"), kind,
		networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)
	own := kind == networkingv1.PathTypeImplementationSpecific
	if len(found.Errors) > 0 || own && text == "" {
		return found.Errors
	}
	if !strings.HasPrefix(text, "/") {
		found.Invalid(at.Child("path"), text, "must be an absolute path")
	}
	if own {
		return found.Errors
	}
	for _, part := range []string{"//", "/./", "/../", "%2f", "%2F"} {
		if strings.Contains(text, part) {
			found.Invalid(at.Child("path"), text, fmt.Sprintf("must not contain '%s'", part))
		}
	}
	for _, end := range []string{"/..", "/."} {
		if strings.HasSuffix(text, end) {
			found.Invalid(at.Child("path"), text, fmt.Sprintf("cannot end with '%s'", end))
		}
	}
	return found.Errors
}

func validateBackend(b *networkingv1.IngressBackend, at *field.Path) field.ErrorList {
	var found problem.List
	switch {
	case b.Resource != nil && b.Service != nil:
		found.Invalid(at, "", "cannot set both resource and service backends")
	case b.Resource != nil:
		found.Add(validateReference(b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name, at.Child("resource"))...)
	case b.Service != nil:
		name := b.Service.Name
		found.NonEmpty(at.Child("service", "name"), name)
		if name != "" {
			found.Messages(at.Child("service", "name"), name, serviceNameProblems(name))
		}
		found.Add(validateBackendPort(b.Service.Port, at)...)
	default:
		found.Invalid(at, "", "resource or service backend is required")
	}
	return found.Errors
}

func serviceNameProblems(name string) []string { return apivalidation.NameIsDNSLabel(name, false) }

func validateBackendPort(port networkingv1.ServiceBackendPort, at *field.Path) field.ErrorList {
	var found problem.List
	switch named, numbered := port.Name != "", port.Number != 0; {
	case named && numbered:
		found.Invalid(at, "", "cannot set both port name & port number")
	case named:
		found.Messages(at.Child("service", "port", "name"), port.Name, validation.IsValidPortName(port.Name))
	case numbered:
		found.Messages(at.Child("service", "port", "number"), port.Number, validation.IsValidPortNum(int(port.Number)))
	default:
		found.Required(at, "port name or number is required")
	}
	return found.Errors
}

// validateReference checks a reference to an object of any kind.
func validateReference(group *string, kind, name string, at *field.Path) field.ErrorList {
	var found problem.List
	if group != nil {
		found.Messages(at.Child("apiGroup"), *group, validation.IsDNS1123Subdomain(*group))
	}
	requireSegment(&found, at.Child("kind"), kind)
	requireSegment(&found, at.Child("name"), name)
	return found.Errors
}

// requireSegment checks a name that has to stand in a URL.
func requireSegment(found *problem.List, at *field.Path, value string) {
	if value == "" {
		found.Required(at, "")
		return
	}
	found.Messages(at, value, content.IsPathSegmentName(value))
}

func validateIngressStatus(_ context.Context, in, old *networkingv1.Ingress) field.ErrorList {
	var found problem.List
	var known []string
	for _, point := range old.Status.LoadBalancer.Ingress {
		if point.IP != "" {
			known = append(known, point.IP)
		}
	}
	for i, point := range in.Status.LoadBalancer.Ingress {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(i)
		if point.IP != "" {
			found.Add(validation.IsValidIPForLegacyField(at.Child("ip"), point.IP, true, known)...)
		}
		if host := point.Hostname; host != "" {
			found.Messages(at.Child("hostname"), host, validation.IsDNS1123Subdomain(host))
			if netutils.ParseIPSloppy(host) != nil {
				found.Invalid(at.Child("hostname"), host, "must be a DNS name, not an IP address")
			}
		}
	}
	return found.Errors
}
