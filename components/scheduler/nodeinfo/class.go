package nodeinfo

import (
	"unique"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Class is equal for pods that differ in nothing that decides where they may go: their names, say, or their commands.
// The zero Class is equal to no pod's.
type Class = unique.Handle[string]

// classOf reads namespace, labels, owner and what of the spec plugins look at. Pods whose status has a say in what they
// request, because they are being resized, have no class.
func classOf(pod *v1.Pod) Class {
	if statesResources(&pod.Status) {
		return Class{}
	}
	spec := &pod.Spec
	essence := v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Labels: pod.Labels},
		Spec: v1.PodSpec{
			NodeName: spec.NodeName, NodeSelector: spec.NodeSelector, Affinity: spec.Affinity, Tolerations: spec.Tolerations,
			TopologySpreadConstraints: spec.TopologySpreadConstraints, Overhead: spec.Overhead, Resources: spec.Resources,
			SchedulerName: spec.SchedulerName, Containers: essentials(spec.Containers), InitContainers: essentials(spec.InitContainers),
		},
	}
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		essence.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	for i := range spec.Volumes {
		switch volume := &spec.Volumes[i].VolumeSource; {
		case volume.Image != nil, volume.PersistentVolumeClaim != nil, volume.Ephemeral != nil:
			essence.Spec.Volumes = append(essence.Spec.Volumes, spec.Volumes[i])
		}
	}
	// Maps are written in the order of their keys.
	text, err := essence.Marshal()
	if err != nil {
		return Class{}
	}
	return unique.Make(string(text))
}

func essentials(containers []v1.Container) []v1.Container {
	if len(containers) == 0 {
		return nil
	}
	list := make([]v1.Container, len(containers))
	for i := range containers {
		c := &containers[i]
		list[i] = v1.Container{Image: c.Image, Resources: c.Resources, RestartPolicy: c.RestartPolicy}
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				list[i].Ports = append(list[i].Ports, port)
			}
		}
	}
	return list
}
