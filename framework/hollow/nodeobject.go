package hollow

import (
	"runtime"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/version"

	"github.com/plumbline/plumbline/framework/hollow/v1alpha1"
)

// kubeletPort is where kubelets listen; nobody does on a hollow node.
const kubeletPort = 10250

// object is a node as it registers itself. The caller holds mu.
func (f *Fleet) object(n *node, now metav1.Time) *corev1.Node {
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{
		corev1.LabelHostname:           n.name,
		corev1.LabelOSStable:           runtime.GOOS,
		corev1.LabelArchStable:         runtime.GOARCH,
		"beta.kubernetes.io/os":        runtime.GOOS,
		"beta.kubernetes.io/arch":      runtime.GOARCH,
		corev1.LabelInstanceTypeStable: "hollow",
		"type":                         "hollow",
		v1alpha1.Label:                 "true",
	}}}
	// The controllers' own ranges are for nodes that run pods: one that has a range gets none.
	o.Spec.PodCIDR = n.subnet.prefix().String()
	o.Spec.PodCIDRs = []string{o.Spec.PodCIDR}
	if n.group != nil {
		for key, values := range n.group.Labels {
			o.Labels[key] = values[n.number%len(values)]
		}
		o.Spec.Taints = n.group.Taints
		o.Status.Capacity, o.Status.Allocatable = n.group.Capacity, n.group.Capacity
	}
	o.Status.Conditions = conditions(now)
	o.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: n.subnet.own().String()},
		{Type: corev1.NodeHostName, Address: n.name},
	}
	o.Status.DaemonEndpoints.KubeletEndpoint.Port = kubeletPort
	o.Status.NodeInfo = corev1.NodeSystemInfo{
		KubeletVersion: version.Get().GitVersion, OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
		OSImage: "hollow", KernelVersion: "hollow", ContainerRuntimeVersion: "hollow://0",
	}
	return o
}

// conditions are those of a node that is well.
func conditions(now metav1.Time) []corev1.NodeCondition {
	well := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	return []corev1.NodeCondition{
		well(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		well(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		well(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		well(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "hollow node is posting ready status"),
	}
}

// reported is the part of a status that is sent again.
type reported struct {
	Conditions      []report                    `json:"conditions"`
	Addresses       []corev1.NodeAddress        `json:"addresses,omitempty"`
	NodeInfo        *corev1.NodeSystemInfo      `json:"nodeInfo,omitempty"`
	DaemonEndpoints *corev1.NodeDaemonEndpoints `json:"daemonEndpoints,omitempty"`
	Capacity        corev1.ResourceList         `json:"capacity,omitempty"`
	Allocatable     corev1.ResourceList         `json:"allocatable,omitempty"`
}

// report is a condition that may leave the time of its last transition as it is.
type report struct {
	Type               corev1.NodeConditionType `json:"type"`
	Status             corev1.ConditionStatus   `json:"status"`
	Reason             string                   `json:"reason"`
	Message            string                   `json:"message"`
	LastHeartbeatTime  metav1.Time              `json:"lastHeartbeatTime"`
	LastTransitionTime *metav1.Time             `json:"lastTransitionTime,omitempty"`
}

func reports(conditions []corev1.NodeCondition, changed bool) []report {
	var list []report
	for _, c := range conditions {
		r := report{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message, LastHeartbeatTime: c.LastHeartbeatTime}
		if changed {
			r.LastTransitionTime = &c.LastTransitionTime
		}
		list = append(list, r)
	}
	return list
}

func isReady(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
