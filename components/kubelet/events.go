package kubelet

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// events records what happens to pods and to the node.
type events struct {
	recorder record.EventRecorder
	nodeName string
}

func newEvents(client kubernetes.Interface, nodeName string) *events {
	broadcaster := record.NewBroadcaster()
	if client != nil {
		broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	}
	return &events{
		recorder: broadcaster.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: nodeName}),
		nodeName: nodeName,
	}
}

// container records an event on a pod, or on a container of it if one is named.
func (e *events) container(pod *v1.Pod, container, eventType, reason, message string) {
	ref := &v1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
		FieldPath: fieldPath(pod, container),
	}
	klog.V(3).InfoS("Event", "pod", klog.KObj(pod), "container", container, "reason", reason, "message", message)
	e.recorder.Event(ref, eventType, reason, message)
}

// evicted records that a pod was ended, with figures that say why.
func (e *events) evicted(pod *v1.Pod, annotations map[string]string, reason, message string) {
	ref := &v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
	e.recorder.AnnotatedEventf(ref, annotations, v1.EventTypeWarning, reason, "%s", message)
}

// fieldPath says where in the pod's spec a container stands.
func fieldPath(pod *v1.Pod, name string) string {
	if name == "" {
		return ""
	}
	for _, c := range pod.Spec.InitContainers {
		if c.Name == name {
			return fmt.Sprintf("spec.initContainers{%s}", name)
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			return fmt.Sprintf("spec.ephemeralContainers{%s}", name)
		}
	}
	return fmt.Sprintf("spec.containers{%s}", name)
}

// node records an event on the node. Its uid is its name, as upstream has it.
func (e *events) node(eventType, reason, message string) {
	e.recorder.Event(&v1.ObjectReference{Kind: "Node", Name: e.nodeName, UID: types.UID(e.nodeName)}, eventType, reason, message)
}
