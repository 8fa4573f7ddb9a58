// Package protection keeps volumes, claims, volume attributes classes and pod groups that are in use from being deleted,
// by a finalizer each.
// https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
package protection

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

const (
	workers         = 2
	claimFinalizer  = "kubernetes.io/pvc-protection"
	volumeFinalizer = "kubernetes.io/pv-protection"
	classFinalizer  = "kubernetes.io/vac-protection"

	podGroupFinalizer = "scheduling.k8s.io/podgroup-protection"
)

// Controller protects one kind of object.
type Controller struct {
	name      string
	finalizer string
	// byAdmission leaves it to admission alone to put the finalizer on.
	byAdmission bool
	sources     controller.Sources
	queue       *controller.Queue[controller.Key]
	get         func(key controller.Key) (metav1.Object, error)
	// update, not patch: that is what the controllers' roles let them do.
	update func(ctx context.Context, object metav1.Object) error
	// inUse tells whether the object must stay; it asks the API server before it says no.
	inUse func(ctx context.Context, object metav1.Object) (bool, error)
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return c.name }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, workers)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	object, err := c.get(key)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	protected := slices.Contains(object.GetFinalizers(), c.finalizer)
	switch {
	case object.GetDeletionTimestamp() == nil && !protected && !c.byAdmission:
		return c.setFinalizers(ctx, object, append(slices.Clone(object.GetFinalizers()), c.finalizer))
	case object.GetDeletionTimestamp() != nil && protected:
		used, err := c.inUse(ctx, object)
		if err != nil || used {
			return err
		}
		return c.setFinalizers(ctx, object, slices.DeleteFunc(slices.Clone(object.GetFinalizers()), func(f string) bool { return f == c.finalizer }))
	}
	return nil
}

func (c *Controller) setFinalizers(ctx context.Context, object metav1.Object, finalizers []string) error {
	kept, ok := object.(runtime.Object)
	if !ok {
		return fmt.Errorf("%T is no API object", object)
	}
	changed, ok := kept.DeepCopyObject().(metav1.Object)
	if !ok {
		return fmt.Errorf("a copy of %T has no metadata", object)
	}
	changed.SetFinalizers(finalizers)
	if err := c.update(ctx, changed); !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// write calls a client's Update with an object of the client's type.
func write[T metav1.Object](ctx context.Context, update func(context.Context, T, metav1.UpdateOptions) (T, error), object metav1.Object) error {
	typed, ok := object.(T)
	if !ok {
		return fmt.Errorf("expected %T, got %T", typed, object)
	}
	_, err := update(ctx, typed, metav1.UpdateOptions{})
	return err
}

// NewClaims makes the controller that protects claims that a pod uses.
func NewClaims(env *controller.Env) (controller.Controller, error) {
	claims, pods := env.Informers.Core().V1().PersistentVolumeClaims(), env.Informers.Core().V1().Pods()
	c := &Controller{
		name: "persistentvolumeclaim-protection-controller", finalizer: claimFinalizer,
		get: func(key controller.Key) (metav1.Object, error) {
			return claims.Lister().PersistentVolumeClaims(key.Namespace).Get(key.Name)
		},
		update: func(ctx context.Context, object metav1.Object) error {
			return write(ctx, env.Client.CoreV1().PersistentVolumeClaims(object.GetNamespace()).Update, object)
		},
		inUse: func(ctx context.Context, object metav1.Object) (bool, error) {
			cached, err := pods.Lister().Pods(object.GetNamespace()).List(labels.Everything())
			if err != nil {
				return true, err
			}
			if slices.ContainsFunc(cached, func(pod *corev1.Pod) bool { return uses(pod, object) }) {
				return true, nil
			}
			live, err := env.Client.CoreV1().Pods(object.GetNamespace()).List(ctx, metav1.ListOptions{})
			if err != nil {
				return true, err
			}
			return slices.ContainsFunc(live.Items, func(pod corev1.Pod) bool { return uses(&pod, object) }), nil
		},
	}
	c.queue = controller.NewQueue(c.name, env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, claims.Informer(), controller.Handlers[*corev1.PersistentVolumeClaim]{
		Add:    func(claim *corev1.PersistentVolumeClaim) { c.queue.Add(cache.MetaObjectToName(claim)) },
		Update: func(_, claim *corev1.PersistentVolumeClaim) { c.queue.Add(cache.MetaObjectToName(claim)) },
	})
	released := func(pod *corev1.Pod) {
		for _, name := range podstate.Claims(pod) {
			c.queue.Add(controller.Key{Namespace: pod.Namespace, Name: name})
		}
	}
	controller.Watch(&c.sources, pods.Informer(), controller.Handlers[*corev1.Pod]{
		Update: func(_, pod *corev1.Pod) {
			if podstate.Ended(pod) {
				released(pod)
			}
		},
		Delete: released,
	})
	return c, nil
}

// uses tells whether the pod has mounted the claim, or may: one that is not placed yet does not hold it.
func uses(pod *corev1.Pod, claim metav1.Object) bool {
	return pod.Spec.NodeName != "" && !podstate.Ended(pod) && slices.Contains(podstate.Claims(pod), claim.GetName())
}

// NewVolumes makes the controller that protects volumes that are bound to a claim.
func NewVolumes(env *controller.Env) (controller.Controller, error) {
	volumes := env.Informers.Core().V1().PersistentVolumes()
	c := &Controller{
		name: "persistentvolume-protection-controller", finalizer: volumeFinalizer,
		get: func(key controller.Key) (metav1.Object, error) { return volumes.Lister().Get(key.Name) },
		update: func(ctx context.Context, object metav1.Object) error {
			return write(ctx, env.Client.CoreV1().PersistentVolumes().Update, object)
		},
		inUse: func(_ context.Context, object metav1.Object) (bool, error) {
			volume, ok := object.(*corev1.PersistentVolume)
			return ok && volume.Status.Phase == corev1.VolumeBound, nil
		},
	}
	c.queue = controller.NewQueue(c.name, env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, volumes.Informer(), controller.Handlers[*corev1.PersistentVolume]{
		Add:    func(volume *corev1.PersistentVolume) { c.queue.Add(cache.MetaObjectToName(volume)) },
		Update: func(_, volume *corev1.PersistentVolume) { c.queue.Add(cache.MetaObjectToName(volume)) },
	})
	return c, nil
}
