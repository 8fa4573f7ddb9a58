// Package nodeipam gives each node a part of the cluster's pod CIDRs the moment the node appears.
package nodeipam

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// workers assign in parallel, so that a thousand nodes do not wait for one another's requests.
const workers = 10

// Config is what node IPAM hands out.
type Config struct {
	// ClusterCIDRs are the pods' CIDRs, one per IP family, the primary family's first.
	ClusterCIDRs []netip.Prefix
	// ServiceCIDRs are kept free.
	ServiceCIDRs []netip.Prefix
	// MaskSizes are the prefix lengths of what a node gets of each of ClusterCIDRs.
	MaskSizes []int
}

// Controller is the node IPAM controller.
type Controller struct {
	env     *controller.Env
	sources controller.Sources
	nodes   corelisters.NodeLister
	queue   *controller.Queue[string]
	pools   []*pool

	mu sync.Mutex
	// held is what each node has, or is being given.
	held map[string][]netip.Prefix
}

// New makes the node IPAM controller.
func New(env *controller.Env, config Config) (controller.Controller, error) {
	c := &Controller{env: env, held: map[string][]netip.Prefix{}}
	for i, cidr := range config.ClusterCIDRs {
		p, err := newPool(cidr, config.MaskSizes[i])
		if err != nil {
			return nil, fmt.Errorf("--cluster-cidr, --node-cidr-mask-size: %w", err)
		}
		for _, services := range config.ServiceCIDRs {
			if services.Overlaps(cidr) {
				p.occupy(services)
			}
		}
		c.pools = append(c.pools, p)
	}
	nodes := env.Informers.Core().V1().Nodes()
	c.nodes = nodes.Lister()
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, nodes.Informer(), controller.Handlers[*corev1.Node]{
		Add: func(node *corev1.Node) { c.queue.Add(node.Name) },
		Update: func(old, node *corev1.Node) {
			if len(node.Spec.PodCIDRs) == 0 || len(old.Spec.PodCIDRs) == 0 {
				c.queue.Add(node.Name)
			}
		},
		Delete: func(node *corev1.Node) { c.queue.Add(node.Name) },
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "node-ipam-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if !c.sources.WaitForSync(ctx) {
		return nil
	}
	// What nodes have must be known before the first is given anything.
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, node := range nodes {
		c.learn(ctx, node)
	}
	c.queue.Run(ctx, workers)
	return nil
}

func (c *Controller) sync(ctx context.Context, name string) error {
	node, err := c.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		c.forget(name)
		return nil
	}
	if err != nil {
		return err
	}
	if len(node.Spec.PodCIDRs) > 0 {
		c.learn(ctx, node)
		return nil
	}
	prefixes, err := c.assign(name)
	if err != nil {
		ref := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: types.UID(node.Name)}
		c.env.Recorder.Eventf(ref, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", node.Name)
		return fmt.Errorf("node %s: %w", name, err)
	}
	cidrs := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		cidrs[i] = prefix.String()
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID},
		"spec":     map[string]any{"podCIDR": cidrs[0], "podCIDRs": cidrs},
	})
	if err != nil {
		return err
	}
	if _, err := c.env.Client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err // The node keeps what it holds; the next attempt offers the same.
	}
	klog.FromContext(ctx).Info("Assigned pod CIDRs", "node", name, "podCIDRs", cidrs)
	return nil
}

// learn notes what a node has already.
func (c *Controller) learn(ctx context.Context, node *corev1.Node) {
	var prefixes []netip.Prefix
	for _, cidr := range node.Spec.PodCIDRs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Node has a pod CIDR that does not parse", "node", node.Name)
			continue
		}
		prefixes = append(prefixes, prefix)
		for _, p := range c.pools {
			if p.cidr.Overlaps(prefix) {
				p.occupy(prefix)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(prefixes) > 0 {
		c.held[node.Name] = prefixes
	}
}

// assign returns what the node holds, or one subnet of each pool.
func (c *Controller) assign(name string) ([]netip.Prefix, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held := c.held[name]; len(held) > 0 {
		return held, nil
	}
	var taken []netip.Prefix
	for i, p := range c.pools {
		prefix, err := p.take()
		if err != nil {
			for j, earlier := range taken {
				c.pools[j].release(earlier)
			}
			return nil, fmt.Errorf("%s: %w", c.pools[i].cidr, err)
		}
		taken = append(taken, prefix)
	}
	c.held[name] = taken
	return taken, nil
}

func (c *Controller) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, prefix := range c.held[name] {
		for _, p := range c.pools {
			if p.cidr.Overlaps(prefix) {
				p.release(prefix)
			}
		}
	}
	delete(c.held, name)
	// Nodes that found the pools empty come back by their own back-off.
}
