// Package job runs pods until enough of them have succeeded. Each pod carries a finalizer until it is counted in the
// Job's status, so that none is lost or counted twice, whoever deletes it.
// https://kubernetes.io/docs/concepts/workloads/controllers/job/
package job

import (
	"context"
	"slices"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/expectation"
	"github.com/plumbline/plumbline/components/controllers/ownership"
	"github.com/plumbline/plumbline/components/controllers/podcontrol"
)

var kind = batchv1.SchemeGroupVersion.WithKind("Job")

// Controller is the Job controller.
type Controller struct {
	env     *controller.Env
	workers int

	sources  controller.Sources
	jobs     batchlisters.JobLister
	pods     cache.Indexer
	control  podcontrol.Control
	expected *expectation.Tracker[controller.Key]
	// freed is the pods whose finalizer was removed, until the cache shows it: by deletions expected of the Job.
	freed   *uidSets
	streaks *streaks
	written expectation.Written[controller.Key]
	queue   *controller.Queue[controller.Key]
	// strays are pods that have the finalizer and no Job that will remove it.
	strays *controller.Queue[controller.Key]
}

// New makes the Job controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	jobs := env.Informers.Batch().V1().Jobs()
	pods := env.Informers.Core().V1().Pods().Informer()
	if err := ownership.Index(pods); err != nil {
		return nil, err
	}
	c := &Controller{
		env: env, workers: workers,
		jobs: jobs.Lister(), pods: pods.GetIndexer(),
		control:  podcontrol.Control{Client: env.Client, Recorder: env.Recorder},
		expected: expectation.New[controller.Key](env.Clock),
		freed:    &uidSets{of: map[controller.Key]sets.Set[types.UID]{}},
		streaks:  &streaks{of: map[controller.Key]streak{}},
	}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	c.strays = controller.NewQueue("job-stray-pods", env.Clock, controller.DefaultBackoff, c.freeStray)
	controller.Watch(&c.sources, jobs.Informer(), controller.Handlers[*batchv1.Job]{
		Add:    func(job *batchv1.Job) { c.queue.Add(keyOf(job)) },
		Update: func(_, job *batchv1.Job) { c.queue.Add(keyOf(job)) },
		Delete: func(job *batchv1.Job) {
			c.queue.Add(keyOf(job))
			owned, err := ownership.Owned[*corev1.Pod](c.pods, job.UID)
			if err != nil {
				return
			}
			for _, pod := range owned {
				c.strays.Add(keyOf(pod))
			}
		},
	})
	controller.Watch(&c.sources, pods, controller.Handlers[*corev1.Pod]{Add: c.podAdded, Update: c.podUpdated, Delete: c.podDeleted})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "job-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if !c.sources.WaitForSync(ctx) {
		return nil
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { c.queue.Run(ctx, c.workers) })
	running.Go(func() { c.strays.Run(ctx, 1) })
	return nil
}

func keyOf(object metav1.Object) controller.Key { return cache.MetaObjectToName(object) }

func tracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}

// owner returns the Job that controls the pod.
func (c *Controller) owner(pod *corev1.Pod) (*batchv1.Job, bool) {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != kind.Kind {
		return nil, false
	}
	job, err := c.jobs.Jobs(pod.Namespace).Get(ref.Name)
	return job, err == nil && job.UID == ref.UID
}

func (c *Controller) podAdded(pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		c.podChanged(pod)
		return
	}
	if job, ok := c.owner(pod); ok {
		c.expected.Created(keyOf(job))
	}
	c.podChanged(pod)
}

func (c *Controller) podUpdated(old, pod *corev1.Pod) {
	if old.ResourceVersion == pod.ResourceVersion {
		return
	}
	if before, ok := c.owner(old); ok {
		if after, still := c.owner(pod); !still || after.UID != before.UID {
			c.freed.remove(keyOf(before), pod.UID)
			c.queue.Add(keyOf(before))
		}
	}
	c.podChanged(pod)
}

func (c *Controller) podChanged(pod *corev1.Pod) {
	job, ok := c.owner(pod)
	if !ok {
		if tracked(pod) {
			c.strays.Add(keyOf(pod))
		}
		c.offerOrphan(pod)
		return
	}
	key := keyOf(job)
	if !tracked(pod) {
		c.freed.remove(key, pod.UID)
	}
	if pod.DeletionTimestamp != nil {
		c.expected.Deleted(key, pod.UID)
	}
	if finished(job) && tracked(pod) {
		c.strays.Add(keyOf(pod))
	}
	c.queue.Add(key)
}

func (c *Controller) podDeleted(pod *corev1.Pod) {
	if job, ok := c.owner(pod); ok {
		key := keyOf(job)
		c.expected.Deleted(key, pod.UID)
		c.freed.remove(key, pod.UID)
		c.queue.Add(key)
	}
}

func (c *Controller) offerOrphan(pod *corev1.Pod) {
	jobs, _ := c.jobs.Jobs(pod.Namespace).List(labels.Everything()) // A cache does not fail.
	for _, key := range ownership.Adopters(pod, jobs, func(job *batchv1.Job) *metav1.LabelSelector { return job.Spec.Selector }) {
		c.queue.Add(key)
	}
}

// freeStray removes the finalizer of a pod whose Job is gone or done counting.
func (c *Controller) freeStray(ctx context.Context, key controller.Key) error {
	obj, exists, err := c.pods.GetByKey(key.String())
	if err != nil || !exists {
		return err
	}
	pod := obj.(*corev1.Pod)
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil && (ref.Kind != kind.Kind || ref.APIVersion != kind.GroupVersion().String()) {
		return nil
	}
	if job, ok := c.owner(pod); ok && (!finished(job) || managedElsewhere(job)) {
		return nil
	}
	return c.free(ctx, pod)
}

// free removes the pod's finalizer.
func (c *Controller) free(ctx context.Context, pod *corev1.Pod) error {
	if !tracked(pod) {
		return nil
	}
	patch := []byte(`{"metadata":{"uid":"` + string(pod.UID) + `","$deleteFromPrimitiveList/finalizers":["` + batchv1.JobTrackingFinalizer + `"]}}`)
	err := c.control.Patch(ctx, pod, patch)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// managedElsewhere tells whether the Job is left to another controller. https://kep.k8s.io/4368
func managedElsewhere(job *batchv1.Job) bool {
	return job.Spec.ManagedBy != nil && *job.Spec.ManagedBy != batchv1.JobControllerName
}

func conditionOf(job *batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		if job.Status.Conditions[i].Type == kind {
			return &job.Status.Conditions[i]
		}
	}
	return nil
}

func isTrue(condition *batchv1.JobCondition) bool {
	return condition != nil && condition.Status == corev1.ConditionTrue
}

func finished(job *batchv1.Job) bool {
	return isTrue(conditionOf(job, batchv1.JobComplete)) || isTrue(conditionOf(job, batchv1.JobFailed))
}

// uidSets holds a set of pods for each Job.
type uidSets struct {
	mu sync.Mutex
	of map[controller.Key]sets.Set[types.UID]
}

func (u *uidSets) add(key controller.Key, uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of[key] == nil {
		u.of[key] = sets.New[types.UID]()
	}
	u.of[key].Insert(uid)
}

func (u *uidSets) remove(key controller.Key, uid types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of[key].Delete(uid).Len() == 0 {
		delete(u.of, key)
	}
}

func (u *uidSets) get(key controller.Key) sets.Set[types.UID] {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.of[key].Clone()
}

func (u *uidSets) drop(key controller.Key) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.of, key)
}
