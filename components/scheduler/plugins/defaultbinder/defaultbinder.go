// Package defaultbinder is the DefaultBinder plugin: it binds by POST to the pod's binding subresource.
package defaultbinder

import (
	"context"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
)

// Name of the plugin.
const Name = "DefaultBinder"

// DefaultBinder binds pods.
type DefaultBinder struct{ handle fwk.Handle }

var _ fwk.BindPlugin = DefaultBinder{}

// New makes the plugin.
func New(_ context.Context, _ runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	return DefaultBinder{handle}, nil
}

// Name returns the plugin's name.
func (DefaultBinder) Name() string { return Name }

// Bind binds the pod to the node.
func (b DefaultBinder) Bind(ctx context.Context, _ fwk.CycleState, pod *v1.Pod, node string) *fwk.Status {
	return fwk.AsStatus(b.handle.ClientSet().CoreV1().Pods(pod.Namespace).Bind(ctx, Binding(pod, node), metav1.CreateOptions{}))
}

// Binding is the object that binds the pod; its UID keeps it off a later pod of the same name.
func Binding(pod *v1.Pod, node string) *v1.Binding {
	return &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     v1.ObjectReference{Kind: "Node", Name: node},
	}
}
