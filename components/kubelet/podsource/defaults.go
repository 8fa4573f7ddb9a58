package podsource

import (
	"strings"

	v1 "k8s.io/api/core/v1"
)

// setDefaults fills in what the API server would have filled in: static pods never
// pass through it.
func setDefaults(pod *v1.Pod) {
	spec := &pod.Spec
	or(&spec.RestartPolicy, v1.RestartPolicyAlways)
	or(&spec.DNSPolicy, v1.DNSClusterFirst)
	or(&spec.SchedulerName, v1.DefaultSchedulerName)
	orPtr(&spec.TerminationGracePeriodSeconds, v1.DefaultTerminationGracePeriodSeconds)
	orPtr(&spec.EnableServiceLinks, true)
	orPtr(&spec.SecurityContext, v1.PodSecurityContext{})
	for _, list := range [][]v1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			setContainerDefaults(&list[i], spec.HostNetwork)
		}
	}
	for i := range spec.Volumes {
		setVolumeDefaults(&spec.Volumes[i])
	}
}

func setContainerDefaults(c *v1.Container, hostNetwork bool) {
	or(&c.TerminationMessagePath, v1.TerminationMessagePathDefault)
	or(&c.TerminationMessagePolicy, v1.TerminationMessageReadFile)
	policy := v1.PullIfNotPresent
	if name := c.Image[strings.LastIndex(c.Image, "/")+1:]; strings.HasSuffix(name, ":latest") || !strings.ContainsAny(name, ":@") {
		policy = v1.PullAlways
	}
	or(&c.ImagePullPolicy, policy)
	for i := range c.Ports {
		or(&c.Ports[i].Protocol, v1.ProtocolTCP)
		if hostNetwork {
			or(&c.Ports[i].HostPort, c.Ports[i].ContainerPort)
		}
	}
	for name, limit := range c.Resources.Limits {
		if _, asked := c.Resources.Requests[name]; !asked {
			if c.Resources.Requests == nil {
				c.Resources.Requests = v1.ResourceList{}
			}
			c.Resources.Requests[name] = limit
		}
	}
	for _, probe := range []*v1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if probe == nil {
			continue
		}
		or(&probe.TimeoutSeconds, 1)
		or(&probe.PeriodSeconds, 10)
		or(&probe.SuccessThreshold, 1)
		or(&probe.FailureThreshold, 3)
		if probe.HTTPGet != nil {
			or(&probe.HTTPGet.Path, "/")
			or(&probe.HTTPGet.Scheme, v1.URISchemeHTTP)
		}
	}
}

func setVolumeDefaults(volume *v1.Volume) {
	if volume.VolumeSource == (v1.VolumeSource{}) {
		volume.EmptyDir = &v1.EmptyDirVolumeSource{}
	}
	switch {
	case volume.ConfigMap != nil:
		orPtr(&volume.ConfigMap.DefaultMode, v1.ConfigMapVolumeSourceDefaultMode)
	case volume.Secret != nil:
		orPtr(&volume.Secret.DefaultMode, v1.SecretVolumeSourceDefaultMode)
	case volume.DownwardAPI != nil:
		orPtr(&volume.DownwardAPI.DefaultMode, v1.DownwardAPIVolumeSourceDefaultMode)
	case volume.Projected != nil:
		orPtr(&volume.Projected.DefaultMode, v1.ProjectedVolumeSourceDefaultMode)
	case volume.HostPath != nil:
		orPtr(&volume.HostPath.Type, v1.HostPathUnset)
	}
}

func or[T comparable](where *T, value T) {
	var zero T
	if *where == zero {
		*where = value
	}
}

func orPtr[T any](where **T, value T) {
	if *where == nil {
		*where = &value
	}
}
