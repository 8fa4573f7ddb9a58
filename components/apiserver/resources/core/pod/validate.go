package pod

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// ValidateTemplate checks a pod template. at is the template's own path, "spec.template".
func ValidateTemplate(t *corev1.PodTemplateSpec, at *field.Path, o Options) field.ErrorList {
	var found problem.List
	specAt := at.Child("spec")
	found.Add(metav1validation.ValidateLabels(t.Labels, at.Child("labels"))...)
	found.Add(apivalidation.ValidateAnnotations(t.Annotations, at.Child("annotations"))...)
	found.Add(validateAnnotations(t.Annotations, &t.Spec, at.Child("annotations"), o)...)
	found.Add(ValidateSpec(&t.Spec, specAt, o)...)
	found.Add(profilesAgree(t.Annotations, &t.Spec, specAt)...)
	if len(t.Spec.EphemeralContainers) > 0 {
		found.Forbidden(specAt.Child("ephemeralContainers"), "ephemeral containers not allowed in pod template")
	}
	return found.Errors
}

// ValidateSpec checks a pod spec, a pod's own or one in another object.
func ValidateSpec(s *corev1.PodSpec, at *field.Path, o Options) field.ErrorList {
	c := &checker{spec: s, meta: o.Meta, tolerance: o.tolerance()}
	if s.TerminationGracePeriodSeconds == nil {
		c.Required(at.Child("terminationGracePeriodSeconds"), "")
	}
	c.volumesAndClaims(at)
	c.containers(at)
	c.podResources(at)
	c.lifecycleOfPod(at)
	c.names(at)
	c.network(at)
	c.security(at)
	c.scheduling(at)
	c.platform(at)
	c.schedulingGroup(at.Child("schedulingGroup"))
	c.fileKeys(at)
	return c.Errors
}

func (c *checker) volumesAndClaims(at *field.Path) {
	o := volume.Options{AnyTokenPath: c.anyTokenPath, NoImageReference: c.noImageReference}
	if c.meta != nil {
		o.PodName = c.meta.Name
	}
	var errs field.ErrorList
	c.volumes, errs = volume.Validate(c.spec.Volumes, at.Child("volumes"), o)
	c.Add(errs...)
	c.resourceClaims(at.Child("resourceClaims"))
}

// lifecycleOfPod checks when a pod's containers are started and ended.
func (c *checker) lifecycleOfPod(at *field.Path) {
	s := c.spec
	if s.RestartPolicy == "" {
		c.Required(at.Child("restartPolicy"), "")
	} else {
		problem.OneOf(&c.List, at.Child("restartPolicy"), s.RestartPolicy,
			corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	}
	if d := s.ActiveDeadlineSeconds; d != nil {
		c.Within(at.Child("activeDeadlineSeconds"), *d, 1, math.MaxInt32, validation.InclusiveRangeError(1, math.MaxInt32))
	}
	for i, gate := range s.ReadinessGates {
		c.qualifiedName(at.Child("readinessGates").Index(i).Child("conditionType"), string(gate.ConditionType))
	}
}

// names checks references by name to other objects.
func (c *checker) names(at *field.Path) {
	s := c.spec
	subdomain := func(name string, nameAt *field.Path) {
		if name != "" {
			c.Messages(nameAt, name, apivalidation.NameIsDNSSubdomain(name, false))
		}
	}
	for i, secret := range s.ImagePullSecrets {
		if secret != (corev1.LocalObjectReference{Name: secret.Name}) {
			c.Invalid(at.Child("imagePullSecrets").Index(i), secret, "only name may be set")
		}
	}
	subdomain(s.ServiceAccountName, at.Child("serviceAccountName"))
	if s.DeprecatedServiceAccount != s.ServiceAccountName {
		c.Invalid(at.Child("deprecatedServiceAccount"), s.DeprecatedServiceAccount,
			fmt.Sprintf("must be the same as serviceAccountName: %q", s.ServiceAccountName))
	}
	subdomain(s.NodeName, at.Child("nodeName"))
	subdomain(s.PriorityClassName, at.Child("priorityClassName"))
	if s.RuntimeClassName != nil {
		c.Messages(at.Child("runtimeClassName"), *s.RuntimeClassName, apivalidation.NameIsDNSSubdomain(*s.RuntimeClassName, false))
	}
}

func (c *checker) resourceClaims(at *field.Path) {
	if c.meta != nil && isMirror(c.meta.Annotations) && len(c.spec.ResourceClaims) > 0 {
		c.Forbidden(field.NewPath(""), "static pods do not support resource claims")
		return
	}
	seen := map[string]bool{}
	for i, claim := range c.spec.ResourceClaims {
		itemAt := at.Index(i)
		switch nameAt := itemAt.Child("name"); {
		case claim.Name == "":
			c.Required(nameAt, "")
		case seen[claim.Name]:
			c.Duplicate(nameAt, claim.Name)
		default:
			c.label(nameAt, claim.Name)
			c.claims = append(c.claims, claim.Name)
		}
		seen[claim.Name] = true
		switch {
		case claim.ResourceClaimName != nil && claim.ResourceClaimTemplateName != nil:
			c.Invalid(itemAt, claim, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		case claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil:
			c.Invalid(itemAt, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if n := claim.ResourceClaimName; n != nil {
			c.Messages(itemAt.Child("resourceClaimName"), *n, apivalidation.NameIsDNSSubdomain(*n, false))
		}
		if n := claim.ResourceClaimTemplateName; n != nil {
			c.Messages(itemAt.Child("resourceClaimTemplateName"), *n, apivalidation.NameIsDNSSubdomain(*n, false))
		}
	}
}

// fileKeys checks that variables read from files find their volume.
func (c *checker) fileKeys(at *field.Path) {
	sources := map[string]*corev1.VolumeSource{}
	for i := range c.spec.Volumes {
		sources[c.spec.Volumes[i].Name] = &c.spec.Volumes[i].VolumeSource
	}
	for m := range members(c.spec, at) {
		for i, e := range m.Env {
			if e.ValueFrom == nil || e.ValueFrom.FileKeyRef == nil {
				continue
			}
			name := e.ValueFrom.FileKeyRef.VolumeName
			nameAt := m.at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			if source := sources[name]; source == nil {
				c.Add(field.NotFound(nameAt, name))
			} else if source.EmptyDir == nil {
				c.Invalid(nameAt, name, "referenced volume must be of type emptyDir")
			}
		}
	}
}

func (c *checker) label(at *field.Path, value string) {
	for _, m := range validation.IsDNS1123Label(value) {
		c.Add(field.Invalid(at, value, m).WithOrigin("format=k8s-short-name"))
	}
}

func (c *checker) subdomain(at *field.Path, value string) {
	for _, m := range validation.IsDNS1123Subdomain(value) {
		c.Add(field.Invalid(at, value, m).WithOrigin("format=k8s-long-name"))
	}
}

func (c *checker) qualifiedName(at *field.Path, value string) {
	for _, m := range validation.IsQualifiedName(value) {
		c.Add(field.Invalid(at, value, m).WithOrigin("format=qualified-name"))
	}
}

// validatePod checks metadata and spec of a pod, for every verb that writes them.
func validatePod(p *corev1.Pod, o Options) field.ErrorList {
	o.Meta = &p.ObjectMeta
	specAt := field.NewPath("spec")
	var found problem.List
	found.Add(validateAnnotations(p.Annotations, &p.Spec, field.NewPath("metadata", "annotations"), o)...)
	found.Add(ValidateSpec(&p.Spec, specAt, o)...)
	if p.Spec.ServiceAccountName == "" {
		for i, v := range p.Spec.Volumes {
			if v.Projected == nil {
				continue
			}
			for j, source := range v.Projected.Sources {
				if source.ServiceAccountToken != nil {
					found.Forbidden(specAt.Child("volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
						"must not be specified when serviceAccountName is not set")
				}
			}
		}
	}
	if g := p.Spec.TerminationGracePeriodSeconds; g != nil {
		found.NotNegative(specAt.Child("terminationGracePeriodSeconds"), *g)
	}
	for m := range members(&p.Spec, specAt) {
		if strings.TrimSpace(m.Image) != m.Image {
			found.Invalid(m.at.Child("image"), m.Image, "must not have leading or trailing whitespace")
		}
	}
	return found.Errors
}

// validateCreate checks a new pod.
func validateCreate(p *corev1.Pod) field.ErrorList {
	specAt := field.NewPath("spec")
	found := problem.List{Errors: validatePod(p, Options{})}
	if len(p.Spec.EphemeralContainers) > 0 {
		found.Forbidden(specAt.Child("ephemeralContainers"), "cannot be set on create")
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		found.Forbidden(specAt.Child("nodeName"), "cannot be set until all schedulingGates have been cleared")
	}
	found.Add(profilesAgree(p.Annotations, &p.Spec, specAt)...)
	return found.Errors
}
