// Package events records what happens to pods and to the node. An ordinary event waits while
// the kubelet works on pods, for a second at most: it costs the API server as much as a
// status does, and all pods that start meanwhile wait for their statuses.
// https://kubernetes.io/docs/reference/kubernetes-api/core/event-v1/
package events

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// Recorder records events as the kubelet's of one node.
type Recorder struct {
	recorder record.EventRecorder
	nodeName string
	work     work
}

// New returns a recorder that writes until ctx ends; without a client it only logs.
func New(ctx context.Context, client kubernetes.Interface, nodeName string) *Recorder {
	broadcaster := record.NewBroadcaster()
	r := &Recorder{
		recorder: broadcaster.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: nodeName}),
		nodeName: nodeName,
	}
	if client != nil {
		r.writeTo(ctx, broadcaster, &typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	}
	return r
}

// writeTo has both kinds of events written, each in its turn: no warning waits behind what is
// ordinary.
func (r *Recorder) writeTo(ctx context.Context, broadcaster record.EventBroadcaster, sink record.EventSink) {
	broadcaster.StartRecordingToSink(&part{ctx: ctx, sink: sink, kind: v1.EventTypeWarning, work: &work{}})
	broadcaster.StartRecordingToSink(&part{ctx: ctx, sink: sink, kind: v1.EventTypeNormal, work: &r.work})
}

// Working says that a pod is worked on until done is called.
func (r *Recorder) Working() (done func()) { return r.work.begin() }

// Container records an event on a pod, or on a container of it if one is named.
func (r *Recorder) Container(pod *v1.Pod, container, eventType, reason, message string) {
	ref := &v1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
		FieldPath: fieldPath(pod, container),
	}
	klog.V(3).InfoS("Event", "pod", klog.KObj(pod), "container", container, "reason", reason, "message", message)
	r.recorder.Event(ref, eventType, reason, message)
}

// Evicted records that a pod was ended, with figures that say why.
func (r *Recorder) Evicted(pod *v1.Pod, annotations map[string]string, reason, message string) {
	ref := &v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
	r.recorder.AnnotatedEventf(ref, annotations, v1.EventTypeWarning, reason, "%s", message)
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

// Node records an event on the node. Its uid is its name, as upstream has it.
func (r *Recorder) Node(eventType, reason, message string) {
	r.recorder.Event(&v1.ObjectReference{Kind: "Node", Name: r.nodeName, UID: types.UID(r.nodeName)}, eventType, reason, message)
}
