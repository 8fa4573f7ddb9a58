package runtime

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	kubelettypes "k8s.io/kubelet/pkg/types"
	"k8s.io/utils/dump"
)

// Annotations that a container carries so that a kubelet that finds it later knows
// what it was made from. Labels and keys are upstream's, so crictl and a swapped
// kubelet read them too.
const (
	annotationHash                     = "io.kubernetes.container.hash"
	annotationRestartCount             = "io.kubernetes.container.restartCount"
	annotationTerminationMessagePath   = "io.kubernetes.container.terminationMessagePath"
	annotationTerminationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy"
	annotationPreStop                  = "io.kubernetes.container.preStopHandler"
	annotationPorts                    = "io.kubernetes.container.ports"
	annotationPodDeletionGrace         = "io.kubernetes.pod.deletionGracePeriod"
	annotationPodTerminationGrace      = "io.kubernetes.pod.terminationGracePeriod"
)

// podIdentity are the labels that say which pod something belongs to.
func podIdentity(pod *v1.Pod) map[string]string {
	return map[string]string{
		kubelettypes.KubernetesPodNameLabel:      pod.Name,
		kubelettypes.KubernetesPodNamespaceLabel: pod.Namespace,
		kubelettypes.KubernetesPodUIDLabel:       string(pod.UID),
	}
}

func sandboxLabels(pod *v1.Pod) map[string]string {
	labels := make(map[string]string, len(pod.Labels)+3)
	maps.Copy(labels, pod.Labels)
	maps.Copy(labels, podIdentity(pod))
	return labels
}

func containerLabels(pod *v1.Pod, container *v1.Container) map[string]string {
	labels := podIdentity(pod)
	labels[kubelettypes.KubernetesContainerNameLabel] = container.Name
	return labels
}

func containerAnnotations(pod *v1.Pod, container *v1.Container, attempt uint32) map[string]string {
	out := map[string]string{
		annotationHash:                     SpecHash(container),
		annotationRestartCount:             strconv.FormatUint(uint64(attempt), 10),
		annotationTerminationMessagePath:   container.TerminationMessagePath,
		annotationTerminationMessagePolicy: string(container.TerminationMessagePolicy),
	}
	putInt := func(key string, value *int64) {
		if value != nil {
			out[key] = strconv.FormatInt(*value, 10)
		}
	}
	putInt(annotationPodDeletionGrace, pod.DeletionGracePeriodSeconds)
	putInt(annotationPodTerminationGrace, pod.Spec.TerminationGracePeriodSeconds)
	putJSON := func(key string, value any) {
		if raw, err := json.Marshal(value); err == nil {
			out[key] = string(raw)
		}
	}
	if container.Lifecycle != nil && container.Lifecycle.PreStop != nil {
		putJSON(annotationPreStop, container.Lifecycle.PreStop)
	}
	if len(container.Ports) > 0 {
		putJSON(annotationPorts, container.Ports)
	}
	return out
}

// SpecHash identifies those fields of a container's spec whose change means that it
// must be made anew.
func SpecHash(container *v1.Container) string {
	// Upstream's hash runs over a dump of this JSON; the same bytes let either
	// kubelet take over the other's containers.
	raw, _ := json.Marshal(map[string]string{"name": container.Name, "image": container.Image})
	h := fnv.New32a()
	fmt.Fprintf(h, "%v", dump.ForHash(raw))
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}

// PodOf says which pod a sandbox or container with these labels belongs to.
func PodOf(labels map[string]string) (uid types.UID, namespace, name string) {
	return types.UID(labels[kubelettypes.KubernetesPodUIDLabel]),
		labels[kubelettypes.KubernetesPodNamespaceLabel],
		labels[kubelettypes.KubernetesPodNameLabel]
}
