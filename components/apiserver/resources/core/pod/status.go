package pod

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/net"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// validateStatusUpdate checks a change of a pod's status.
func validateStatusUpdate(p, old *corev1.Pod) field.ErrorList {
	c := &checker{spec: &p.Spec}
	annotationsAt := field.NewPath("metadata", "annotations")
	c.Add(annotationChanges(p.Annotations, old.Annotations, annotationsAt)...)
	c.Add(validateAnnotations(p.Annotations, &p.Spec, annotationsAt, optionsForPod(old))...)

	at := field.NewPath("status")
	now, was := &p.Status, &old.Status
	for i, condition := range now.Conditions {
		itemAt := at.Child("conditions").Index(i)
		if condition.ObservedGeneration < 0 {
			c.Invalid(itemAt.Child("observedGeneration"), condition.ObservedGeneration, "must be a non-negative integer")
		}
		c.qualifiedName(itemAt.Child("Type"), string(condition.Type))
	}
	if node := now.NominatedNodeName; node != "" && node != was.NominatedNodeName {
		c.Messages(at.Child("nominatedNodeName"), node, apivalidation.NameIsDNSSubdomain(node, false))
		if old.Spec.NodeName != "" {
			c.Forbidden(at.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node")
		}
	}
	if now.ObservedGeneration < 0 {
		c.Invalid(at.Child("observedGeneration"), now.ObservedGeneration, "must be a non-negative integer")
	}
	c.Add(apivalidation.ValidateImmutableField(now.QOSClass, was.QOSClass, at.Child("qosClass"))...)

	c.transitions(at.Child("containerStatuses"), now.ContainerStatuses, was.ContainerStatuses, mainRole)
	c.transitions(at.Child("initContainerStatuses"), now.InitContainerStatuses, was.InitContainerStatuses, initRole)
	c.transitions(at.Child("ephemeralContainerStatuses"), now.EphemeralContainerStatuses, was.EphemeralContainerStatuses, ephemeralRole)
	c.claimStatuses(at, now)
	c.podIPs(at, now, was)
	c.hostIPs(at, now, was)
	for _, group := range []struct {
		name string
		list []corev1.ContainerStatus
		role role
	}{
		{"containerStatuses", now.ContainerStatuses, mainRole}, {"initContainerStatuses", now.InitContainerStatuses, initRole},
		{"ephemeralContainerStatuses", now.EphemeralContainerStatuses, ephemeralRole},
	} {
		for i := range group.list {
			s, itemAt := &group.list[i], at.Child(group.name).Index(i)
			devicesAt := itemAt.Child("allocatedResourcesStatus")
			c.statusUser(itemAt.Child("user", "linux"), s.User)
			if group.role != ephemeralRole {
				c.deviceHealth(devicesAt, s, c.find(s.Name, group.role), now)
			} else if len(s.AllocatedResourcesStatus) > 0 {
				c.Forbidden(devicesAt, "must not be specified in container status")
			}
		}
	}
	return c.Errors
}

// transitions refuses that a container which ended for good runs again.
func (c *checker) transitions(at *field.Path, now, was []corev1.ContainerStatus, r role) {
	for i, before := range was {
		ended := before.State.Terminated
		if ended == nil || r != ephemeralRole && c.mayStartAgain(before.Name, ended.ExitCode, r) {
			continue
		}
		if slices.ContainsFunc(now, func(s corev1.ContainerStatus) bool { return s.Name == before.Name && s.State.Terminated == nil }) {
			c.Forbidden(at.Index(i).Child("state"), "may not be transitioned to non-terminated state")
		}
	}
}

// mayStartAgain goes by the container's restart rules, then its policy, then the pod's.
func (c *checker) mayStartAgain(name string, exitCode int32, r role) bool {
	var own *corev1.Container
	for m := range members(c.spec, nil) {
		restartsAll := func(rule corev1.ContainerRestartRule) bool {
			return rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		}
		if m.role != ephemeralRole && slices.ContainsFunc(m.RestartPolicyRules, restartsAll) {
			return true
		}
		if m.role == r && m.Name == name {
			own = m.Container
		}
	}
	if own == nil {
		return false
	}
	policy := string(c.spec.RestartPolicy)
	if own.RestartPolicy != nil {
		policy = string(*own.RestartPolicy)
		for _, rule := range own.RestartPolicyRules {
			if rule.ExitCodes == nil {
				continue
			}
			listed := slices.Contains(rule.ExitCodes.Values, exitCode)
			if listed == (rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
				return true
			}
		}
	}
	switch corev1.RestartPolicy(policy) {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return exitCode != 0
	}
	return true
}

func (c *checker) podIPs(at *field.Path, now, was *corev1.PodStatus) {
	ips, before := make([]string, len(now.PodIPs)), make([]string, len(was.PodIPs))
	for i := range ips {
		ips[i] = now.PodIPs[i].IP
	}
	for i := range before {
		before[i] = was.PodIPs[i].IP
	}
	listAt := at.Child("podIPs")
	c.ips(listAt, now.PodIPs, ips, before)
	switch {
	case (now.PodIP == "") != (len(ips) == 0):
		c.Invalid(listAt, now.PodIPs, "podIP and podIPs must either both be set or both be unset")
	case len(ips) > 0 && ips[0] != now.PodIP:
		c.Invalid(listAt.Index(0).Child("ip"), ips[0], "must be equal to `podIP`")
	}
}

func (c *checker) hostIPs(at *field.Path, now, was *corev1.PodStatus) {
	ips, before := make([]string, len(now.HostIPs)), make([]string, len(was.HostIPs))
	for i := range ips {
		ips[i] = now.HostIPs[i].IP
	}
	for i := range before {
		before[i] = was.HostIPs[i].IP
	}
	listAt := at.Child("hostIPs")
	if len(ips) > 0 && ips[0] != now.HostIP {
		c.Invalid(listAt.Index(0).Child("ip"), ips[0], "must be equal to `hostIP`")
	}
	c.ips(listAt, now.HostIPs, ips, before)
}

// ips checks addresses: at most one of each family.
func (c *checker) ips(at *field.Path, shown any, ips, before []string) {
	for i, ip := range ips {
		c.Add(validation.IsValidIPForLegacyField(at.Index(i), ip, true, before)...)
	}
	if len(ips) < 2 {
		return
	}
	dual, err := net.IsDualStackIPStrings(ips)
	if err != nil {
		c.Add(field.InternalError(at, fmt.Errorf("failed to check for dual stack with error:%w", err)))
	}
	if !dual || len(ips) > 2 {
		c.Invalid(at, shown, "may specify no more than one IP for each IP family")
	}
}

func (c *checker) claimStatuses(at *field.Path, now *corev1.PodStatus) {
	seen := map[string]bool{}
	for i, s := range now.ResourceClaimStatuses {
		itemAt := at.Child("resourceClaimStatuses").Index(i)
		if !slices.ContainsFunc(c.spec.ResourceClaims, func(claim corev1.PodResourceClaim) bool { return claim.Name == s.Name }) {
			c.Invalid(itemAt.Child("name"), s.Name, "must match the name of an entry in `spec.resourceClaims`")
		}
		if seen[s.Name] {
			c.Duplicate(itemAt.Child("name"), s.Name)
		}
		seen[s.Name] = true
		if n := s.ResourceClaimName; n != nil {
			c.Messages(itemAt.Child("resourceClaimName"), n, apivalidation.NameIsDNSSubdomain(*n, false))
		}
	}
	if extended := now.ExtendedResourceClaimStatus; extended != nil {
		c.extendedClaim(at.Child("extendedResourceClaimStatus"), extended)
	}
}

func (c *checker) extendedClaim(at *field.Path, s *corev1.PodExtendedResourceClaimStatus) {
	const mustMatch = "must match the "
	if len(s.RequestMappings) == 0 {
		c.Required(at.Child("requestMappings"), "at least one request mapping is required")
	}
	seen := map[corev1.ContainerExtendedResourceRequest]bool{}
	for i, r := range s.RequestMappings {
		itemAt := at.Child("requestMappings").Index(i)
		var own *corev1.Container
		for m := range members(c.spec, nil) {
			if m.role != ephemeralRole && m.Name == r.ContainerName {
				own = m.Container
			}
		}
		if own == nil {
			c.Invalid(itemAt.Child("containerName"), r.ContainerName, mustMatch+"name of an entry in spec.initContainers.name or spec.containers.name")
		} else if _, asked := own.Resources.Requests[corev1.ResourceName(r.ResourceName)]; !asked {
			c.Invalid(itemAt.Child("resourceName"), r.ResourceName, mustMatch+
				"extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests")
		}
		c.label(at.Child("requestName"), r.RequestName)
		if seen[r] {
			c.Duplicate(itemAt.Child("containerName"), r.ContainerName)
			c.Duplicate(itemAt.Child("resourceName"), r.ResourceName)
			c.Duplicate(itemAt.Child("requestName"), r.RequestName)
		}
		seen[r] = true
	}
	if s.ResourceClaimName == "" {
		c.Required(at.Child("resourceClaimName"), "")
	} else {
		c.Messages(at.Child("resourceClaimName"), s.ResourceClaimName, apivalidation.NameIsDNSSubdomain(s.ResourceClaimName, false))
	}
}

func (c *checker) statusUser(at *field.Path, user *corev1.ContainerUser) {
	if user == nil || user.Linux == nil {
		return
	}
	if isWindows(c.spec) {
		c.Forbidden(at, "cannot be set for a windows pod")
		return
	}
	c.Within(at.Child("uid"), user.Linux.UID, 0, math.MaxUint32, fmt.Sprintf("must be between 0 and %d, inclusive", int64(math.MaxUint32)))
	c.id(at.Child("gid"), &user.Linux.GID, validation.IsValidGroupID)
	for i, gid := range user.Linux.SupplementalGroups {
		c.id(at.Child("supplementalGroups").Index(i), &gid, validation.IsValidGroupID)
	}
}

// find is the spec of a container of one role; nil where there is none.
func (c *checker) find(name string, r role) *corev1.Container {
	for m := range members(c.spec, nil) {
		if m.role == r && m.Name == name {
			return m.Container
		}
	}
	return nil
}

// deviceHealth checks what is reported of the devices that a container has. own is nil
// for a container that is not in the spec, of which only the report itself is checked.
func (c *checker) deviceHealth(at *field.Path, s *corev1.ContainerStatus, own *corev1.Container, whole *corev1.PodStatus) {
	for i, r := range s.AllocatedResourcesStatus {
		if own == nil {
			break
		}
		claimed := strings.HasPrefix(string(r.Name), "claim:")
		_, requested := own.Resources.Requests[r.Name]
		switch {
		case claimed && !usesClaim(own, string(r.Name)) && !usesExtendedClaim(own, string(r.Name), whole.ExtendedResourceClaimStatus):
			c.Invalid(at.Index(i).Child("name"), r.Name, "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' "+
				"when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty")
		case !claimed && !requested:
			c.Invalid(at.Index(i).Child("name"), r.Name, "must match one of the container's resource requests")
		}
	}
	for i, r := range s.AllocatedResourcesStatus {
		seen := map[corev1.ResourceID]bool{}
		for j, device := range r.Resources {
			itemAt := at.Index(i).Child("resources").Index(j)
			problem.OneOf(&c.List, itemAt.Child("health"), device.Health,
				corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)
			if m := device.Message; m != nil && *m == "" {
				c.Required(itemAt.Child("message"), "must be non-empty if specified")
			} else if m != nil && len(*m) > corev1.ResourceHealthMessageMaxLength {
				c.Add(field.TooLong(itemAt.Child("message"), *m, corev1.ResourceHealthMessageMaxLength))
			}
			if seen[device.ResourceID] {
				c.Duplicate(itemAt.Child("resourceID"), device.ResourceID)
			}
			seen[device.ResourceID] = true
		}
	}
}

func usesClaim(c *corev1.Container, name string) bool {
	return slices.ContainsFunc(c.Resources.Claims, func(claim corev1.ResourceClaim) bool {
		return name == "claim:"+claim.Name && claim.Request == "" || name == "claim:"+claim.Name+"/"+claim.Request
	})
}

func usesExtendedClaim(c *corev1.Container, name string, s *corev1.PodExtendedResourceClaimStatus) bool {
	return s != nil && slices.ContainsFunc(s.RequestMappings, func(r corev1.ContainerExtendedResourceRequest) bool {
		amount := c.Resources.Requests[corev1.ResourceName(r.ResourceName)]
		return r.ContainerName == c.Name && name == "claim:"+s.ResourceClaimName+"/"+r.RequestName && !amount.IsZero()
	})
}
