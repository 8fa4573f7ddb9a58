package pod

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	componentresource "k8s.io/component-helpers/resource"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/quantity"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

const notForInit = "may not be set for init containers without restartPolicy=Always"

// containers checks all three lists of containers.
func (c *checker) containers(at *field.Path) {
	if len(c.spec.Containers) == 0 {
		c.Required(at.Child("containers"), "")
	}
	main := sets.New[string]()
	hostPorts := sets.New[string]()
	for i := range c.spec.Containers {
		m := member{&c.spec.Containers[i], mainRole, at.Child("containers").Index(i)}
		c.container(m)
		c.unique(m, main)
		c.running(m)
		c.restartRules(m)
		c.hostPorts(m.Container, m.at, hostPorts)
	}
	others := main.Clone()
	for i := range c.spec.InitContainers {
		m := member{&c.spec.InitContainers[i], initRole, at.Child("initContainers").Index(i)}
		c.container(m)
		c.initContainer(m)
		c.unique(m, others)
		// Upstream counts from 0 here whichever init container it is.
		c.hostPorts(m.Container, at.Child("initContainers").Index(0), sets.New[string]())
	}
	for i := range c.spec.InitContainers {
		others.Insert(c.spec.InitContainers[i].Name)
	}
	all := others.Clone()
	for i := range c.spec.EphemeralContainers {
		e := &c.spec.EphemeralContainers[i]
		m := member{asContainer(e), ephemeralRole, at.Child("ephemeralContainers").Index(i)}
		c.container(m)
		c.unique(m, all)
		c.ephemeralContainer(m, e.TargetContainerName, others)
	}
}

// unique refuses a name that another container has.
func (c *checker) unique(m member, names sets.Set[string]) {
	if names.Has(m.Name) {
		c.Duplicate(m.at.Child("name"), m.Name)
	} else if m.Name != "" || m.role != initRole {
		names.Insert(m.Name)
	}
}

// container checks what all containers have, of whatever role.
func (c *checker) container(m member) {
	if m.Name == "" {
		c.Required(m.at.Child("name"), "")
	} else {
		c.label(m.at.Child("name"), m.Name)
	}
	c.NonEmpty(m.at.Child("image"), m.Image)
	if policyAt := m.at.Child("terminationMessagePolicy"); m.TerminationMessagePolicy == "" {
		c.Required(policyAt, "")
	} else {
		problem.OneOf(&c.List, policyAt, m.TerminationMessagePolicy,
			corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
	}
	c.ports(m)
	c.environment(m)
	c.mounts(m)
	c.devices(m)
	volume.ValidatePullPolicy(&c.List, m.at.Child("imagePullPolicy"), m.ImagePullPolicy)
	resourcesAt := m.at.Child("resources")
	c.Add(quantity.Requirements{Name: quantity.ValidateContainerName, PartialHugePages: c.partialHugePages}.
		Validate(m.Resources.Limits, m.Resources.Requests, resourcesAt)...)
	c.claimsOf(resourcesAt.Child("claims"), m.Resources.Claims)
	c.resizePolicy(m)
	c.containerSecurity(m.at.Child("securityContext"), m.SecurityContext)
}

// running checks probes and hooks: what containers have that are meant to stay up.
func (c *checker) running(m member) {
	if m.Lifecycle != nil {
		c.lifecycle(m)
	}
	c.probe(m.at.Child("livenessProbe"), m.LivenessProbe, liveness)
	c.probe(m.at.Child("readinessProbe"), m.ReadinessProbe, readiness)
	c.probe(m.at.Child("startupProbe"), m.StartupProbe, startup)
}

func (c *checker) initContainer(m member) {
	if m.RestartPolicy == nil {
		if len(m.RestartPolicyRules) > 0 {
			c.Required(m.at.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
		}
	} else {
		c.restartRules(m)
	}
	if m.restartable() {
		c.running(m)
		return
	}
	for _, part := range []struct {
		name string
		set  bool
	}{
		{"lifecycle", m.Lifecycle != nil}, {"livenessProbe", m.LivenessProbe != nil},
		{"readinessProbe", m.ReadinessProbe != nil}, {"startupProbe", m.StartupProbe != nil},
	} {
		if part.set {
			c.Forbidden(m.at.Child(part.name), notForInit)
		}
	}
	for i, p := range m.ResizePolicy {
		if restartsOnResize(p) && !c.restartOnResizeInInit {
			c.Invalid(m.at.Child("resizePolicy").Index(i).Child("restartPolicy"), p.RestartPolicy,
				"must not be set to 'RestartContainer' for non-sidecar initContainers")
		}
	}
}

func restartsOnResize(p corev1.ContainerResizePolicy) bool {
	return p.RestartPolicy == corev1.RestartContainer
}

func (c *checker) ephemeralContainer(m member, target string, others sets.Set[string]) {
	if target != "" && !others.Has(target) {
		c.Add(field.NotFound(m.at.Child("targetContainerName"), target))
	}
	c.Add(problem.OnlyFields(corev1.EphemeralContainerCommon(*m.Container), m.at, "cannot be set for an Ephemeral Container",
		"Name", "Image", "Command", "Args", "WorkingDir", "EnvFrom", "Env", "VolumeMounts", "VolumeDevices", "TerminationMessagePath",
		"TerminationMessagePolicy", "ImagePullPolicy", "SecurityContext", "Stdin", "StdinOnce", "TTY")...)
	for i, mount := range m.VolumeMounts {
		mountAt := m.at.Child("volumeMounts").Index(i)
		if mount.SubPath != "" {
			c.Forbidden(mountAt.Child("subPath"), "cannot be set for an Ephemeral Container")
		}
		if mount.SubPathExpr != "" {
			c.Forbidden(mountAt.Child("subPathExpr"), "cannot be set for an Ephemeral Container")
		}
	}
}

// restartRules checks a container's own restart policy.
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restart-rules
func (c *checker) restartRules(m member) {
	switch policyAt := m.at.Child("restartPolicy"); {
	case m.RestartPolicy != nil:
		problem.OneOf(&c.List, policyAt, *m.RestartPolicy,
			corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	case len(m.RestartPolicyRules) > 0:
		c.Required(policyAt, "must specify restartPolicy when restart rules are used")
	}
	const mostRules, mostCodes = 20, 255
	rulesAt := m.at.Child("restartPolicyRules")
	if n := len(m.RestartPolicyRules); n > mostRules {
		c.Add(field.TooMany(rulesAt, n, mostRules))
	}
	for i, rule := range m.RestartPolicyRules {
		ruleAt := rulesAt.Index(i)
		problem.OneOf(&c.List, ruleAt.Child("action"), rule.Action,
			corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
		codesAt := ruleAt.Child("exitCodes")
		if rule.ExitCodes == nil {
			c.Required(codesAt, "must be specified")
			continue
		}
		problem.OneOf(&c.List, codesAt.Child("operator"), rule.ExitCodes.Operator,
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)
		if n := len(rule.ExitCodes.Values); n > mostCodes {
			c.Add(field.TooMany(codesAt.Child("values"), n, mostCodes))
		}
	}
}

func (c *checker) resizePolicy(m member) {
	at := m.at.Child("resizePolicy")
	seen := sets.New[corev1.ResourceName]()
	for i, p := range m.ResizePolicy {
		if seen.Has(p.ResourceName) {
			c.Duplicate(at.Index(i), p.ResourceName)
		}
		seen.Insert(p.ResourceName)
		if p.ResourceName == "" {
			c.Required(at, "")
		} else {
			problem.OneOf(&c.List, at, p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)
		}
		if p.RestartPolicy == "" {
			c.Required(at, "")
		} else {
			problem.OneOf(&c.List, at, p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)
		}
		if c.spec.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			c.Invalid(at, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}

// claimsOf checks which of the pod's resource claims a container uses.
func (c *checker) claimsOf(at *field.Path, used []corev1.ResourceClaim) {
	whole, partial := sets.New[string](), sets.New[string]()
	for i, claim := range used {
		itemAt := at.Index(i)
		if claim.Name == "" {
			c.Required(itemAt, "")
			continue
		}
		key := claim.Name + "/" + claim.Request
		switch {
		case whole.Has(claim.Name):
			c.Duplicate(itemAt, claim.Name)
		case claim.Request == "":
			for other := range partial {
				if strings.HasPrefix(other, key) {
					c.Duplicate(itemAt, claim.Name)
				}
			}
			whole.Insert(claim.Name)
		default:
			c.label(itemAt.Child("request"), claim.Request)
			if partial.Has(key) {
				c.Duplicate(itemAt, key)
			}
			partial.Insert(key)
		}
		if !slices.Contains(c.claims, claim.Name) {
			missing := field.NotFound(itemAt, claim.Name)
			missing.Detail = "must be one of the names in pod.spec.resourceClaims"
			if len(c.claims) == 0 {
				missing.Detail += " which is empty"
			} else {
				missing.Detail += ": " + strings.Join(slices.Sorted(slices.Values(c.claims)), ", ")
			}
			c.Add(missing)
		}
	}
}

// podResources checks the amounts that are set for the pod as a whole.
// https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#pod-level-resource-specification
func (c *checker) podResources(at *field.Path) {
	r := c.spec.Resources
	if o := c.spec.Overhead; o != nil {
		c.Add(quantity.Requirements{Name: quantity.ValidateContainerName, PartialHugePages: c.partialHugePages}.
			Validate(o, nil, at.Child("overhead"))...)
	}
	if r == nil {
		return
	}
	resourcesAt := at.Child("resources")
	if isWindows(c.spec) {
		c.Forbidden(resourcesAt, "may not be set for a windows pod")
		return
	}
	if r.Claims != nil {
		c.Forbidden(resourcesAt.Child("claims"), "claims may not be set for Resources at pod-level")
	}
	c.claimsOf(resourcesAt.Child("claims"), r.Claims)
	c.Add(quantity.Requirements{Name: validatePodResourceName, PartialHugePages: c.partialHugePages}.
		Validate(r.Limits, r.Requests, resourcesAt)...)

	asPod := &corev1.Pod{Spec: *c.spec}
	for name, sum := range componentresource.AggregateContainerRequests(asPod, componentresource.PodResourcesOptions{}) {
		if whole, set := r.Requests[name]; set && sum.Cmp(whole) > 0 {
			c.Invalid(resourcesAt.Child("requests").Key(string(name)), whole.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String()))
		}
	}
	for name, sum := range componentresource.AggregateContainerLimits(asPod, componentresource.PodResourcesOptions{}) {
		if whole, set := r.Limits[name]; set && quantity.IsHugePages(name) && sum.Cmp(whole) > 0 {
			c.Invalid(resourcesAt.Child("limits").Key(string(name)), whole.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", sum.String()))
		}
	}
	for i, ctr := range c.spec.Containers {
		for name, limit := range ctr.Resources.Limits {
			if whole, set := r.Limits[name]; set && limit.Cmp(whole) > 0 {
				c.Invalid(resourcesAt.Child("containers").Index(i).Key(string(name)).Child("limits"), limit.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", whole.String()))
			}
		}
	}
}

func validatePodResourceName(n corev1.ResourceName, at *field.Path) field.ErrorList {
	found := problem.List{Errors: quantity.ValidateName(n, at)}
	if found.Errors == nil && !componentresource.IsSupportedPodLevelResource(n) {
		found.Add(field.NotSupported(at, n, sets.List(componentresource.SupportedPodLevelResources())))
	}
	return found.Errors
}
