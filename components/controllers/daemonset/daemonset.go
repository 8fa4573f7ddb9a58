// Package daemonset keeps one pod on every node that fits.
// https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/
package daemonset

import (
	"context"
	"errors"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/expectation"
	"github.com/plumbline/plumbline/components/controllers/ownership"
	"github.com/plumbline/plumbline/components/controllers/podcontrol"
	"github.com/plumbline/plumbline/components/controllers/revision"
)

// burst bounds how many pods one turn creates or deletes.
const burst = 250

var kind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

// Controller is the DaemonSet controller.
type Controller struct {
	env     *controller.Env
	workers int

	sources  controller.Sources
	sets     appslisters.DaemonSetLister
	nodes    corelisters.NodeLister
	pods     cache.Indexer
	history  revision.History
	control  podcontrol.Control
	expected *expectation.Tracker[controller.Key]
	written  expectation.Written[controller.Key]
	// replaced slows the replacement of pods that keep failing on a node.
	replaced *flowcontrol.Backoff
	queue    *controller.Queue[controller.Key]
}

// New makes the DaemonSet controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	sets := env.Informers.Apps().V1().DaemonSets()
	nodes := env.Informers.Core().V1().Nodes()
	pods := env.Informers.Core().V1().Pods().Informer()
	revisions := env.Informers.Apps().V1().ControllerRevisions().Informer()
	for _, informer := range []cache.SharedIndexInformer{pods, revisions} {
		if err := ownership.Index(informer); err != nil {
			return nil, err
		}
	}
	c := &Controller{
		env: env, workers: workers,
		sets: sets.Lister(), nodes: nodes.Lister(), pods: pods.GetIndexer(),
		history:  revision.History{Client: env.Client, Cache: revisions.GetIndexer(), Kind: kind},
		control:  podcontrol.Control{Client: env.Client, Recorder: env.Recorder},
		expected: expectation.New[controller.Key](env.Clock),
		replaced: flowcontrol.NewBackOff(time.Second, 15*time.Minute),
	}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, sets.Informer(), controller.Handlers[*appsv1.DaemonSet]{
		Add:    func(set *appsv1.DaemonSet) { c.queue.Add(keyOf(set)) },
		Update: func(_, set *appsv1.DaemonSet) { c.queue.Add(keyOf(set)) },
		Delete: func(set *appsv1.DaemonSet) {
			c.expected.Forget(keyOf(set))
			c.queue.Add(keyOf(set))
		},
	})
	controller.Watch(&c.sources, pods, controller.Handlers[*corev1.Pod]{Add: c.podAdded, Update: c.podUpdated, Delete: c.podDeleted})
	controller.Watch(&c.sources, nodes.Informer(), controller.Handlers[*corev1.Node]{Add: c.nodeAdded, Update: c.nodeUpdated, Delete: func(*corev1.Node) { c.wakeAll() }})
	c.sources.Need(revisions)
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "daemonset-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if !c.sources.WaitForSync(ctx) {
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { c.queue.Run(ctx, c.workers) })
	tick := c.env.Clock.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
			c.replaced.GC()
		}
	}
}

func keyOf(object metav1.Object) controller.Key { return cache.MetaObjectToName(object) }

func (c *Controller) all() []*appsv1.DaemonSet {
	sets, err := c.sets.List(labels.Everything())
	if err != nil {
		return nil
	}
	return sets
}

func (c *Controller) wakeAll() {
	for _, set := range c.all() {
		c.queue.Add(keyOf(set))
	}
}

func (c *Controller) nodeAdded(node *corev1.Node) {
	for _, set := range c.all() {
		if fits(set, node).start {
			c.queue.Add(keyOf(set))
		}
	}
}

func (c *Controller) nodeUpdated(old, node *corev1.Node) {
	if equality.Semantic.DeepEqual(old.Labels, node.Labels) && equality.Semantic.DeepEqual(old.Spec.Taints, node.Spec.Taints) && old.Spec.Unschedulable == node.Spec.Unschedulable {
		return
	}
	for _, set := range c.all() {
		if fits(set, old) != fits(set, node) {
			c.queue.Add(keyOf(set))
		}
	}
}

func (c *Controller) ownerKey(pod *corev1.Pod) (controller.Key, bool) {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != kind.Kind {
		return controller.Key{}, false
	}
	set, err := c.sets.DaemonSets(pod.Namespace).Get(ref.Name)
	return controller.Key{Namespace: pod.Namespace, Name: ref.Name}, err == nil && set.UID == ref.UID
}

func (c *Controller) podAdded(pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		c.podDeleted(pod)
		return
	}
	if key, ok := c.ownerKey(pod); ok {
		c.expected.Created(key)
		c.queue.Add(key)
		return
	}
	c.offerOrphan(pod)
}

func (c *Controller) podUpdated(old, pod *corev1.Pod) {
	if old.ResourceVersion == pod.ResourceVersion {
		return
	}
	if pod.DeletionTimestamp != nil {
		c.podDeleted(pod)
		return
	}
	if key, ok := c.ownerKey(old); ok {
		c.queue.Add(key)
	}
	if key, ok := c.ownerKey(pod); ok {
		c.queue.Add(key)
		return
	}
	c.offerOrphan(pod)
}

func (c *Controller) podDeleted(pod *corev1.Pod) {
	if key, ok := c.ownerKey(pod); ok {
		c.expected.Deleted(key, pod.UID)
		c.queue.Add(key)
	}
}

func (c *Controller) offerOrphan(pod *corev1.Pod) {
	for _, key := range ownership.Adopters(pod, c.all(), func(set *appsv1.DaemonSet) *metav1.LabelSelector { return set.Spec.Selector }) {
		c.queue.Add(key)
	}
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	cached, err := c.sets.DaemonSets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		c.expected.Forget(key)
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
	if selector.Empty() {
		c.env.Recorder.Eventf(set, corev1.EventTypeWarning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return nil
	}
	if set.DeletionTimestamp != nil {
		return nil
	}
	caughtUp := c.expected.Satisfied(key)
	current, history, err := c.revisions(ctx, set, selector)
	if err != nil {
		return err
	}
	s, err := c.survey(ctx, set, selector, revision.HashOf(current))
	if err != nil {
		return err
	}
	var actErr error
	if caughtUp {
		actErr = c.act(ctx, key, s)
	}
	statusErr := c.writeStatus(ctx, key, s)
	live := map[string]bool{current.Name: true}
	for _, at := range s.sites {
		for _, pod := range at.pods {
			live[pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]] = true
		}
	}
	trimErr := c.history.Trim(ctx, history, live, int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)))
	return errors.Join(actErr, statusErr, trimErr)
}

// revisions returns the revision of the current template, and all.
func (c *Controller) revisions(ctx context.Context, set *appsv1.DaemonSet, selector labels.Selector) (*appsv1.ControllerRevision, []*appsv1.ControllerRevision, error) {
	owner := revision.Owner{
		Object: set, Selector: selector, TemplateLabels: set.Spec.Template.Labels, Collisions: set.Status.CollisionCount,
		Live: func(ctx context.Context) (metav1.Object, error) { return c.live(ctx, set) },
	}
	history, err := c.history.List(ctx, owner)
	if err != nil {
		return nil, nil, err
	}
	data, err := revision.TemplatePatch(&set.Spec.Template)
	if err != nil {
		return nil, nil, err
	}
	current, collided, err := c.history.Ensure(ctx, owner, history, data)
	if collided {
		set.Status.CollisionCount = ptr.To(ptr.Deref(set.Status.CollisionCount, 0) + 1)
		updated, err := c.env.Client.AppsV1().DaemonSets(set.Namespace).UpdateStatus(ctx, set, metav1.UpdateOptions{})
		if err != nil {
			return nil, nil, err
		}
		c.written.Note(keyOf(set), updated)
		return nil, nil, errors.New("the name of the new revision is taken by another one")
	}
	return current, history, err
}

func (c *Controller) live(ctx context.Context, set *appsv1.DaemonSet) (metav1.Object, error) {
	return c.env.Client.AppsV1().DaemonSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
}

func (c *Controller) survey(ctx context.Context, set *appsv1.DaemonSet, selector labels.Selector, hash string) (*state, error) {
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
	}
	pods, err := claim.Resolve(ctx, candidates)
	if err != nil {
		return nil, err
	}
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	return survey(set, hash, nodes, pods, c.env.Clock.Now()), nil
}

// act carries out the plan: placement first; only if that has nothing to do, a step of the update.
func (c *Controller) act(ctx context.Context, key controller.Key, s *state) error {
	p := s.place()
	for _, pod := range p.ended {
		if c.endedMayGo(key, s.set, pod) {
			p.delete = append(p.delete, pod)
		}
	}
	if err := c.carryOut(ctx, key, s, p); err != nil || len(p.create)+len(p.delete) > 0 {
		return err
	}
	if s.set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		return nil
	}
	return c.carryOut(ctx, key, s, s.roll())
}

// endedMayGo says so in an event, unless the pod's turn has not come.
func (c *Controller) endedMayGo(key controller.Key, set *appsv1.DaemonSet, pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded {
		c.env.Recorder.Eventf(set, corev1.EventTypeNormal, "SucceededDaemonPod", "Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, pod.Spec.NodeName)
		return true
	}
	id, now := string(set.UID)+"/"+pod.Spec.NodeName, c.env.Clock.Now()
	if c.replaced.IsInBackOffSinceUpdate(id, now) {
		c.queue.AddAfter(key, c.replaced.Get(id))
		return false
	}
	c.replaced.Next(id, now)
	c.env.Recorder.Eventf(set, corev1.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, pod.Spec.NodeName)
	return true
}

func (c *Controller) carryOut(ctx context.Context, key controller.Key, s *state, p plan) error {
	create := p.create[:min(len(p.create), burst)]
	remove := p.delete[:min(len(p.delete), burst)]
	c.expected.ExpectCreations(key, len(create))
	for _, pod := range remove {
		c.expected.ExpectDeletions(key, pod.UID)
	}
	created, err := podcontrol.SlowStart(len(create), func(i int) error {
		_, err := c.control.Create(ctx, podFor(s.set, create[i], s.hash), s.set)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			c.expected.Created(key)
			return nil
		}
		return err
	})
	c.expected.CreatedMany(key, len(create)-created)
	errs := podcontrol.Parallel(len(remove), func(i int) error {
		err := c.control.Delete(ctx, remove[i], s.set)
		if err != nil {
			c.expected.Deleted(key, remove[i].UID)
		}
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	return errors.Join(append(errs, err)...)
}

func (c *Controller) writeStatus(ctx context.Context, key controller.Key, s *state) error {
	status, wait := s.status()
	if wait > 0 {
		c.queue.AddAfter(key, wait)
	}
	status.ObservedGeneration = s.set.Generation
	status.CollisionCount = s.set.Status.CollisionCount
	status.Conditions = s.set.Status.Conditions
	if equality.Semantic.DeepEqual(s.set.Status, status) {
		return nil
	}
	updated := s.set.DeepCopy()
	updated.Status = status
	result, err := c.env.Client.AppsV1().DaemonSets(s.set.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	c.written.Note(key, result)
	return nil
}
