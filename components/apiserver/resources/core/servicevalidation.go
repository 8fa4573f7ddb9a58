package core

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

const (
	onlyBalanced = "may only be used when `type` is 'LoadBalancer'"
	fixedOnceSet = "may not change once set"
)

// serviceCheck validates one Service.
type serviceCheck struct {
	problem.List
	*corev1.Service
	old *corev1.Service // nil on create
	at  *field.Path     // spec
}

func validateService(s, old *corev1.Service) field.ErrorList {
	c := &serviceCheck{Service: s, old: old, at: field.NewPath("spec")}
	hints, hinted := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if mode, set := s.Annotations[corev1.AnnotationTopologyMode]; set && hinted && mode != hints {
		c.Invalid(field.NewPath("metadata", "annotations").Key(corev1.AnnotationTopologyMode), mode,
			fmt.Sprintf("must match annotations[%s] when both are specified", corev1.DeprecatedAnnotationTopologyAwareHints))
	}
	c.kind()
	c.ports()
	if s.Spec.Selector != nil {
		c.Add(metav1validation.ValidateLabels(s.Spec.Selector, c.at.Child("selector"))...)
	}
	c.affinity()
	c.Add(validateClusterIPs(s, old)...)
	c.externalIPs()
	c.balancer()
	c.traffic()
	return c.Errors
}

// kind checks what the type asks for and excludes.
func (c *serviceCheck) kind() {
	spec := &c.Spec
	if len(spec.Ports) == 0 && !isHeadless(c.Service) && spec.Type != corev1.ServiceTypeExternalName {
		c.Required(c.at.Child("ports"), "")
	}
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if isHeadless(c.Service) {
			c.Invalid(c.at.Child("clusterIPs").Index(0), spec.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", spec.Type))
		}
	case corev1.ServiceTypeExternalName:
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"clusterIPs", len(spec.ClusterIPs) > 0}, {"ipFamilies", len(spec.IPFamilies) > 0}, {"ipFamilyPolicy", spec.IPFamilyPolicy != nil},
		} {
			if f.set {
				c.Forbidden(c.at.Child(f.name), "may not be set for ExternalName services")
			}
		}
		if name := strings.TrimSuffix(spec.ExternalName, "."); name == "" {
			c.Required(c.at.Child("externalName"), "")
		} else {
			for _, m := range validation.IsDNS1123Subdomain(name) {
				c.Add(field.Invalid(c.at.Child("externalName"), name, m).WithOrigin("format=k8s-long-name"))
			}
		}
	}
	if spec.Type == "" {
		c.Required(c.at.Child("type"), "")
		return
	}
	problem.OneOf(&c.List, c.at.Child("type"), spec.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName,
		corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
}

func (c *serviceCheck) ports() {
	type use struct {
		protocol corev1.Protocol
		port     int32
	}
	names, ports, nodePorts := map[string]bool{}, map[use]bool{}, map[use]bool{}
	for i, p := range c.Spec.Ports {
		at := c.at.Child("ports").Index(i)
		switch {
		case p.Name != "":
			label(&c.List, at.Child("name"), p.Name)
			if names[p.Name] {
				c.Duplicate(at.Child("name"), p.Name)
			}
			names[p.Name] = true
		case len(c.Spec.Ports) > 1:
			c.Required(at.Child("name"), "")
		}
		c.Messages(at.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))
		protocol(&c.List, at.Child("protocol"), p.Protocol)
		c.Add(pod.ValidatePort(p.TargetPort, at.Child("targetPort"))...)
		if p.AppProtocol != nil {
			qualified(&c.List, at.Child("appProtocol"), *p.AppProtocol)
		}
		if p.NodePort != 0 {
			if c.Spec.Type == corev1.ServiceTypeClusterIP {
				c.Forbidden(at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'")
			}
			if key := (use{p.Protocol, p.NodePort}); nodePorts[key] {
				c.Duplicate(at.Child("nodePort"), p.NodePort)
			} else {
				nodePorts[key] = true
			}
		}
		if key := (use{p.Protocol, p.Port}); ports[key] {
			c.Duplicate(at, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port})
		} else {
			ports[key] = true
		}
	}
}

func (c *serviceCheck) affinity() {
	at, configAt := c.at.Child("sessionAffinity"), c.at.Child("sessionAffinityConfig")
	config := c.Spec.SessionAffinityConfig
	const needed = "when session affinity type is ClientIP"
	switch c.Spec.SessionAffinity {
	case "":
		c.Required(at, "")
	case corev1.ServiceAffinityNone:
		if config != nil {
			c.Forbidden(configAt, "must not be set when session affinity is None")
		}
	case corev1.ServiceAffinityClientIP:
		switch secondsAt := configAt.Child("clientIP", "timeoutSeconds"); {
		case config == nil:
			c.Required(configAt, needed)
		case config.ClientIP == nil:
			c.Required(configAt.Child("clientIP"), needed)
		case config.ClientIP.TimeoutSeconds == nil:
			c.Required(secondsAt, needed)
		default:
			const longest = 86400 // a day
			if seconds := *config.ClientIP.TimeoutSeconds; seconds <= 0 || seconds > longest {
				c.Invalid(secondsAt, seconds, fmt.Sprintf("must be greater than 0 and less than %d", longest))
			}
		}
	default:
		c.Add(field.NotSupported(at, c.Spec.SessionAffinity, []corev1.ServiceAffinity{corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone}))
	}
}

func (c *serviceCheck) externalIPs() {
	var before []string
	if c.old != nil {
		before = c.old.Spec.ExternalIPs
	}
	for i, ip := range c.Spec.ExternalIPs {
		at := c.at.Child("externalIPs").Index(i)
		errs := validation.IsValidIPForLegacyField(at, ip, true, before)
		if len(errs) == 0 {
			errs = validateReachable(ip, at)
		}
		c.Add(errs...)
	}
}

// balancer checks what only load balancers have.
func (c *serviceCheck) balancer() {
	spec := &c.Spec
	balanced := isBalanced(c.Service)
	rangesAt := c.at.Child("LoadBalancerSourceRanges")
	annotation, annotated := c.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	annotationAt := field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
	switch {
	case len(spec.LoadBalancerSourceRanges) > 0:
		if !balanced {
			c.Forbidden(rangesAt, onlyBalanced)
		}
		var before []string
		if c.old != nil {
			for _, cidr := range c.old.Spec.LoadBalancerSourceRanges {
				before = append(before, strings.TrimSpace(cidr))
			}
		}
		for i, cidr := range spec.LoadBalancerSourceRanges {
			c.Add(validation.IsValidCIDRForLegacyField(rangesAt.Index(i), strings.TrimSpace(cidr), true, before)...)
		}
	case annotated:
		if !balanced {
			c.Forbidden(annotationAt, onlyBalanced)
		}
		unchanged := c.old != nil && c.old.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey] == annotation
		if !unchanged && strings.TrimSpace(annotation) != "" {
			for cidr := range strings.SplitSeq(annotation, ",") {
				c.Add(validation.IsValidCIDRForLegacyField(annotationAt, strings.TrimSpace(cidr), true, nil)...)
			}
		}
	}
	switch allocate := spec.AllocateLoadBalancerNodePorts; {
	case allocate != nil && !balanced:
		c.Forbidden(c.at.Child("allocateLoadBalancerNodePorts"), onlyBalanced)
	case allocate == nil && balanced:
		c.Required(field.NewPath("allocateLoadBalancerNodePorts"), "")
	}
	if class := spec.LoadBalancerClass; class != nil {
		if balanced {
			qualified(&c.List, c.at.Child("loadBalancerClass"), *class)
		} else {
			c.Forbidden(c.at.Child("loadBalancerClass"), onlyBalanced)
		}
	}
}

// traffic checks which endpoints traffic may go to.
func (c *serviceCheck) traffic() {
	spec := &c.Spec
	externalAt, healthAt, internalAt := c.at.Child("externalTrafficPolicy"), c.at.Child("healthCheckNodePort"), c.at.Child("internalTrafficPolicy")
	switch outside := isReachedFromOutside(c.Service); {
	case !outside && spec.ExternalTrafficPolicy != "":
		c.Invalid(externalAt, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	case outside && spec.ExternalTrafficPolicy == "":
		c.Required(externalAt, "")
	case outside:
		problem.OneOf(&c.List, externalAt, spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	}
	switch checked := hasHealthCheck(c.Service); {
	case !checked && spec.HealthCheckNodePort != 0:
		c.Invalid(healthAt, spec.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
	case checked && spec.HealthCheckNodePort == 0:
		c.Required(healthAt, "")
	case checked:
		c.Messages(healthAt, spec.HealthCheckNodePort, validation.IsValidPortNum(int(spec.HealthCheckNodePort)))
	}
	if p := spec.InternalTrafficPolicy; p != nil {
		problem.OneOf(&c.List, internalAt, *p, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	} else if hasNodePorts(c.Service) || spec.Type == corev1.ServiceTypeClusterIP {
		c.Required(internalAt, "")
	}
	if d := spec.TrafficDistribution; d != nil {
		problem.OneOf(&c.List, c.at.Child("trafficDistribution"), *d, corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)
	}
}

// validateClusterIPs checks addresses and families against each other. The allocation
// of addresses relies on it, so it comes before as well as with the rest.
func validateClusterIPs(s, old *corev1.Service) field.ErrorList {
	var found problem.List
	if !hasClusterIP(s) {
		return nil
	}
	spec, at := &s.Spec, field.NewPath("spec")
	ipsAt := at.Child("clusterIPs")
	switch {
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		found.Required(ipsAt, "")
	case spec.ClusterIP != "" && spec.ClusterIPs[0] != spec.ClusterIP:
		found.Invalid(ipsAt, spec.ClusterIPs, "first value must match `clusterIP`")
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		found.Invalid(ipsAt, spec.ClusterIPs, "must be empty when `clusterIP` is not specified")
	}
	for i, family := range spec.IPFamilies {
		familyAt := at.Child("ipFamilies").Index(i)
		problem.OneOf(&found, familyAt, family, corev1.IPv4Protocol, corev1.IPv6Protocol)
		if slices.Contains(spec.IPFamilies[:i], family) {
			found.Duplicate(familyAt, family)
		}
	}
	if p := spec.IPFamilyPolicy; p != nil {
		problem.OneOf(&found, at.Child("ipFamilyPolicy"), *p,
			corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)
	}
	wellFormed := addressesWellFormed(&found, ipsAt, spec.ClusterIPs, old)
	if n := len(spec.ClusterIPs); n > 2 {
		found.Invalid(ipsAt, spec.ClusterIPs, "may only hold up to 2 values")
	}
	if !wellFormed {
		return found.Errors
	}
	if len(spec.ClusterIPs) > 1 {
		dual, err := net.IsDualStackIPStrings(spec.ClusterIPs)
		if err != nil {
			found.Add(field.InternalError(ipsAt, fmt.Errorf("failed to check for dual stack with error:%w", err)))
		}
		if !dual {
			found.Invalid(ipsAt, spec.ClusterIPs, "may specify no more than one IP for each IP family")
		}
	}
	if isHeadless(s) {
		return found.Errors
	}
	for i := range min(len(spec.ClusterIPs), len(spec.IPFamilies)) {
		ip, v6 := spec.ClusterIPs[i], net.IsIPv6String(spec.ClusterIPs[i])
		if wanted := spec.IPFamilies[i]; v6 && wanted == corev1.IPv4Protocol || !v6 && wanted == corev1.IPv6Protocol {
			found.Invalid(ipsAt.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", wanted, i))
		}
	}
	return found.Errors
}

func addressesWellFormed(found *problem.List, at *field.Path, ips []string, old *corev1.Service) bool {
	before := len(found.Errors)
	var existing []string
	if old != nil {
		existing = old.Spec.ClusterIPs
	}
	for i, ip := range ips {
		if i > 0 || ip != corev1.ClusterIPNone {
			found.Add(validation.IsValidIPForLegacyField(at.Index(i), ip, true, existing)...)
		} else if len(ips) > 1 {
			found.Invalid(at, ips, "'None' must be the first and only value")
		}
	}
	return len(found.Errors) == before
}

func validateServiceUpdate(s, old *corev1.Service) field.ErrorList {
	c := &serviceCheck{Service: s, old: old, at: field.NewPath("spec")}
	if hasClusterIP(s) && hasClusterIP(old) {
		c.addressesFixed()
		c.familiesFixed()
	}
	if isBalanced(s) && isBalanced(old) && !ptr.Equal(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		c.Invalid(c.at.Child("loadBalancerClass"), s.Spec.LoadBalancerClass, fixedOnceSet)
	}
	if hasHealthCheck(old) && hasHealthCheck(s) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		c.Forbidden(c.at.Child("healthCheckNodePort"), "field is immutable")
	}
	c.Add(validateService(s, old)...)
	return c.Errors
}

// addressesFixed lets a second address come and go, and nothing else.
func (c *serviceCheck) addressesFixed() {
	is, was, at := c.Spec.ClusterIPs, c.old.Spec.ClusterIPs, c.at.Child("clusterIPs")
	if isHeadless(c.Service) && isHeadless(c.old) {
		return
	}
	if len(is) == len(was) {
		for i := range was {
			if is[i] != was[i] {
				c.Invalid(at.Index(i), is, fixedOnceSet)
			}
		}
		return
	}
	if len(is) > 0 && len(was) > 0 && is[0] != was[0] {
		c.Invalid(at.Index(0), is, fixedOnceSet)
	}
	if len(was) > len(is) {
		if len(is) == 0 {
			c.Invalid(at.Index(0), is, "primary clusterIP can not be unset")
		}
		c.singleStackToRelease(len(is), "secondary clusterIP")
	}
}

func (c *serviceCheck) familiesFixed() {
	is, was, at := c.Spec.IPFamilies, c.old.Spec.IPFamilies, c.at.Child("ipFamilies").Index(0)
	if isHeadless(c.Service) || isHeadless(c.old) {
		return
	}
	if len(is) == len(was) {
		for i := range was {
			if is[i] != was[i] {
				c.Invalid(at, is, fixedOnceSet)
			}
		}
		return
	}
	if len(was) > len(is) && len(c.Spec.ClusterIPs) == 0 {
		c.Invalid(at, is, "primary ipFamily can not be unset")
	}
	if len(is) > 0 && len(was) > 0 && is[0] != was[0] {
		c.Invalid(at, c.Spec.ClusterIPs, fixedOnceSet)
	}
	if len(was) > len(is) {
		c.singleStackToRelease(len(is), "secondary ipFamily")
	}
}

func (c *serviceCheck) singleStackToRelease(left int, what string) {
	if p := c.Spec.IPFamilyPolicy; left == 1 && (p == nil || *p != corev1.IPFamilyPolicySingleStack) {
		c.Invalid(c.at.Child("ipFamilyPolicy"), p, "must be set to 'SingleStack' when releasing the "+what)
	}
}

// validateLoadBalancer checks where a load balancer was made for the Service.
func validateLoadBalancer(_ context.Context, s, old *corev1.Service) field.ErrorList {
	var found problem.List
	at := field.NewPath("status", "loadBalancer", "ingress")
	if !isBalanced(s) {
		if len(s.Status.LoadBalancer.Ingress) > 0 {
			found.Forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'")
		}
		return found.Errors
	}
	var before []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		before = append(before, in.IP)
	}
	for i, in := range s.Status.LoadBalancer.Ingress {
		itemAt := at.Index(i)
		modeAt := itemAt.Child("ipMode")
		if in.IP != "" {
			found.Add(validation.IsValidIPForLegacyField(itemAt.Child("ip"), in.IP, true, before)...)
		}
		switch mode := in.IPMode; {
		case mode == nil && in.IP != "":
			found.Required(modeAt, "must be specified when `ip` is set")
		case mode != nil && in.IP == "":
			found.Forbidden(modeAt, "may not be specified when `ip` is not set")
		case mode != nil:
			problem.OneOf(&found, modeAt, *mode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)
		}
		if in.Hostname != "" {
			found.Messages(itemAt.Child("hostname"), in.Hostname, validation.IsDNS1123Subdomain(in.Hostname))
			if net.ParseIPSloppy(in.Hostname) != nil {
				found.Invalid(itemAt.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return found.Errors
}
