// Package ephemeralvolume makes the claims of pods whose volumes live as long as they do.
// https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes
package ephemeralvolume

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// Controller is the ephemeral volume controller.
type Controller struct {
	env     *controller.Env
	workers int
	sources controller.Sources
	queue   *controller.Queue[controller.Key]
	pods    corelisters.PodLister
	claims  corelisters.PersistentVolumeClaimLister
}

// New makes the ephemeral volume controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	core := env.Informers.Core().V1()
	c := &Controller{env: env, workers: workers, pods: core.Pods().Lister(), claims: core.PersistentVolumeClaims().Lister()}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, core.Pods().Informer(), controller.Handlers[*corev1.Pod]{Add: func(pod *corev1.Pod) {
		// Volumes of a pod never change, so its beginning is all there is to hear of.
		if slices.ContainsFunc(pod.Spec.Volumes, func(volume corev1.Volume) bool { return volume.Ephemeral != nil }) {
			c.queue.Add(cache.MetaObjectToName(pod))
		}
	}})
	controller.Watch(&c.sources, core.PersistentVolumeClaims().Informer(), controller.Handlers[*corev1.PersistentVolumeClaim]{
		// A claim of that name may have been in the way.
		Delete: func(claim *corev1.PersistentVolumeClaim) { c.wakeOwner(claim) },
	})
	return c, nil
}

// Name implements controller.Controller.
func (*Controller) Name() string { return "ephemeral-volume-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, c.workers)
	}
	return nil
}

// wakeOwner wakes the pod that a claim was made for.
func (c *Controller) wakeOwner(claim *corev1.PersistentVolumeClaim) {
	if owner := metav1.GetControllerOf(claim); owner != nil && owner.Kind == "Pod" {
		c.queue.Add(controller.Key{Namespace: claim.Namespace, Name: owner.Name})
	}
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	pod, err := c.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || pod.DeletionTimestamp != nil {
		return err
	}
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.Ephemeral == nil {
			continue
		}
		if err := c.claimFor(ctx, pod, volume); err != nil {
			c.env.Recorder.Eventf(pod, corev1.EventTypeWarning, "FailedBinding", "ephemeral volume %s: %v", volume.Name, err)
			return err
		}
	}
	return nil
}

// claimFor makes the claim of a pod's volume, unless it is there; somebody else's of that name is an error.
func (c *Controller) claimFor(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) error {
	name := ephemeral.VolumeClaimName(pod, volume)
	if claim, err := c.claims.PersistentVolumeClaims(pod.Namespace).Get(name); err == nil {
		return ephemeral.VolumeIsForPod(pod, claim)
	} else if !apierrors.IsNotFound(err) {
		return err
	}
	template := volume.Ephemeral.VolumeClaimTemplate
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: name, Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))},
		},
		Spec: template.Spec,
	}
	if _, err := c.env.Client.CoreV1().PersistentVolumeClaims(pod.Namespace).Create(ctx, claim, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create PVC %s: %w", name, err)
	}
	return nil
}
