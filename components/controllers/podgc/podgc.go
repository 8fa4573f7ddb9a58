// Package podgc deletes pods that nobody else will: those of nodes that no longer exist, those deleted before they were
// placed, those of nodes taken out of service, and the oldest of too many ended ones.
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection
package podgc

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podcontrol"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

const (
	period = 20 * time.Second
	// quarantine is how long a node must be missing: a kubelet whose node object was deleted registers again.
	quarantine = 40 * time.Second
)

// Controller is the pod garbage collector.
type Controller struct {
	env       *controller.Env
	threshold int
	sources   controller.Sources
	pods      corelisters.PodLister
	nodes     corelisters.NodeLister
	control   podcontrol.Control
	// missing is since when a node that pods are bound to has been missing.
	missing map[string]time.Time
}

// New makes the pod garbage collector. threshold is how many ended pods may exist; 0 or less: any number.
func New(env *controller.Env, threshold int) (controller.Controller, error) {
	pods, nodes := env.Informers.Core().V1().Pods(), env.Informers.Core().V1().Nodes()
	c := &Controller{
		env: env, threshold: threshold, pods: pods.Lister(), nodes: nodes.Lister(),
		control: podcontrol.Control{Client: env.Client, Recorder: env.Recorder},
		missing: map[string]time.Time{},
	}
	c.sources.Need(pods.Informer(), nodes.Informer())
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "pod-garbage-collector-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if !c.sources.WaitForSync(ctx) {
		return nil
	}
	tick := c.env.Clock.NewTicker(period)
	defer tick.Stop()
	for {
		if err := c.collect(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Will try again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
	}
}

func (c *Controller) collect(ctx context.Context) error {
	pods, err := c.pods.List(labels.Everything())
	if err != nil {
		return err
	}
	gone, err := c.goneNodes(ctx, pods)
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range pods {
		switch {
		case pod.Spec.NodeName != "" && gone[pod.Spec.NodeName]:
			errs = append(errs, c.end(ctx, pod, "PodGC: node no longer exists"))
		case pod.Spec.NodeName == "" && pod.DeletionTimestamp != nil:
			errs = append(errs, c.end(ctx, pod, ""))
		case pod.DeletionTimestamp != nil && !podstate.Ready(pod) && c.outOfService(pod.Spec.NodeName):
			errs = append(errs, c.end(ctx, pod, ""))
		}
	}
	for _, pod := range excess(pods, c.threshold) {
		errs = append(errs, c.end(ctx, pod, ""))
	}
	return errors.Join(errs...)
}

// goneNodes returns the nodes that pods are bound to and that have been missing for long enough.
func (c *Controller) goneNodes(ctx context.Context, pods []*corev1.Pod) (map[string]bool, error) {
	now := c.env.Clock.Now()
	missing, gone := map[string]time.Time{}, map[string]bool{}
	for _, pod := range pods {
		name := pod.Spec.NodeName
		if name == "" {
			continue
		}
		if _, done := missing[name]; done {
			continue
		}
		if _, err := c.nodes.Get(name); !apierrors.IsNotFound(err) {
			continue
		}
		since, known := c.missing[name]
		if !known {
			since = now
		}
		missing[name] = since
		if now.Sub(since) < quarantine {
			continue
		}
		_, err := c.env.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			gone[name] = true
		} else if err != nil {
			return nil, err
		}
	}
	c.missing = missing
	return gone, nil
}

func (c *Controller) outOfService(name string) bool {
	node, err := c.nodes.Get(name)
	if err != nil {
		return false
	}
	ready := slices.ContainsFunc(node.Status.Conditions, func(condition corev1.NodeCondition) bool {
		return condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
	})
	tainted := slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == corev1.TaintNodeOutOfService })
	return tainted && !ready
}

// excess returns the oldest of the ended pods that are too many; evicted ones go first.
func excess(pods []*corev1.Pod, threshold int) []*corev1.Pod {
	if threshold <= 0 {
		return nil
	}
	var ended []*corev1.Pod
	for _, pod := range pods {
		if podstate.Ended(pod) && pod.DeletionTimestamp == nil {
			ended = append(ended, pod)
		}
	}
	if len(ended) <= threshold {
		return nil
	}
	slices.SortFunc(ended, func(a, b *corev1.Pod) int {
		if evictedA, evictedB := a.Status.Reason == "Evicted", b.Status.Reason == "Evicted"; evictedA != evictedB {
			if evictedA {
				return -1
			}
			return 1
		}
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	return ended[:len(ended)-threshold]
}

// end fails the pod if it has not ended, so that its owner can count it, and deletes it without grace. With a message,
// it is also marked as disrupted.
func (c *Controller) end(ctx context.Context, pod *corev1.Pod, message string) error {
	var err error
	switch {
	case podstate.Ended(pod):
	case message != "":
		err = c.control.Disrupt(ctx, pod, corev1.PodCondition{Reason: "DeletionByPodGC", Message: message, LastTransitionTime: metav1.NewTime(c.env.Clock.Now())}, true)
	default:
		err = c.control.Patch(ctx, pod, []byte(`{"metadata":{"uid":"`+string(pod.UID)+`"},"status":{"phase":"Failed"}}`), "status")
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	now := int64(0)
	err = c.env.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
