package core

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// Services give a set of pods one address. proxy reaches the pods behind one.
// https://kubernetes.io/docs/concepts/services-networking/service/
func Services(proxy ...resource.Subresource) *resource.Definition[*corev1.Service] {
	id := identity("Service", "services", "service", "svc")
	id.Categories = []string{"all"}
	doc := corev1.ServiceSpec{}.SwaggerDoc()
	return &resource.Definition[*corev1.Service]{
		Identity:      id,
		StorageKey:    "services/specs",
		New:           func() *corev1.Service { return new(corev1.Service) },
		NewList:       func() runtime.Object { return new(corev1.ServiceList) },
		NameValidator: apivalidation.NameIsDNSLabel,
		Default:       defaultService,

		PrepareForUpdate:     func(_ context.Context, s, old *corev1.Service) { dropOfOtherType(s, old) },
		Validate:             func(_ context.Context, s *corev1.Service) field.ErrorList { return validateService(s, nil) },
		ValidateUpdate:       func(_ context.Context, s, old *corev1.Service) field.ErrorList { return validateServiceUpdate(s, old) },
		Warnings:             serviceWarnings,
		AllowCreateOnUpdate:  true,
		ReturnDeletedObject:  true,
		Spec:                 func(s *corev1.Service) any { return &s.Spec },
		Status:               func(s *corev1.Service) any { return &s.Status },
		ValidateStatusUpdate: validateLoadBalancer,

		Fields: func(s *corev1.Service) fields.Set {
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		},
		Columns: append([]metav1.TableColumnDefinition{
			table.Name(), table.String("Type", doc["type"]), table.String("Cluster-IP", doc["clusterIP"]),
			table.String("External-IP", doc["externalIPs"]), table.String("Port(s)", doc["ports"]), table.Age(),
		}, table.Wide(table.String("Selector", doc["selector"]))...),
		Cells: func(s *corev1.Service) []any {
			ip := table.None
			if len(s.Spec.ClusterIPs) > 0 {
				ip = s.Spec.ClusterIPs[0]
			}
			return []any{
				s.Name, string(s.Spec.Type), ip, externalCell(s), orNone(portsCell(s.Spec.Ports)),
				table.Since(s.CreationTimestamp), labels.FormatLabels(s.Spec.Selector),
			}
		},
		Subresources: proxy,
		Attach:       attachAllocation,
	}
}

func isHeadless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

// hasClusterIP and the next ones say what a Service of some type has.
func hasClusterIP(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

func isBalanced(s *corev1.Service) bool { return s.Spec.Type == corev1.ServiceTypeLoadBalancer }

func hasNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || isBalanced(s)
}

// wantsNodePorts leaves out load balancers that do without.
func wantsNodePorts(s *corev1.Service) bool {
	return hasNodePorts(s) && (!isBalanced(s) || ptr.Deref(s.Spec.AllocateLoadBalancerNodePorts, true))
}

func hasHealthCheck(s *corev1.Service) bool {
	return isBalanced(s) && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func isReachedFromOutside(s *corev1.Service) bool {
	return hasNodePorts(s) || s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
}

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	spec.Type = cmp.Or(spec.Type, corev1.ServiceTypeClusterIP)
	spec.SessionAffinity = cmp.Or(spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch c := spec.SessionAffinityConfig; spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{
				ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To(corev1.DefaultClientIPServiceAffinitySeconds)},
			}
		}
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		p.Protocol = cmp.Or(p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if isReachedFromOutside(s) {
		spec.ExternalTrafficPolicy = cmp.Or(spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if spec.InternalTrafficPolicy == nil && (hasNodePorts(s) || spec.Type == corev1.ServiceTypeClusterIP) {
		spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyCluster)
	}
	if !isBalanced(s) {
		return
	}
	if spec.AllocateLoadBalancerNodePorts == nil {
		spec.AllocateLoadBalancerNodePorts = ptr.To(true)
	}
	for i := range s.Status.LoadBalancer.Ingress {
		if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" && in.IPMode == nil {
			in.IPMode = ptr.To(corev1.LoadBalancerIPModeVIP)
		}
	}
}

// dropOfOtherType clears what a change of type leaves behind, unless the client set it
// anew. Most clients send the whole object back with another type in it.
func dropOfOtherType(s, old *corev1.Service) {
	is, was := &s.Spec, &old.Spec
	if hasClusterIP(old) && !hasClusterIP(s) {
		if is.ClusterIP == was.ClusterIP && slices.Equal(is.ClusterIPs, was.ClusterIPs) {
			is.ClusterIP, is.ClusterIPs = "", nil
		}
		if slices.Equal(is.IPFamilies, was.IPFamilies) {
			is.IPFamilies = nil
		}
		if ptr.Equal(is.IPFamilyPolicy, was.IPFamilyPolicy) {
			is.IPFamilyPolicy = nil
		}
	}
	if hasNodePorts(old) && !hasNodePorts(s) && !addsNodePorts(s, old) {
		for i := range is.Ports {
			is.Ports[i].NodePort = 0
		}
	}
	if hasHealthCheck(old) && !hasHealthCheck(s) && is.HealthCheckNodePort == was.HealthCheckNodePort {
		is.HealthCheckNodePort = 0
	}
	if isBalanced(old) && !isBalanced(s) {
		if ptr.Equal(is.AllocateLoadBalancerNodePorts, was.AllocateLoadBalancerNodePorts) {
			is.AllocateLoadBalancerNodePorts = nil
		}
		if ptr.Equal(is.LoadBalancerClass, was.LoadBalancerClass) {
			is.LoadBalancerClass = nil
		}
	}
	if isReachedFromOutside(old) && !isReachedFromOutside(s) && is.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		is.ExternalTrafficPolicy = ""
	}
	if !isBalanced(s) {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

func addsNodePorts(s, old *corev1.Service) bool {
	had := nodePortsOf(old)
	return slices.ContainsFunc(nodePortsOf(s), func(p int32) bool { return !slices.Contains(had, p) })
}

// nodePortsOf are the node ports of a Service but for its health check's.
func nodePortsOf(s *corev1.Service) []int32 {
	var ports []int32
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			ports = append(ports, p.NodePort)
		}
	}
	return ports
}

func serviceWarnings(_ context.Context, s, _ *corev1.Service) []string {
	var said []string
	say := func(when bool, what string) {
		if when {
			said = append(said, what)
		}
	}
	spec, at := &s.Spec, field.NewPath("spec")
	_, hints := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	say(hints, fmt.Sprintf("annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode))
	headless := spec.Type == corev1.ServiceTypeClusterIP && spec.ClusterIP == corev1.ClusterIPNone
	if headless {
		say(spec.LoadBalancerIP != "", "spec.loadBalancerIP is ignored for headless services")
		say(len(spec.ExternalIPs) > 0, "spec.externalIPs is ignored for headless services")
		say(spec.SessionAffinity != corev1.ServiceAffinityNone, "spec.SessionAffinity is ignored for headless services")
	} else {
		for i, ip := range spec.ClusterIPs {
			said = append(said, validation.GetWarningsForIP(at.Child("clusterIPs").Index(i), ip)...)
		}
	}
	for i, ip := range spec.ExternalIPs {
		said = append(said, validation.GetWarningsForIP(at.Child("externalIPs").Index(i), ip)...)
	}
	external := spec.Type == corev1.ServiceTypeExternalName
	say(len(spec.ExternalIPs) > 0 && !headless && !external, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	for i, cidr := range spec.LoadBalancerSourceRanges {
		said = append(said, validation.GetWarningsForCIDR(at.Child("loadBalancerSourceRanges").Index(i), cidr)...)
	}
	say(external && len(spec.ExternalIPs) > 0, `spec.externalIPs is ignored when spec.type is "ExternalName"`)
	say(!external && spec.ExternalName != "", `spec.externalName is ignored when spec.type is not "ExternalName"`)
	say(ptr.Deref(spec.TrafficDistribution, "") == corev1.ServiceTrafficDistributionPreferClose,
		fmt.Sprintf("spec.trafficDistribution: %q is deprecated; use %q", corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone))
	return said
}

func externalCell(s *corev1.Service) string {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return s.Spec.ExternalName
	}
	var list []string
	if isBalanced(s) {
		for _, in := range s.Status.LoadBalancer.Ingress {
			if where := cmp.Or(in.IP, in.Hostname); where != "" {
				list = append(list, where)
			}
		}
		slices.Sort(list)
		list = slices.Compact(list)
	}
	list = append(list, s.Spec.ExternalIPs...)
	switch {
	case len(list) > 0:
		return strings.Join(list, ",")
	case isBalanced(s):
		return "<pending>"
	}
	return table.None
}

func portsCell(ports []corev1.ServicePort) string {
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			list[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return strings.Join(list, ",")
}
