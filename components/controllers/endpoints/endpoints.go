// Package endpoints keeps the Endpoints of Services with a selector, for those who still read them.
// https://kubernetes.io/docs/concepts/services-networking/service/#endpoints
package endpoints

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	sliceutil "k8s.io/endpointslice/util"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

const (
	// managedByLabel marks what this controller writes, so that what was written by hand is left alone.
	managedByLabel = "endpoints.kubernetes.io/managed-by"
	managedBy      = "endpoint-controller"
	// capacity bounds the addresses of one Endpoints object.
	capacity  = 1000
	truncated = "truncated"
)

// Controller is the Endpoints controller.
type Controller struct {
	env       *controller.Env
	workers   int
	sources   controller.Sources
	services  corelisters.ServiceLister
	pods      corelisters.PodLister
	endpoints corelisters.EndpointsLister
	queue     *controller.Queue[controller.Key]
}

// New makes the Endpoints controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	core := env.Informers.Core().V1()
	c := &Controller{env: env, workers: workers, services: core.Services().Lister(), pods: core.Pods().Lister(), endpoints: core.Endpoints().Lister()}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, core.Services().Informer(), controller.Any(func(service *corev1.Service) { c.queue.Add(cache.MetaObjectToName(service)) }))
	controller.Watch(&c.sources, core.Pods().Informer(), controller.Handlers[*corev1.Pod]{
		Add:    func(pod *corev1.Pod) { c.podChanged(sliceutil.GetPodUpdateProjectionKey(nil, pod)) },
		Update: func(old, pod *corev1.Pod) { c.podChanged(sliceutil.GetPodUpdateProjectionKey(old, pod)) },
		Delete: func(pod *corev1.Pod) { c.podChanged(sliceutil.GetPodUpdateProjectionKey(pod, nil)) },
	})
	controller.Watch(&c.sources, core.Endpoints().Informer(), controller.Handlers[*corev1.Endpoints]{
		// At start: Endpoints whose Service went while nobody looked.
		Add:    func(e *corev1.Endpoints) { c.queue.Add(cache.MetaObjectToName(e)) },
		Delete: func(e *corev1.Endpoints) { c.queue.Add(cache.MetaObjectToName(e)) },
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "endpoints-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, c.workers)
	}
	return nil
}

func (c *Controller) podChanged(change *sliceutil.PodProjectionKey) {
	affected, err := sliceutil.GetServicesToUpdate(c.services, change)
	if err != nil {
		return
	}
	for key := range affected {
		if name, err := cache.ParseObjectName(key); err == nil {
			c.queue.Add(name)
		}
	}
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	service, err := c.services.Services(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return c.remove(ctx, key)
	}
	if err != nil {
		return err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName || service.Spec.Selector == nil {
		return nil
	}
	pods, err := c.pods.Pods(key.Namespace).List(labels.Set(service.Spec.Selector).AsSelectorPreValidated())
	if err != nil {
		return err
	}
	current, err := c.endpoints.Endpoints(key.Namespace).Get(key.Name)
	existed := err == nil
	if apierrors.IsNotFound(err) {
		current = &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	} else if err != nil {
		return err
	}
	wanted := current.DeepCopy()
	subsets, over := subsetsOf(service, pods)
	wanted.Subsets = subsets
	wanted.Labels = maps.Clone(service.Labels)
	if wanted.Labels == nil {
		wanted.Labels = map[string]string{}
	}
	wanted.Labels[managedByLabel] = managedBy
	delete(wanted.Labels, corev1.IsHeadlessService)
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		wanted.Labels[corev1.IsHeadlessService] = ""
	}
	if over {
		if wanted.Annotations == nil {
			wanted.Annotations = map[string]string{}
		}
		wanted.Annotations[corev1.EndpointsOverCapacity] = truncated
	} else {
		delete(wanted.Annotations, corev1.EndpointsOverCapacity)
	}
	if existed && equality.Semantic.DeepEqual(current.Subsets, wanted.Subsets) && maps.Equal(current.Labels, wanted.Labels) && maps.Equal(current.Annotations, wanted.Annotations) {
		return nil
	}
	client := c.env.Client.CoreV1().Endpoints(key.Namespace)
	if existed {
		_, err = client.Update(ctx, wanted, metav1.UpdateOptions{})
	} else {
		_, err = client.Create(ctx, wanted, metav1.CreateOptions{})
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
		c.env.Recorder.Eventf(wanted, corev1.EventTypeWarning, "FailedToUpdateEndpoint", "Failed to update endpoint %v/%v: %v", key.Namespace, key.Name, err)
	}
	return err
}

// remove deletes the Endpoints of a Service that is gone, if they are this controller's.
func (c *Controller) remove(ctx context.Context, key controller.Key) error {
	current, err := c.endpoints.Endpoints(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if current.Labels[managedByLabel] != managedBy {
		return nil
	}
	err = c.env.Client.CoreV1().Endpoints(key.Namespace).Delete(ctx, key.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(current.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
