package preflight

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// findNodes finds the nodes that take ordinary pods. A cluster that was booted a moment
// ago may have nodes that are Ready and still bear the taint of those that are not.
func (c *Cluster) findNodes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	nodes := c.Client.CoreV1().Nodes()
	list, err := nodes.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("the cluster at %s does not list its nodes: the suite needs an administrator's kubeconfig: %w", c.Host, err)
	}
	known := map[string]*corev1.Node{}
	for i := range list.Items {
		known[list.Items[i].Name] = &list.Items[i]
	}
	if anySettling(known) {
		events, err := nodes.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			return fmt.Errorf("the cluster at %s does not show what becomes of its nodes: %w", c.Host, err)
		}
		defer events.Stop()
		for anySettling(known) {
			event, ok := <-events.ResultChan()
			if !ok {
				break // patience is at its end: they are taken as they are
			}
			if node, isNode := event.Object.(*corev1.Node); isNode && event.Type == watch.Deleted {
				delete(known, node.Name)
			} else if isNode {
				known[node.Name] = node
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if takesPods(known[name]) {
			c.Nodes = append(c.Nodes, name)
		}
	}
	if len(c.Nodes) == 0 {
		return fmt.Errorf("the cluster at %s has %d nodes, none of which is Ready and takes ordinary pods", c.Host, len(known))
	}
	return nil
}

func anySettling(nodes map[string]*corev1.Node) bool {
	for _, node := range nodes {
		if isReady(node) && slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady }) {
			return true
		}
	}
	return false
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func takesPods(node *corev1.Node) bool {
	return isReady(node) && !node.Spec.Unschedulable && !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return t.Effect != corev1.TaintEffectPreferNoSchedule
	})
}
