package schedulerperf

import (
	"context"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	resourcehelper "k8s.io/component-helpers/resource"
)

// capacity finds pods that are bound to nodes that have no room for them: a scheduler
// that does not count is a fast one.
type capacity struct {
	ctx    context.Context
	client kubernetes.Interface
	fail   context.CancelCauseFunc
	// suspects are pods whose nodes must be looked at.
	suspects chan suspect
	ended    chan struct{}

	// mu covers what is read by the watch of pods and by the look at suspects.
	mu    sync.Mutex
	nodes map[string]*room
	pods  map[types.UID]*claim
}

// room is what a node has and what is used of it, in the resource's smallest unit.
type room struct {
	allocatable map[corev1.ResourceName]int64 // nil where it is not known
	used        map[corev1.ResourceName]int64
}

// claim is what a bound pod uses.
type claim struct {
	node     string
	requests map[corev1.ResourceName]int64
}

type suspect struct{ pod, node string }

func newCapacity(ctx context.Context, client kubernetes.Interface, fail context.CancelCauseFunc) *capacity {
	c := &capacity{
		ctx: ctx, client: client, fail: fail, suspects: make(chan suspect, 100), ended: make(chan struct{}),
		nodes: map[string]*room{}, pods: map[types.UID]*claim{},
	}
	go c.look()
	return c
}

// wait returns when nothing is looked at any more, the context having ended.
func (c *capacity) wait() { <-c.ended }

// amount is a quantity in its resource's smallest unit.
func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

func amounts(list corev1.ResourceList) map[corev1.ResourceName]int64 {
	all := map[corev1.ResourceName]int64{}
	for name, quantity := range list {
		all[name] = amount(name, quantity)
	}
	return all
}

// learn notes what a node has that was created here.
func (c *capacity) learn(node *corev1.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room(node.Name).allocatable = amounts(node.Status.Allocatable)
}

func (c *capacity) room(node string) *room {
	if c.nodes[node] == nil {
		c.nodes[node] = &room{used: map[corev1.ResourceName]int64{}}
	}
	return c.nodes[node]
}

// changed keeps the books, pod by pod in the order of their changes, so that a victim
// has left before the one that it made room for comes.
func (c *capacity) changed(pod *corev1.Pod, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone = gone || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	known := c.pods[pod.UID]
	switch {
	case gone && known != nil:
		c.count(known, -1)
		delete(c.pods, pod.UID)
	case !gone && known == nil && pod.Spec.NodeName != "":
		known = &claim{node: pod.Spec.NodeName, requests: amounts(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}))}
		known.requests[corev1.ResourcePods] = 1
		c.pods[pod.UID] = known
		c.count(known, 1)
		if node := c.nodes[known.node]; node.allocatable == nil || node.excess() != "" {
			select {
			case c.suspects <- suspect{pod.Namespace + "/" + pod.Name, known.node}:
			case <-c.ctx.Done():
			default: // enough are being looked at
			}
		}
	}
}

func (c *capacity) count(p *claim, step int64) {
	used := c.room(p.node).used
	for name, requested := range p.requests {
		used[name] += step * requested
	}
}

// excess says of which resource more is used than there is.
func (r *room) excess() string {
	var all []string
	for name, used := range r.used {
		if used > r.allocatable[name] {
			unit := ""
			if name == corev1.ResourceCPU {
				unit = "m"
			}
			all = append(all, fmt.Sprintf("%s: %d%s of %d%s", name, used, unit, r.allocatable[name], unit))
		}
	}
	return strings.Join(all, ", ")
}

// look asks the API server about suspects: a node may have grown since it was created.
func (c *capacity) look() {
	defer close(c.ended)
	for {
		select {
		case <-c.ctx.Done():
			return
		case s := <-c.suspects:
			node, err := c.client.CoreV1().Nodes().Get(c.ctx, s.node, metav1.GetOptions{})
			if apierrors.IsNotFound(err) || c.ctx.Err() != nil {
				continue // its pods go with it
			}
			if err != nil {
				c.fail(fmt.Errorf("look at node %s: %w", s.node, err))
				return
			}
			c.mu.Lock()
			room := c.room(s.node)
			room.allocatable = amounts(node.Status.Allocatable)
			excess := room.excess()
			c.mu.Unlock()
			if excess != "" {
				c.fail(outcomef("pod %s was bound to node %s, which is full: %s", s.pod, s.node, excess))
				return
			}
		}
	}
}
