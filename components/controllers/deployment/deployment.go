// Package deployment rolls pods from one template to the next by scaling one ReplicaSet per template.
// https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
package deployment

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/expectation"
	"github.com/plumbline/plumbline/components/controllers/ownership"
)

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// Controller is the Deployment controller.
type Controller struct {
	env     *controller.Env
	workers int

	sources     controller.Sources
	deployments appslisters.DeploymentLister
	sets        cache.Indexer
	pods        cache.Indexer
	written     expectation.Written[controller.Key]
	queue       *controller.Queue[controller.Key]
}

// New makes the Deployment controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	deployments := env.Informers.Apps().V1().Deployments()
	sets := env.Informers.Apps().V1().ReplicaSets().Informer()
	pods := env.Informers.Core().V1().Pods().Informer()
	for _, informer := range []cache.SharedIndexInformer{sets, pods} {
		if err := ownership.Index(informer); err != nil {
			return nil, err
		}
	}
	c := &Controller{env: env, workers: workers, deployments: deployments.Lister(), sets: sets.GetIndexer(), pods: pods.GetIndexer()}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, deployments.Informer(), controller.Any(func(d *appsv1.Deployment) { c.queue.Add(keyOf(d)) }))
	controller.Watch(&c.sources, sets, controller.Handlers[*appsv1.ReplicaSet]{Add: c.setChanged, Update: c.setUpdated, Delete: c.setChanged})
	controller.Watch(&c.sources, pods, controller.Handlers[*corev1.Pod]{
		Update: func(old, pod *corev1.Pod) {
			if old.Status.Phase != pod.Status.Phase {
				c.podEnded(pod)
			}
		},
		Delete: c.podEnded,
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "deployment-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, c.workers)
	}
	return nil
}

func keyOf(object metav1.Object) controller.Key { return cache.MetaObjectToName(object) }

func (c *Controller) setUpdated(old, set *appsv1.ReplicaSet) {
	before, after := metav1.GetControllerOfNoCopy(old), metav1.GetControllerOfNoCopy(set)
	if before != nil && !equality.Semantic.DeepEqual(before, after) {
		c.setChanged(old)
	}
	if after == nil && before == nil && equality.Semantic.DeepEqual(old.Labels, set.Labels) {
		return
	}
	c.setChanged(set)
}

// setChanged wakes the set's Deployment, or those that might adopt it.
func (c *Controller) setChanged(set *appsv1.ReplicaSet) {
	if ref := metav1.GetControllerOfNoCopy(set); ref != nil {
		if ref.Kind == kind.Kind {
			c.queue.Add(controller.Key{Namespace: set.Namespace, Name: ref.Name})
		}
		return
	}
	all, _ := c.deployments.Deployments(set.Namespace).List(labels.Everything()) // A cache does not fail.
	for _, key := range ownership.Adopters(set, all, func(d *appsv1.Deployment) *metav1.LabelSelector { return d.Spec.Selector }) {
		c.queue.Add(key)
	}
}

// podEnded wakes a Deployment of strategy Recreate, which waits for the old pods to end.
func (c *Controller) podEnded(pod *corev1.Pod) {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return
	}
	obj, exists, err := c.sets.GetByKey(pod.Namespace + "/" + ref.Name)
	if err != nil || !exists {
		return
	}
	owner := metav1.GetControllerOfNoCopy(obj.(*appsv1.ReplicaSet))
	if owner == nil || owner.Kind != kind.Kind {
		return
	}
	d, err := c.deployments.Deployments(pod.Namespace).Get(owner.Name)
	if err == nil && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		c.queue.Add(keyOf(d))
	}
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	cached, err := c.deployments.Deployments(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		c.written.Forget(key)
		return nil
	}
	if err != nil {
		return err
	}
	if c.written.Behind(key, cached) {
		return nil
	}
	d := cached.DeepCopy()
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil //nolint:nilerr // validation keeps such a Deployment out; nothing to retry
	}
	if selector.Empty() {
		c.env.Recorder.Eventf(d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		if d.Status.ObservedGeneration < d.Generation {
			d.Status.ObservedGeneration = d.Generation
			_, err = c.env.Client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
		}
		return err
	}
	owned, err := c.claim(ctx, d, selector)
	if err != nil {
		return err
	}
	r := &rollout{c: c, d: d, sets: owned}
	if d.DeletionTimestamp != nil {
		return r.observe(ctx)
	}
	if err := r.notePause(ctx); err != nil {
		return err
	}
	switch {
	case d.Spec.Paused, r.resized():
		return r.resize(ctx)
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		return r.recreate(ctx)
	default:
		return r.roll(ctx)
	}
}

func (c *Controller) claim(ctx context.Context, d *appsv1.Deployment, selector labels.Selector) ([]*appsv1.ReplicaSet, error) {
	candidates, err := ownership.Candidates[*appsv1.ReplicaSet](c.sets, d)
	if err != nil {
		return nil, err
	}
	claim := ownership.Claim[*appsv1.ReplicaSet]{
		Owner: d, Kind: kind, Selector: selector,
		Live: func(ctx context.Context) (metav1.Object, error) {
			return c.env.Client.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
		},
		Patch: func(ctx context.Context, set *appsv1.ReplicaSet, patch []byte) error {
			_, err := c.env.Client.AppsV1().ReplicaSets(set.Namespace).Patch(ctx, set.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		},
	}
	return claim.Resolve(ctx, candidates)
}
