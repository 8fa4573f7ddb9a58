package nodelifecycle

import (
	"context"
	"encoding/json"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/controllers/podcontrol"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

// signs is what was last heard of a node. Only that something changed counts, and when this controller saw it: a
// node's clock may be wrong.
type signs struct {
	heartbeat metav1.Time
	renewed   metav1.MicroTime
	at        time.Time
	ready     corev1.ConditionStatus
}

// silence judges what was heard of a node so far: it takes in the node's present signs and returns for how long the
// node has been silent beyond the grace period, which is not positive while it is fine.
func (c *Controller) silence(node *corev1.Node, lease *coordinationv1.Lease, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.heard[node.Name]
	if s == nil {
		s = &signs{at: now}
		if condition(node, corev1.NodeReady) == nil {
			s.at = node.CreationTimestamp.Time
		}
		c.heard[node.Name] = s
	}
	grace := c.config.StartupGracePeriod
	if ready := condition(node, corev1.NodeReady); ready != nil {
		grace = c.config.GracePeriod
		if !ready.LastHeartbeatTime.Equal(&s.heartbeat) || (ready.Status != s.ready && ready.Status != corev1.ConditionUnknown) {
			if !s.heartbeat.IsZero() || ready.Status != corev1.ConditionUnknown {
				s.at = now
			}
			s.heartbeat = ready.LastHeartbeatTime
		}
		s.ready = ready.Status
	}
	if lease != nil && lease.Spec.RenewTime != nil && s.renewed.Before(lease.Spec.RenewTime) {
		s.renewed = *lease.Spec.RenewTime
		s.at = now
	}
	return now.Sub(s.at) - grace
}

// examineAll looks at every node's signs of life and decides which are due for eviction.
func (c *Controller) examineAll(ctx context.Context) {
	nodes, err := c.all()
	if err != nil {
		return
	}
	states := make([]nodeState, len(nodes))
	podcontrol.Parallel(len(nodes), func(i int) error {
		ready, err := c.examine(ctx, nodes[i])
		if err != nil {
			klog.FromContext(ctx).Error(err, "Cannot write node status", "node", nodes[i].Name)
		}
		states[i] = nodeState{name: nodes[i].Name, zone: zoneOf(nodes[i]), ready: ready}
		return nil
	})
	if entered, left := c.zones.assess(states, c.env.Clock.Now()); entered {
		klog.FromContext(ctx).Info("No node is ready: nobody is evicted, the trouble is rather here")
		for _, node := range nodes {
			_ = c.setTaints(ctx, node, withoutManaged(node.Spec.Taints, corev1.TaintEffectNoExecute))
		}
	} else if left {
		klog.FromContext(ctx).Info("Some node is ready again: evictions go on")
		c.restartClocks()
	}
}

func (c *Controller) restartClocks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.heard {
		s.at = c.env.Clock.Now()
	}
}

// examine declares a node unknown if it has been silent for too long, and its pods unready when the node stops being
// ready. It returns the node's readiness.
func (c *Controller) examine(ctx context.Context, node *corev1.Node) (corev1.ConditionStatus, error) {
	now := c.env.Clock.Now()
	var lease *coordinationv1.Lease
	if obj, exists, err := c.leases.GetByKey(corev1.NamespaceNodeLease + "/" + node.Name); err == nil && exists {
		lease = obj.(*coordinationv1.Lease)
	}
	ready := corev1.ConditionUnknown
	if before := condition(node, corev1.NodeReady); before != nil {
		ready = before.Status
	}
	if c.silence(node, lease, now) > 0 {
		updated := node.DeepCopy()
		declareUnknown(updated, metav1.NewTime(now))
		if !equality.Semantic.DeepEqual(node.Status.Conditions, updated.Status.Conditions) {
			_, err := c.env.Client.CoreV1().Nodes().UpdateStatus(ctx, updated, metav1.UpdateOptions{})
			if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
				return ready, nil // The next look decides.
			}
			if err != nil {
				return ready, err
			}
			if ready == corev1.ConditionTrue {
				c.tellNotReady(node)
			}
		}
		ready = corev1.ConditionUnknown
	}
	if ready != corev1.ConditionTrue {
		return ready, c.markPodsUnready(ctx, node, now)
	}
	return ready, nil
}

func (c *Controller) tellNotReady(node *corev1.Node) {
	// The node's name stands in for its UID, as in the kubelet's own events: that is how describe finds them.
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: types.UID(node.Name)}
	c.env.Recorder.Eventf(about, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: %s", node.Name, "NodeNotReady")
}

// declareUnknown sets the conditions that the kubelet would report to Unknown.
func declareUnknown(node *corev1.Node, now metav1.Time) {
	for _, kind := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		old := condition(node, kind)
		if old == nil {
			node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{
				Type: kind, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: now,
			})
			continue
		}
		if old.Status != corev1.ConditionUnknown {
			old.Status, old.Reason, old.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			old.LastTransitionTime = now
		}
	}
}

// markPodsUnready takes a node's pods out of their Services.
func (c *Controller) markPodsUnready(ctx context.Context, node *corev1.Node, now time.Time) error {
	pods, err := podstate.OnNode(c.pods, node.Name)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if !podstate.Ready(pod) {
			continue
		}
		unready := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(now), ObservedGeneration: pod.Generation}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{"conditions": []corev1.PodCondition{unready}}})
		if err != nil {
			return err
		}
		_, err = c.env.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
		c.env.Recorder.Event(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	}
	return nil
}

// evictDue taints the nodes whose turn it is.
func (c *Controller) evictDue(ctx context.Context) {
	for _, due := range c.zones.due(c.env.Clock.Now()) {
		node, err := c.nodes.Get(due.name)
		if err != nil {
			continue
		}
		taint := noExecuteTaint(due.ready)
		if taint == nil {
			continue
		}
		wanted := append(withoutManaged(node.Spec.Taints, corev1.TaintEffectNoExecute), *taint)
		if err := c.setTaints(ctx, node, wanted); err != nil {
			klog.FromContext(ctx).V(2).Info("Will taint again", "node", node.Name, "err", err)
			c.zones.retry(due)
		}
	}
}
