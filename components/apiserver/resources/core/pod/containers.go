package pod

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// role says which list of a pod spec a container stands in.
type role int

const (
	initRole role = iota
	mainRole
	ephemeralRole
)

// member is a container with its place in the pod spec.
type member struct {
	*corev1.Container
	role role
	at   *field.Path
}

// restartable reports whether the container keeps running beside the main ones.
func (m member) restartable() bool {
	return m.role == initRole && isSidecar(m.Container)
}

// isSidecar reports whether an init container has restartPolicy Always.
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// asContainer views an ephemeral container as an ordinary one: their fields are the same.
func asContainer(e *corev1.EphemeralContainer) *corev1.Container {
	return (*corev1.Container)(&e.EphemeralContainerCommon)
}

// members goes through all containers of a pod: init, then main, then ephemeral ones.
func members(spec *corev1.PodSpec, at *field.Path) iter.Seq[member] {
	return func(yield func(member) bool) {
		for i := range spec.InitContainers {
			if !yield(member{&spec.InitContainers[i], initRole, at.Child("initContainers").Index(i)}) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(member{&spec.Containers[i], mainRole, at.Child("containers").Index(i)}) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			if !yield(member{asContainer(&spec.EphemeralContainers[i]), ephemeralRole, at.Child("ephemeralContainers").Index(i)}) {
				return
			}
		}
	}
}

// probes lists the probes that a container has.
func probes(c *corev1.Container) []*corev1.Probe {
	var found []*corev1.Probe
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil {
			found = append(found, p)
		}
	}
	return found
}

// hooks lists the lifecycle handlers that a container has.
func hooks(c *corev1.Container) []*corev1.LifecycleHandler {
	var found []*corev1.LifecycleHandler
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				found = append(found, h)
			}
		}
	}
	return found
}
