package pod

import (
	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
)

// DefaultTemplate completes a pod template: what the controllers' objects embed.
func DefaultTemplate(t *corev1.PodTemplateSpec) { DefaultSpec(&t.Spec) }

// DefaultSpec completes a pod spec as it stands in a pod or in a template. What only
// pods get (requests from limits, host ports, enableServiceLinks) is not its business.
func DefaultSpec(s *corev1.PodSpec) {
	if s.ServiceAccountName == "" {
		s.ServiceAccountName = s.DeprecatedServiceAccount
	}
	s.DeprecatedServiceAccount = s.ServiceAccountName
	orElse(&s.DNSPolicy, corev1.DNSClusterFirst)
	orElse(&s.RestartPolicy, corev1.RestartPolicyAlways)
	orElse(&s.SchedulerName, corev1.DefaultSchedulerName)
	if s.SecurityContext == nil {
		s.SecurityContext = new(corev1.PodSecurityContext)
	}
	orPointTo(&s.TerminationGracePeriodSeconds, int64(corev1.DefaultTerminationGracePeriodSeconds))

	for i := range s.Volumes {
		v := &s.Volumes[i].VolumeSource
		volume.DefaultSource(v)
		if v.Image != nil {
			orPolicyFor(&v.Image.PullPolicy, v.Image.Reference)
		}
	}
	for c := range members(s, nil) {
		defaultContainer(c.Container)
	}
	volume.RoundUp(s.Overhead)
	if s.Resources != nil {
		volume.RoundUp(s.Resources.Limits)
		volume.RoundUp(s.Resources.Requests)
	}
}

func defaultContainer(c *corev1.Container) {
	orPolicyFor(&c.ImagePullPolicy, c.Image)
	orElse(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	orElse(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		orElse(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if ref := e.ValueFrom.FieldRef; ref != nil {
			orElse(&ref.APIVersion, "v1")
		}
		if ref := e.ValueFrom.FileKeyRef; ref != nil {
			orPointTo(&ref.Optional, false)
		}
	}
	volume.RoundUp(c.Resources.Limits)
	volume.RoundUp(c.Resources.Requests)
	for _, p := range probes(c) {
		orElse(&p.TimeoutSeconds, 1)
		orElse(&p.PeriodSeconds, 10)
		orElse(&p.SuccessThreshold, 1)
		orElse(&p.FailureThreshold, 3)
		defaultHTTPGet(p.HTTPGet)
		if p.GRPC != nil {
			orPointTo(&p.GRPC.Service, "")
		}
	}
	for _, h := range hooks(c) {
		defaultHTTPGet(h.HTTPGet)
	}
}

func defaultHTTPGet(get *corev1.HTTPGetAction) {
	if get != nil {
		orElse(&get.Path, "/")
		orElse(&get.Scheme, corev1.URISchemeHTTP)
	}
}

// orPolicyFor sets an absent policy by the image. Its name is taken apart only then: what
// comes from etcd has a policy, and goes through here several times a write.
func orPolicyFor(policy *corev1.PullPolicy, image string) {
	if *policy == "" {
		*policy = pullPolicyFor(image)
	}
}

// pullPolicyFor follows https://kubernetes.io/docs/concepts/containers/images/#imagepullpolicy-defaulting:
// the tag "latest", given or implied, is pulled always.
func pullPolicyFor(image string) corev1.PullPolicy {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent
	}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok && tagged.Tag() == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// Default completes a pod.
func Default(p *corev1.Pod) {
	s := &p.Spec
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		s.TerminationGracePeriodSeconds = ptr.To[int64](1)
	}
	orPointTo(&s.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	for c := range members(s, nil) {
		if c.role == ephemeralRole {
			continue
		}
		requestWhatIsLimited(&c.Resources)
		for i := range c.Ports {
			if s.HostNetwork {
				orElse(&c.Ports[i].HostPort, c.Ports[i].ContainerPort)
			}
		}
	}
	DefaultSpec(s)
	defaultStatus(&p.Status)
}

// requestWhatIsLimited makes a limit without a request its own request.
func requestWhatIsLimited(r *corev1.ResourceRequirements) {
	if r.Limits != nil && r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	for name, limit := range r.Limits {
		if _, given := r.Requests[name]; !given {
			r.Requests[name] = limit.DeepCopy()
		}
	}
}

// defaultStatus keeps podIP and podIPs in step; where they differ, podIP wins.
func defaultStatus(s *corev1.PodStatus) {
	switch {
	case s.PodIP == "" && len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			volume.RoundUp(list[i].AllocatedResources)
			if r := list[i].Resources; r != nil {
				volume.RoundUp(r.Limits)
				volume.RoundUp(r.Requests)
			}
		}
	}
	volume.RoundUp(s.AllocatedResources)
	if s.Resources != nil {
		volume.RoundUp(s.Resources.Limits)
		volume.RoundUp(s.Resources.Requests)
	}
}

// orElse sets a field that has its zero value.
func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// orPointTo sets an optional field that is absent.
func orPointTo[T any](field **T, value T) {
	if *field == nil {
		*field = ptr.To(value)
	}
}
