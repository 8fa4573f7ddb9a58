package hollow

import (
	"unique"

	"strings"

	corev1 "k8s.io/api/core/v1"
)

// shape is what a pod's status repeats of its spec. Pods of one template share one.
type shape struct{ handle unique.Handle[form] }

// form has containers as name, image, name, image, ..., separated by newlines, which are
// in neither.
type form struct {
	containers, inits, sidecars string
	restart                     corev1.RestartPolicy
	host                        bool
}

// container is one of a pod's containers.
type container struct{ name, image string }

func shapeOf(pod *corev1.Pod) shape {
	var regular, inits, sidecars []string
	for i := range pod.Spec.Containers {
		regular = append(regular, pod.Spec.Containers[i].Name, pod.Spec.Containers[i].Image)
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars = append(sidecars, c.Name, c.Image)
		} else {
			inits = append(inits, c.Name, c.Image)
		}
	}
	return shape{unique.Make(form{
		containers: strings.Join(regular, "\n"), inits: strings.Join(inits, "\n"), sidecars: strings.Join(sidecars, "\n"),
		restart: pod.Spec.RestartPolicy, host: pod.Spec.HostNetwork,
	})}
}

func split(joined string) (list []container) {
	if joined == "" {
		return nil
	}
	words := strings.Split(joined, "\n")
	for i := 0; i+1 < len(words); i += 2 {
		list = append(list, container{name: words[i], image: words[i+1]})
	}
	return list
}

func (s shape) hostNetwork() bool { return s.handle.Value().host }

// runsAgain tells whether the pod's policy has a container that ended run again.
func (s shape) runsAgain(exitCode int32) bool {
	switch s.handle.Value().restart {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return exitCode != 0
	}
	return true
}
