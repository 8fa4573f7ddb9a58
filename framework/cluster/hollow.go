package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	hollow "github.com/plumbline/plumbline/framework/hollow/v1alpha1"
	"github.com/plumbline/plumbline/framework/launch"
)

const (
	hollowConfigFile = "/etc/kubernetes/hollow.yaml"
	hollowHealth     = "127.0.0.1:10270"
)

// hollowPart is the program that simulates the hollow nodes. They have no machines: it
// runs beside the control plane.
func hollowPart() part {
	return part{
		name: Hollow,
		args: []string{
			"--kubeconfig=" + fmt.Sprintf(confFormat, "hollow"),
			"--config=" + hollowConfigFile,
			"--healthz-bind-address=" + hollowHealth,
		},
		ready: &launch.Probe{URL: "http://" + hollowHealth + "/healthz"},
	}
}

// describeHollow adds the description of the hollow nodes to a machine's files.
func (c *Cluster) describeHollow(files map[string]string) error {
	spec := c.spec.Spec.Hollow
	if spec == nil {
		return nil
	}
	text, err := yaml.Marshal(hollow.HollowNodes{APIVersion: hollow.APIVersion, Kind: hollow.Kind, Spec: *spec})
	if err != nil {
		return fmt.Errorf("describe the hollow nodes: %w", err)
	}
	files[hollowConfigFile] = string(text)
	return nil
}

// hollowCount is the number of hollow nodes that the cluster was described with.
func (c *Cluster) hollowCount() int {
	if c.spec.Spec.Hollow == nil || c.spec.Spec.Components[Hollow].Disabled {
		return 0
	}
	return c.spec.Spec.Hollow.Total()
}

// hollowTimeout is what the boot may take longer for a number of hollow nodes.
func hollowTimeout(count int) time.Duration {
	const each = 40 * time.Millisecond
	return time.Duration(count) * each
}

// WaitHollowReady returns when a number of hollow nodes are Ready.
func (c *Cluster) WaitHollowReady(ctx context.Context, count int) error {
	ready := map[string]bool{}
	for len(ready) < count {
		err := c.followHollow(ctx, ready, count)
		if len(ready) >= count {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d hollow nodes are Ready: %w", len(ready), count, ctx.Err())
		case <-time.After(apiRetry):
			_ = err // The next attempt tells whether it lasts.
		}
	}
	return nil
}

// followHollow keeps count of the hollow nodes that are Ready, until they are as many as
// that, or the watch ends.
func (c *Cluster) followHollow(ctx context.Context, ready map[string]bool, count int) error {
	nodes := c.client.CoreV1().Nodes()
	list, err := nodes.List(ctx, metav1.ListOptions{LabelSelector: hollow.Label})
	if err != nil {
		return err
	}
	clear(ready)
	note := func(node *corev1.Node, exists bool) {
		delete(ready, node.Name)
		for _, condition := range node.Status.Conditions {
			if exists && condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				ready[node.Name] = true
			}
		}
	}
	for i := range list.Items {
		note(&list.Items[i], true)
	}
	if len(ready) >= count {
		return nil
	}
	watcher, err := nodes.Watch(ctx, metav1.ListOptions{LabelSelector: hollow.Label, ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if node, ok := event.Object.(*corev1.Node); ok {
			note(node, event.Type != watch.Deleted)
		}
		if len(ready) >= count {
			return nil
		}
	}
	return ctx.Err()
}
