// Package statefulset keeps pods with an identity of their own: a name with an ordinal, and claims that go with it.
// https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/
package statefulset

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/expectation"
	"github.com/plumbline/plumbline/components/controllers/ownership"
	"github.com/plumbline/plumbline/components/controllers/podcontrol"
	"github.com/plumbline/plumbline/components/controllers/revision"
)

var kind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")

// Controller is the StatefulSet controller.
type Controller struct {
	env     *controller.Env
	workers int
	sources controller.Sources
	sets    appslisters.StatefulSetLister
	claims  corelisters.PersistentVolumeClaimLister
	pods    cache.Indexer
	history revision.History
	control podcontrol.Control
	written expectation.Written[controller.Key]
	queue   *controller.Queue[controller.Key]
}

// New makes the StatefulSet controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	sets, claims := env.Informers.Apps().V1().StatefulSets(), env.Informers.Core().V1().PersistentVolumeClaims()
	pods, revisions := env.Informers.Core().V1().Pods().Informer(), env.Informers.Apps().V1().ControllerRevisions().Informer()
	for _, informer := range []cache.SharedIndexInformer{pods, revisions} {
		if err := ownership.Index(informer); err != nil {
			return nil, err
		}
	}
	c := &Controller{
		env: env, workers: workers, sets: sets.Lister(), claims: claims.Lister(), pods: pods.GetIndexer(),
		history: revision.History{Client: env.Client, Cache: revisions.GetIndexer(), Kind: kind},
		control: podcontrol.Control{Client: env.Client, Recorder: env.Recorder},
	}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, sets.Informer(), controller.Any(func(set *appsv1.StatefulSet) { c.queue.Add(cache.MetaObjectToName(set)) }))
	controller.Watch(&c.sources, pods, controller.Handlers[*corev1.Pod]{
		Add: c.podChanged,
		Update: func(old, pod *corev1.Pod) {
			if before, after := metav1.GetControllerOfNoCopy(old), metav1.GetControllerOfNoCopy(pod); before != nil && !equality.Semantic.DeepEqual(before, after) {
				c.podChanged(old)
			}
			c.podChanged(pod)
		},
		Delete: c.podChanged,
	})
	c.sources.Need(claims.Informer(), revisions)
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "statefulset-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, c.workers)
	}
	return nil
}

// podChanged wakes the pod's set, or those that might adopt it.
func (c *Controller) podChanged(pod *corev1.Pod) {
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		if ref.Kind == kind.Kind {
			c.queue.Add(controller.Key{Namespace: pod.Namespace, Name: ref.Name})
		}
		return
	}
	sets, _ := c.sets.StatefulSets(pod.Namespace).List(labels.Everything()) // A cache does not fail.
	for _, key := range ownership.Adopters(pod, sets, func(set *appsv1.StatefulSet) *metav1.LabelSelector { return set.Spec.Selector }) {
		c.queue.Add(key)
	}
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	cached, err := c.sets.StatefulSets(key.Namespace).Get(key.Name)
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
	set := cached.DeepCopy()
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil //nolint:nilerr // validation keeps such a set out; nothing to retry
	}
	pods, err := c.claim(ctx, set, selector)
	if err != nil {
		return err
	}
	t := &turn{c: c, set: set, now: c.env.Clock.Now()}
	history, err := c.revisions(ctx, t, selector)
	if err != nil {
		return err
	}
	t.sort(pods)
	actErr := t.act(ctx)
	status, wait := t.count(pods)
	if wait > 0 {
		c.queue.AddAfter(key, wait)
	}
	statusErr := c.writeStatus(ctx, key, set, status)
	live := map[string]bool{t.current.name: true, t.update.name: true}
	for _, pod := range pods {
		live[revisionOf(pod)] = true
	}
	trimErr := c.history.Trim(ctx, history, live, int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)))
	if apierrors.IsAlreadyExists(actErr) && len(t.slots) > len(pods) {
		// Most likely a pod of ours that the cache will show in a moment.
		c.queue.Retry(key)
		actErr = nil
	}
	return errors.Join(actErr, statusErr, trimErr)
}

func (c *Controller) live(ctx context.Context, set *appsv1.StatefulSet) (metav1.Object, error) {
	return c.env.Client.AppsV1().StatefulSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
}

func (c *Controller) claim(ctx context.Context, set *appsv1.StatefulSet, selector labels.Selector) ([]*corev1.Pod, error) {
	candidates, err := ownership.Candidates[*corev1.Pod](c.pods, set)
	if err != nil {
		return nil, err
	}
	claim := ownership.Claim[*corev1.Pod]{
		Owner: set, Kind: kind, Selector: selector,
		Live: func(ctx context.Context) (metav1.Object, error) { return c.live(ctx, set) },
		Patch: func(ctx context.Context, pod *corev1.Pod, patch []byte) error {
			return c.control.Patch(ctx, pod, patch)
		},
		Adoptable: func(pod *corev1.Pod) bool { _, ok := ordinalOf(set, pod); return ok },
	}
	return claim.Resolve(ctx, candidates)
}

// revisions finds the revisions that pods have and are to get.
func (c *Controller) revisions(ctx context.Context, t *turn, selector labels.Selector) ([]*appsv1.ControllerRevision, error) {
	set := t.set
	owner := revision.Owner{
		Object: set, Selector: selector, TemplateLabels: set.Spec.Template.Labels, Collisions: set.Status.CollisionCount,
		Live: func(ctx context.Context) (metav1.Object, error) { return c.live(ctx, set) },
	}
	history, err := c.history.List(ctx, owner)
	if err != nil {
		return nil, err
	}
	data, err := revision.TemplatePatch(&set.Spec.Template)
	if err != nil {
		return nil, err
	}
	update, collided, err := c.history.Ensure(ctx, owner, history, data)
	if err != nil {
		return nil, err
	}
	if collided {
		set.Status.CollisionCount = ptr.To(ptr.Deref(set.Status.CollisionCount, 0) + 1)
		if _, err := c.env.Client.AppsV1().StatefulSets(set.Namespace).UpdateStatus(ctx, set, metav1.UpdateOptions{}); err != nil {
			return nil, err
		}
		return nil, errors.New("the name of the new revision is taken by another one")
	}
	t.update = version{update.Name, &set.Spec.Template}
	t.current = t.update
	for _, known := range history {
		if known.Name == set.Status.CurrentRevision && known.Name != update.Name {
			template, err := revision.Template(known)
			if err != nil {
				return nil, err
			}
			t.current = version{known.Name, template}
		}
	}
	return history, nil
}

func (c *Controller) writeStatus(ctx context.Context, key controller.Key, set *appsv1.StatefulSet, status appsv1.StatefulSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	updated := set.DeepCopy()
	updated.Status = status
	result, err := c.env.Client.AppsV1().StatefulSets(set.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	c.written.Note(key, result)
	return nil
}
