// Package tainteviction deletes pods that do not, or no longer, tolerate a NoExecute taint of their node.
// https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions
package tainteviction

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	tolerationcheck "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podcontrol"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

const workers = 8

// Controller is the taint eviction controller.
type Controller struct {
	env     *controller.Env
	sources controller.Sources
	nodes   corelisters.NodeLister
	pods    cache.Indexer
	control podcontrol.Control
	queue   *controller.Queue[controller.Key]

	mu sync.Mutex
	// since is when a pod was first seen under taints that it tolerates only for a time.
	since map[types.UID]time.Time
}

// New makes the taint eviction controller.
func New(env *controller.Env) (controller.Controller, error) {
	nodes := env.Informers.Core().V1().Nodes()
	pods := env.Informers.Core().V1().Pods().Informer()
	if err := podstate.IndexByNode(pods); err != nil {
		return nil, err
	}
	c := &Controller{
		env: env, nodes: nodes.Lister(), pods: pods.GetIndexer(),
		control: podcontrol.Control{Client: env.Client, Recorder: env.Recorder},
		since:   map[types.UID]time.Time{},
	}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, nodes.Informer(), controller.Handlers[*corev1.Node]{
		Add: func(node *corev1.Node) {
			if len(noExecute(node)) > 0 {
				c.wakeAll(node.Name)
			}
		},
		Update: func(old, node *corev1.Node) {
			if !equality.Semantic.DeepEqual(noExecute(old), noExecute(node)) {
				c.wakeAll(node.Name)
			}
		},
	})
	controller.Watch(&c.sources, pods, controller.Handlers[*corev1.Pod]{
		Add: func(pod *corev1.Pod) { c.wake(pod) },
		Update: func(old, pod *corev1.Pod) {
			if old.Spec.NodeName != pod.Spec.NodeName || !equality.Semantic.DeepEqual(old.Spec.Tolerations, pod.Spec.Tolerations) {
				c.wake(pod)
			}
		},
		Delete: func(pod *corev1.Pod) { c.forget(pod.UID) },
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "taint-eviction-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, workers)
	}
	return nil
}

func (c *Controller) wake(pod *corev1.Pod) {
	if pod.Spec.NodeName != "" {
		c.queue.Add(cache.MetaObjectToName(pod))
	}
}

func (c *Controller) wakeAll(node string) {
	pods, err := podstate.OnNode(c.pods, node)
	if err != nil {
		return
	}
	for _, pod := range pods {
		c.wake(pod)
	}
}

func noExecute(node *corev1.Node) []corev1.Taint {
	var taints []corev1.Taint
	for _, taint := range node.Spec.Taints {
		if taint.Effect == corev1.TaintEffectNoExecute {
			taints = append(taints, taint)
		}
	}
	return taints
}

// patience is how long the pod puts up with the taints: forever, for a time, or not at all (0).
func patience(logger klog.Logger, taints []corev1.Taint, tolerations []corev1.Toleration) (limit time.Duration, forever bool) {
	forever = true
	for i := range taints {
		tolerated := false
		for _, toleration := range tolerations {
			if !tolerationcheck.TolerationsTolerateTaint(logger, []corev1.Toleration{toleration}, &taints[i], true) {
				continue
			}
			tolerated = true
			if toleration.TolerationSeconds == nil {
				continue
			}
			seconds := time.Duration(max(0, *toleration.TolerationSeconds)) * time.Second
			if forever || seconds < limit {
				limit, forever = seconds, false
			}
		}
		if !tolerated {
			return 0, false
		}
	}
	return limit, forever
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	obj, exists, err := c.pods.GetByKey(key.String())
	if err != nil || !exists {
		return err
	}
	pod := obj.(*corev1.Pod)
	if pod.DeletionTimestamp != nil {
		c.forget(pod.UID)
		return nil
	}
	node, err := c.nodes.Get(pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return nil // The pod garbage collector's.
	}
	if err != nil {
		return err
	}
	limit, forever := patience(klog.FromContext(ctx), noExecute(node), pod.Spec.Tolerations)
	if forever {
		if c.forget(pod.UID) {
			c.env.Recorder.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s", key)
		}
		return nil
	}
	now := c.env.Clock.Now()
	if left := limit - now.Sub(c.startedAt(pod.UID, now)); left > 0 {
		c.queue.AddAfter(key, left)
		return nil
	}
	return c.evict(ctx, pod)
}

func (c *Controller) startedAt(uid types.UID, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.since[uid]; ok {
		return at
	}
	c.since[uid] = now
	return now
}

// forget returns whether the pod's time was running.
func (c *Controller) forget(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, was := c.since[uid]
	delete(c.since, uid)
	return was
}

func (c *Controller) evict(ctx context.Context, pod *corev1.Pod) error {
	c.env.Recorder.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	err := c.control.Disrupt(ctx, pod, corev1.PodCondition{
		Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint",
		LastTransitionTime: metav1.NewTime(c.env.Clock.Now()),
	}, false)
	if err == nil {
		err = c.env.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return err
	}
	c.forget(pod.UID)
	return nil
}
