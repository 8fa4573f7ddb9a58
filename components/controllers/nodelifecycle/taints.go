package nodelifecycle

import (
	"context"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// trouble is a state of a condition that taints the node.
type trouble struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	taint     string
}

// troubles lists what taints a node. https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-nodes-by-condition
func troubles() []trouble {
	return []trouble{
		{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
		{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
		{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
		{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
		{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
		{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
	}
}

// managed tells whether the taint is this controller's to set and to lift.
func managed(taint corev1.Taint, effect corev1.TaintEffect) bool {
	if taint.Effect != effect {
		return false
	}
	if effect == corev1.TaintEffectNoExecute {
		return taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable
	}
	return taint.Key == corev1.TaintNodeUnschedulable ||
		slices.ContainsFunc(troubles(), func(t trouble) bool { return t.taint == taint.Key })
}

func withoutManaged(taints []corev1.Taint, effect corev1.TaintEffect) []corev1.Taint {
	return slices.DeleteFunc(slices.Clone(taints), func(t corev1.Taint) bool { return managed(t, effect) })
}

// noScheduleTaints are the taints that a node's conditions and spec.unschedulable call for.
func noScheduleTaints(node *corev1.Node) []corev1.Taint {
	var taints []corev1.Taint
	for _, t := range troubles() {
		if now := condition(node, t.condition); now != nil && now.Status == t.status {
			taints = append(taints, corev1.Taint{Key: t.taint, Effect: corev1.TaintEffectNoSchedule})
		}
	}
	if node.Spec.Unschedulable {
		taints = append(taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	return taints
}

// noExecuteTaint is the taint that drives pods off a node in that state of readiness, nil if it is ready.
func noExecuteTaint(ready corev1.ConditionStatus) *corev1.Taint {
	switch ready {
	case corev1.ConditionFalse:
		return &corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}
	case corev1.ConditionUnknown:
		return &corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}
	}
	return nil
}

// setTaints makes the node's taints what is wanted; those that stay keep the time they were added.
func (c *Controller) setTaints(ctx context.Context, node *corev1.Node, wanted []corev1.Taint) error {
	now := metav1.NewTime(c.env.Clock.Now())
	changed := len(wanted) != len(node.Spec.Taints)
	for i := range wanted {
		old := slices.IndexFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&wanted[i]) && t.Value == wanted[i].Value })
		if old >= 0 {
			wanted[i].TimeAdded = node.Spec.Taints[old].TimeAdded
			continue
		}
		changed = true
		wanted[i].TimeAdded = &now
	}
	if !changed {
		return nil
	}
	if wanted == nil {
		wanted = []corev1.Taint{}
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID, "resourceVersion": node.ResourceVersion},
		"spec":     map[string]any{"taints": wanted},
	})
	if err != nil {
		return err
	}
	_, err = c.env.Client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		klog.FromContext(ctx).V(1).Info("Changed taints", "node", node.Name, "taints", wanted)
	}
	return err
}
