// Package tolerationseconds lets pods stay on a node that is not ready or cannot be reached for
// five minutes, unless they say otherwise.
// See https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions.
package tolerationseconds

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/ptr"
)

// Name is the plugin's.
const Name = "DefaultTolerationSeconds"

// Plugin implements admission.MutationInterface.
type Plugin struct {
	*admission.Handler
	// notReady and unreachable are the seconds that pods get.
	notReady, unreachable int64
}

var _ admission.MutationInterface = &Plugin{}

// New gives pods these seconds.
func New(notReady, unreachable int64) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update), notReady: notReady, unreachable: unreachable}
}

// Admit adds the tolerations that are missing.
func (p *Plugin) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok || a.GetSubresource() != "" || a.GetResource().GroupResource() != corev1.Resource("pods") {
		return nil
	}
	for _, taint := range []struct {
		key     string
		seconds int64
	}{{corev1.TaintNodeNotReady, p.notReady}, {corev1.TaintNodeUnreachable, p.unreachable}} {
		if !tolerates(pod, taint.key) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
				Key: taint.key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To(taint.seconds),
			})
		}
	}
	return nil
}

// tolerates says whether the pod has its own word on the taint; an empty key means every taint.
func tolerates(pod *corev1.Pod, key string) bool {
	for _, t := range pod.Spec.Tolerations {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
