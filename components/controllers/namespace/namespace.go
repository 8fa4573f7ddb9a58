// Package namespace empties namespaces that are being deleted: pods first, because other objects may be what guards
// them, then everything else, and at last the namespace's own finalizer.
// https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// parallel bounds the requests that one namespace's deletion makes at the same time.
const parallel = 6

var (
	podsResource = corev1.SchemeGroupVersion.WithResource("pods")
	errRemaining = errors.New("some content remains")
)

// Controller is the namespace controller.
type Controller struct {
	env        *controller.Env
	workers    int
	sources    controller.Sources
	namespaces corelisters.NamespaceLister
	queue      *controller.Queue[string]
}

// New makes the namespace controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	namespaces := env.Informers.Core().V1().Namespaces()
	c := &Controller{env: env, workers: workers, namespaces: namespaces.Lister()}
	// What remains mostly waits for a container to stop; the last pod's deletion ends the wait at once.
	backoff := controller.Backoff{First: 50 * time.Millisecond, Max: 5 * time.Second}
	c.queue = controller.NewQueue(c.Name(), env.Clock, backoff, c.sync)
	changed := func(namespace *corev1.Namespace) {
		if namespace.DeletionTimestamp != nil {
			c.queue.Add(namespace.Name)
		}
	}
	controller.Watch(&c.sources, namespaces.Informer(), controller.Handlers[*corev1.Namespace]{
		Add: changed,
		Update: func(old, namespace *corev1.Namespace) {
			// Our own writes of conditions are no reason for another look.
			if old.DeletionTimestamp == nil || !slices.Equal(old.Spec.Finalizers, namespace.Spec.Finalizers) {
				changed(namespace)
			}
		},
	})
	controller.Watch(&c.sources, env.Informers.Core().V1().Pods().Informer(), controller.Handlers[*corev1.Pod]{
		Delete: func(pod *corev1.Pod) {
			if namespace, err := c.namespaces.Get(pod.Namespace); err == nil {
				changed(namespace)
			}
		},
	})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "namespace-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, c.workers)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, name string) error {
	client := c.env.Client.CoreV1().Namespaces()
	namespace, err := client.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if namespace.DeletionTimestamp == nil || len(namespace.Spec.Finalizers) == 0 {
		return nil
	}
	if namespace.Status.Phase != corev1.NamespaceTerminating {
		namespace.Status.Phase = corev1.NamespaceTerminating
		if namespace, err = client.UpdateStatus(ctx, namespace, metav1.UpdateOptions{}); err != nil {
			return ignoreNotFound(err)
		}
	}
	found := c.empty(ctx, name)
	if found.apply(&namespace.Status, c.env.Clock.Now()) {
		if namespace, err = client.UpdateStatus(ctx, namespace, metav1.UpdateOptions{}); err != nil {
			return ignoreNotFound(err)
		}
	}
	if err := found.err(); err != nil {
		return err
	}
	if len(found.remaining) > 0 {
		return errRemaining
	}
	namespace.Spec.Finalizers = slices.DeleteFunc(namespace.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, err = client.Finalize(ctx, namespace, metav1.UpdateOptions{})
	return ignoreNotFound(err)
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// empty deletes what is in the namespace and tells what is left.
func (c *Controller) empty(ctx context.Context, name string) *findings {
	found := newFindings()
	resources, err := c.env.Discovery.ServerPreferredNamespacedResources()
	if err != nil {
		found.discovery = err // What was discovered can still be deleted.
	}
	deletable := discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"delete"}}, resources)
	verbs := map[schema.GroupVersionResource][]string{}
	for _, list := range deletable {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			found.parsing = err
			continue
		}
		for _, resource := range list.APIResources {
			verbs[gv.WithResource(resource.Name)] = resource.Verbs
		}
	}
	if podVerbs, served := verbs[podsResource]; served {
		c.emptyOf(ctx, podsResource, name, podVerbs).addTo(found)
		if len(found.remaining) > 0 || len(found.content) > 0 {
			return found
		}
		delete(verbs, podsResource)
	}
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		slots   = make(chan struct{}, parallel)
	)
	for resource, can := range verbs {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			left := c.emptyOf(ctx, resource, name, can)
			mu.Lock()
			defer mu.Unlock()
			left.addTo(found)
		})
	}
	running.Wait()
	return found
}

// leftover is what deleting one resource's objects left.
type leftover struct {
	resource schema.GroupVersionResource
	items    []metav1.PartialObjectMetadata
	err      error
}

func (l leftover) addTo(found *findings) {
	if len(l.items) > 0 {
		found.remaining[l.resource] = len(l.items)
	}
	for _, item := range l.items {
		for _, finalizer := range item.Finalizers {
			found.finalizers[finalizer]++
		}
	}
	if l.err != nil {
		found.content = append(found.content, l.err)
	}
}

// emptyOf deletes the namespace's objects of one resource. Most namespaces have few kinds of objects, so it looks first.
func (c *Controller) emptyOf(ctx context.Context, resource schema.GroupVersionResource, namespace string, verbs []string) leftover {
	left := leftover{resource: resource}
	if !slices.Contains(verbs, "list") {
		left.err = c.deleteAll(ctx, resource, namespace, verbs, nil)
		return left
	}
	if left.items, left.err = c.list(ctx, resource, namespace); left.err != nil || len(left.items) == 0 {
		return left
	}
	if left.err = c.deleteAll(ctx, resource, namespace, verbs, left.items); left.err != nil {
		return left
	}
	if left.items, left.err = c.list(ctx, resource, namespace); left.err != nil {
		return left
	}
	for _, item := range left.items {
		if len(item.Finalizers) == 0 && resource != podsResource && item.DeletionTimestamp == nil {
			left.err = fmt.Errorf("unexpected items still remain in namespace: %s for gvr: %v", namespace, resource)
		}
	}
	return left
}

func (c *Controller) list(ctx context.Context, resource schema.GroupVersionResource, namespace string) ([]metav1.PartialObjectMetadata, error) {
	list, err := c.env.Metadata.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if unsupported(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// unsupported tells whether the resource turned out not to have what was asked of it, or is not served any more.
func unsupported(err error) bool {
	return apierrors.IsMethodNotSupported(err) || apierrors.IsNotFound(err)
}

func (c *Controller) deleteAll(ctx context.Context, resource schema.GroupVersionResource, namespace string, verbs []string, items []metav1.PartialObjectMetadata) error {
	background := metav1.DeletePropagationBackground
	client := c.env.Metadata.Resource(resource).Namespace(namespace)
	if slices.Contains(verbs, "deletecollection") {
		err := client.DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{})
		if !unsupported(err) {
			return err
		}
	}
	var errs []error
	for _, item := range items {
		if err := client.Delete(ctx, item.Name, metav1.DeleteOptions{PropagationPolicy: &background}); err != nil && !unsupported(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
