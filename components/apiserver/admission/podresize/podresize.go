// Package podresize refuses to resize a pod beyond what its node could ever give it.
// See https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/.
package podresize

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Name is the plugin's.
const Name = "PodResizeValidator"

// The causes by which clients tell refusals apart.
const (
	NodeCapacity        metav1.CauseType = "NodeCapacity"
	UnsupportedPlatform metav1.CauseType = "UnsupportedPlatform"
)

// Lookup finds a node.
type Lookup func(ctx context.Context, namespace, name string) (*corev1.Node, error)

// Plugin implements admission.ValidationInterface.
type Plugin struct {
	*admission.Handler
	node Lookup
}

var _ admission.ValidationInterface = &Plugin{}

// New finds nodes by node.
func New(node Lookup) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Update), node: node}
}

// Validate compares what a resized pod asks for with what its node has for pods.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "resize" || a.GetResource().GroupResource() != corev1.Resource("pods") {
		return nil
	}
	pod, is := a.GetObject().(*corev1.Pod)
	old, was := a.GetOldObject().(*corev1.Pod)
	if !is || !was {
		return apierrors.NewBadRequest(fmt.Sprintf("expected a pod but got a %T", a.GetObject()))
	}
	if pod.Spec.NodeName == "" || pod.Generation == old.Generation {
		return nil
	}
	node, err := p.node(ctx, "", pod.Spec.NodeName)
	switch {
	case apierrors.IsNotFound(err):
		return admission.NewForbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	case err != nil:
		return admission.NewForbidden(a, fmt.Errorf("failed to get node %q: %w", pod.Spec.NodeName, err))
	}
	if os := node.Labels[corev1.LabelOSStable]; os != "" && os != "linux" {
		return refuse(a, UnsupportedPlatform, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, os))
	}
	return fits(a, pod, node.Status.Allocatable)
}

func fits(a admission.Attributes, pod *corev1.Pod, allocatable corev1.ResourceList) error {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	var short []string
	if asked, has := requests.Cpu(), allocatable.Cpu(); asked.Cmp(*has) > 0 {
		short = append(short, fmt.Sprintf("cpu, requested: %d, allocatable: %d", asked.MilliValue(), has.MilliValue()))
	}
	if asked, has := requests.Memory(), allocatable.Memory(); asked.Cmp(*has) > 0 {
		short = append(short, fmt.Sprintf("memory, requested: %d, allocatable: %d", asked.Value(), has.Value()))
	}
	if len(short) == 0 {
		return nil
	}
	return refuse(a, NodeCapacity, fmt.Errorf("node didn't have enough allocatable resources: %s", strings.Join(short, "; ")))
}

func refuse(a admission.Attributes, cause metav1.CauseType, reason error) error {
	err := admission.NewForbidden(a, reason)
	var status *apierrors.StatusError
	if errors.As(err, &status) && status.ErrStatus.Details != nil {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	}
	return err
}
