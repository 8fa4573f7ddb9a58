// Package topologylabels writes the zone and the region of a pod's node into the pod's labels, where
// the downward API can read them.
// See https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#podtopologylabels.
package topologylabels

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
)

// Name is the plugin's.
const Name = "PodTopologyLabels"

// Plugin implements admission.MutationInterface.
type Plugin struct {
	*admission.Handler
	node func(ctx context.Context, namespace, name string) (*corev1.Node, error)
}

var _ admission.MutationInterface = &Plugin{}

// New labels pods that are created on a node or bound to one.
func New(node func(ctx context.Context, namespace, name string) (*corev1.Node, error)) *Plugin {
	return &Plugin{admission.NewHandler(admission.Create), node}
}

// Admit adds the labels. Those of a binding go into its pod when it is stored.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	switch resource, subresource := a.GetResource().GroupResource(), a.GetSubresource(); {
	case resource == corev1.Resource("pods") && subresource == "", resource == corev1.Resource("pods") && subresource == "binding",
		resource == corev1.Resource("bindings") && subresource == "":
	default:
		return nil
	}
	switch object := a.GetObject().(type) {
	case *corev1.Binding:
		if object.Target.Kind == "Node" {
			return p.label(ctx, &object.Labels, object.Target.Name)
		}
	case *corev1.Pod:
		if object.Spec.NodeName != "" {
			return p.label(ctx, &object.Labels, object.Spec.NodeName)
		}
	}
	return nil
}

// label does nothing for a node that is not there: pods may be created before it.
func (p *Plugin) label(ctx context.Context, labels *map[string]string, name string) error {
	node, err := p.node(ctx, "", name)
	if err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	for _, key := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
		value, ok := node.Labels[key]
		if !ok {
			continue
		}
		if *labels == nil {
			*labels = map[string]string{}
		}
		(*labels)[key] = value
	}
	return nil
}
