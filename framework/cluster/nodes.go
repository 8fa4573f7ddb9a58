package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

// AddNode adds a node to the running cluster and returns when it is Ready.
func (c *Cluster) AddNode(ctx context.Context, spec v1alpha1.Machine) error {
	c.mu.Lock()
	place := c.nodes
	c.nodes++
	c.mu.Unlock()
	if spec.Name == "" {
		spec.Name = fmt.Sprintf("node-%d", place+1)
	}
	alone := v1alpha1.New("", 0)
	alone.Spec.Nodes = []v1alpha1.Machine{spec}
	alone.Default()
	if err := alone.Validate(); err != nil {
		return err
	}
	if c.host(spec.Name) != nil {
		return fmt.Errorf("cluster %q has a machine %q already", c.Name(), spec.Name)
	}
	if err := os.RemoveAll(c.machineDirectory(spec.Name)); err != nil {
		return err
	}
	if err := c.startNode(ctx, spec, place); err != nil {
		return errors.Join(err, c.KillMachine(spec.Name))
	}
	ctx, cancel := context.WithTimeout(ctx, bootTimeout())
	defer cancel()
	return c.WaitNodesReady(ctx, spec.Name)
}

// RemoveNode ends a node's machine and removes its Node object. With the object of a
// hollow node it is all gone.
func (c *Cluster) RemoveNode(ctx context.Context, name string) error {
	if name == v1alpha1.ControlPlaneName || c.host(name) == nil {
		if c.spec.Spec.Hollow != nil && c.spec.Spec.Hollow.Has(name) {
			return c.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
		}
		return fmt.Errorf("cluster %q has no node %q", c.Name(), name)
	}
	if err := c.KillMachine(name); err != nil {
		return err
	}
	if err := os.RemoveAll(c.machineDirectory(name)); err != nil {
		return err
	}
	err := c.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// KillMachine ends a machine outright, as a power cut would. Its Node object stays,
// for the cluster to notice; a new node may take the name.
func (c *Cluster) KillMachine(name string) error {
	c.mu.Lock()
	h := c.hosts[name]
	delete(c.hosts, name)
	c.mu.Unlock()
	if h == nil {
		return nil
	}
	return h.stop()
}

// apiRetry is the pause before asking an API server again that does not answer (yet).
const apiRetry = 10 * time.Millisecond

// WaitNodesReady returns when the named nodes are Ready.
func (c *Cluster) WaitNodesReady(ctx context.Context, names ...string) error {
	waiting := map[string]string{}
	for _, name := range names {
		waiting[name] = "not registered"
	}
	for len(waiting) > 0 {
		err := c.followNodes(ctx, waiting)
		if len(waiting) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			var reasons []string
			for name, reason := range waiting {
				reasons = append(reasons, name+": "+reason)
			}
			return fmt.Errorf("nodes are not Ready (%s): %w", strings.Join(reasons, "; "), errors.Join(ctx.Err(), err))
		case <-time.After(apiRetry):
		}
	}
	return nil
}

// followNodes strikes off the nodes that are Ready, until none waits or the watch ends.
func (c *Cluster) followNodes(ctx context.Context, waiting map[string]string) error {
	nodes := c.client.CoreV1().Nodes()
	list, err := nodes.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		strikeOff(waiting, &list.Items[i])
	}
	if len(waiting) == 0 {
		return nil
	}
	watcher, err := nodes.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if node, ok := event.Object.(*corev1.Node); ok && event.Type != watch.Deleted {
			strikeOff(waiting, node)
		}
		if len(waiting) == 0 {
			return nil
		}
	}
	return ctx.Err()
}

func strikeOff(waiting map[string]string, node *corev1.Node) {
	if _, waits := waiting[node.Name]; !waits {
		return
	}
	waiting[node.Name] = "has no condition Ready"
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status == corev1.ConditionTrue {
			delete(waiting, node.Name)
			return
		}
		waiting[node.Name] = condition.Reason + ": " + condition.Message
	}
}
