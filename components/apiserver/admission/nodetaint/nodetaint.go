// Package nodetaint keeps pods off a new node until it is known to be ready.
package nodetaint

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
)

// Name is the plugin's.
const Name = "TaintNodesByCondition"

// Plugin implements admission.MutationInterface.
type Plugin struct{ *admission.Handler }

var _ admission.MutationInterface = &Plugin{}

// New taints new nodes.
func New() *Plugin { return &Plugin{admission.NewHandler(admission.Create)} }

// Admit adds the not-ready taint. Without it a pod could be sent to a node in the moment before the
// node's controller sees it.
func (p *Plugin) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	node, ok := a.GetObject().(*corev1.Node)
	if !ok || a.GetSubresource() != "" || a.GetResource().GroupResource() != corev1.Resource("nodes") {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
		node.Spec.Taints = append(node.Spec.Taints, taint)
	}
	return nil
}
