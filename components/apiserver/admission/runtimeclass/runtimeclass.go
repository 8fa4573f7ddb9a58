// Package runtimeclass gives pods what their runtime class says of overhead and scheduling.
// See https://kubernetes.io/docs/concepts/containers/runtime-class/.
package runtimeclass

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
)

// Name is the plugin's.
const Name = "RuntimeClass"

// Lookup finds a runtime class.
type Lookup func(ctx context.Context, namespace, name string) (*nodev1.RuntimeClass, error)

// Plugin implements admission.MutationInterface and admission.ValidationInterface.
type Plugin struct {
	*admission.Handler
	get Lookup
}

var (
	_ admission.MutationInterface   = &Plugin{}
	_ admission.ValidationInterface = &Plugin{}
)

// New finds classes by get.
func New(get Lookup) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create), get: get}
}

// classOf gives the pod of a request, and its class where it names one.
func (p *Plugin) classOf(ctx context.Context, a admission.Attributes) (*corev1.Pod, *nodev1.RuntimeClass, error) {
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok || a.GetSubresource() != "" || a.GetResource().GroupResource() != corev1.Resource("pods") {
		return nil, nil, nil
	}
	if pod.Spec.RuntimeClassName == nil {
		return pod, &nodev1.RuntimeClass{}, nil
	}
	class, err := p.get(ctx, "", *pod.Spec.RuntimeClassName)
	if apierrors.IsNotFound(err) {
		err = admission.NewForbidden(a, fmt.Errorf("pod rejected: RuntimeClass %q not found", *pod.Spec.RuntimeClassName))
	}
	return pod, class, err
}

// Admit adds the class's overhead, node selector and tolerations.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, class, err := p.classOf(ctx, a)
	if pod == nil || err != nil {
		return err
	}
	if class.Overhead != nil {
		if len(pod.Spec.Overhead) > 0 && !apiequality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
			return admission.NewForbidden(a, errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"))
		}
		pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	}
	if class.Scheduling != nil {
		return schedule(a, pod, class.Scheduling)
	}
	return nil
}

func schedule(a admission.Attributes, pod *corev1.Pod, scheduling *nodev1.Scheduling) error {
	selector := maps.Clone(scheduling.NodeSelector)
	for key, value := range pod.Spec.NodeSelector {
		if wanted, both := selector[key]; both && wanted != value {
			return admission.NewForbidden(a, fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, wanted, key, value))
		}
		if selector == nil {
			selector = map[string]string{}
		}
		selector[key] = value
	}
	pod.Spec.NodeSelector = selector
	for _, toleration := range scheduling.Tolerations {
		same := func(t corev1.Toleration) bool { return apiequality.Semantic.DeepEqual(t, toleration) }
		if !slices.ContainsFunc(pod.Spec.Tolerations, same) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, toleration)
		}
	}
	return nil
}

// Validate holds the overhead to what the class says.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, class, err := p.classOf(ctx, a)
	if pod == nil || err != nil {
		return err
	}
	if class.Overhead != nil {
		if !apiequality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
			return admission.NewForbidden(a, errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"))
		}
		return nil
	}
	if len(pod.Spec.Overhead) > 0 {
		return admission.NewForbidden(a, errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
	}
	return nil
}
