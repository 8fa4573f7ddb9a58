package environment

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Addresses are a pod's and its host's, each with the primary one first.
type Addresses struct {
	Pod, Host []string
}

// Field answers a fieldRef of the downward API.
// See https://kubernetes.io/docs/concepts/workloads/pods/downward-api/.
func Field(pod *v1.Pod, addresses Addresses, path string) (string, error) {
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return listing(pod.Labels), nil
	case "metadata.annotations":
		return listing(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(addresses.Host), nil
	case "status.hostIPs":
		return strings.Join(addresses.Host, ","), nil
	case "status.podIP":
		return first(addresses.Pod), nil
	case "status.podIPs":
		return strings.Join(addresses.Pod, ","), nil
	}
	if of, key, ok := subscript(path); ok {
		switch of {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

// subscript splits a['b'] into a and b.
func subscript(path string) (of, key string, ok bool) {
	of, rest, ok := strings.Cut(path, "['")
	if !ok {
		return "", "", false
	}
	key, ok = strings.CutSuffix(rest, "']")
	return of, key, ok
}

// listing shows a map as downward API files do: sorted lines of key="value".
func listing(m map[string]string) string {
	var out strings.Builder
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(key + "=" + strconv.Quote(m[key]))
	}
	return out.String()
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// Resource answers a resourceFieldRef: a container's request or limit, in units of
// the divisor and rounded up. A limit that is not set is what the node has to give.
func Resource(pod *v1.Pod, container *v1.Container, ref *v1.ResourceFieldSelector, allocatable v1.ResourceList) (string, error) {
	if ref.ContainerName != "" {
		named := findContainer(pod, ref.ContainerName)
		if named == nil {
			return "", fmt.Errorf("container %s not found", ref.ContainerName)
		}
		container = named
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	var quantity resource.Quantity
	switch kind {
	case "limits":
		quantity = limitOf(pod, container, v1.ResourceName(name), allocatable)
	case "requests":
		var ok bool
		if quantity, ok = container.Resources.Requests[v1.ResourceName(name)]; !ok {
			quantity = container.Resources.Limits[v1.ResourceName(name)]
		}
	default:
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(v1.ResourceCPU) {
		return strconv.FormatInt(ceilDiv(quantity.MilliValue(), divisor.MilliValue()), 10), nil
	}
	return strconv.FormatInt(ceilDiv(quantity.Value(), divisor.Value()), 10), nil
}

func limitOf(pod *v1.Pod, container *v1.Container, name v1.ResourceName, allocatable v1.ResourceList) resource.Quantity {
	if q, ok := container.Resources.Limits[name]; ok && !q.IsZero() {
		return q
	}
	if pod.Spec.Resources != nil {
		if q, ok := pod.Spec.Resources.Limits[name]; ok && !q.IsZero() {
			return q
		}
	}
	return allocatable[name]
}

func ceilDiv(n, by int64) int64 {
	if by <= 0 {
		return n
	}
	return (n + by - 1) / by
}

func findContainer(pod *v1.Pod, name string) *v1.Container {
	for _, list := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
