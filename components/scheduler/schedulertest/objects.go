// Package schedulertest makes pods, nodes and clusters for the tests of the scheduler's packages, and drives one plugin
// through a scheduling cycle.
package schedulertest

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod makes a pod in the namespace default with one container that requests nothing.
func Pod(name string, edits ...func(*v1.Pod)) *v1.Pod {
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)},
		Spec:       v1.PodSpec{SchedulerName: v1.DefaultSchedulerName, Containers: []v1.Container{{Name: "main", Image: "image"}}},
	}
	for _, edit := range edits {
		edit(pod)
	}
	return pod
}

// Requests sets what the pod's container requests.
func Requests(list map[v1.ResourceName]string) func(*v1.Pod) {
	return func(pod *v1.Pod) { pod.Spec.Containers[0].Resources.Requests = Resources(list) }
}

// CPU sets the CPU that the pod's container requests.
func CPU(amount string) func(*v1.Pod) {
	return Requests(map[v1.ResourceName]string{v1.ResourceCPU: amount})
}

// On binds the pod.
func On(node string) func(*v1.Pod) { return func(pod *v1.Pod) { pod.Spec.NodeName = node } }

// Priority sets the pod's priority.
func Priority(priority int32) func(*v1.Pod) {
	return func(pod *v1.Pod) { pod.Spec.Priority = &priority }
}

// Labels sets the pod's labels, given as key, value, key, value.
func Labels(pairs ...string) func(*v1.Pod) { return func(pod *v1.Pod) { pod.Labels = set(pairs) } }

// Tolerates adds a toleration.
func Tolerates(toleration v1.Toleration) func(*v1.Pod) {
	return func(pod *v1.Pod) { pod.Spec.Tolerations = append(pod.Spec.Tolerations, toleration) }
}

// Affinity sets the pod's affinity.
func Affinity(affinity v1.Affinity) func(*v1.Pod) {
	return func(pod *v1.Pod) { pod.Spec.Affinity = &affinity }
}

// Spread adds topology spread constraints.
func Spread(constraints ...v1.TopologySpreadConstraint) func(*v1.Pod) {
	return func(pod *v1.Pod) { pod.Spec.TopologySpreadConstraints = constraints }
}

// Node makes a node of 4 CPUs, 8 GiB and 110 pods whose hostname label is its name.
func Node(name string, edits ...func(*v1.Node)) *v1.Node {
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{v1.LabelHostname: name}}}
	Offers(map[v1.ResourceName]string{v1.ResourceCPU: "4", v1.ResourceMemory: "8Gi", v1.ResourcePods: "110"})(node)
	for _, edit := range edits {
		edit(node)
	}
	return node
}

// Offers sets the node's allocatable resources.
func Offers(list map[v1.ResourceName]string) func(*v1.Node) {
	return func(node *v1.Node) { node.Status.Allocatable = Resources(list) }
}

// Labelled adds labels, given as key, value, key, value.
func Labelled(pairs ...string) func(*v1.Node) {
	return func(node *v1.Node) {
		for key, value := range set(pairs) {
			node.Labels[key] = value
		}
	}
}

// Tainted adds a taint.
func Tainted(key string, effect v1.TaintEffect) func(*v1.Node) {
	return func(node *v1.Node) {
		node.Spec.Taints = append(node.Spec.Taints, v1.Taint{Key: key, Effect: effect})
	}
}

// Cordoned makes the node unschedulable.
func Cordoned(node *v1.Node) { node.Spec.Unschedulable = true }

// Resources parses amounts.
func Resources(list map[v1.ResourceName]string) v1.ResourceList {
	resources := v1.ResourceList{}
	for name, amount := range list {
		resources[name] = resource.MustParse(amount)
	}
	return resources
}

// Selects makes a label selector, given as key, value, key, value.
func Selects(pairs ...string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: set(pairs)}
}

func set(pairs []string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}
