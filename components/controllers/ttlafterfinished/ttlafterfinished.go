// Package ttlafterfinished deletes Jobs some time after they have finished.
// https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/
package ttlafterfinished

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// Controller is the TTL-after-finished controller.
type Controller struct {
	env     *controller.Env
	workers int
	sources controller.Sources
	jobs    batchlisters.JobLister
	queue   *controller.Queue[controller.Key]
}

// New makes the TTL-after-finished controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	jobs := env.Informers.Batch().V1().Jobs()
	c := &Controller{env: env, workers: workers, jobs: jobs.Lister()}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	changed := func(job *batchv1.Job) {
		if _, ends := expiry(job); ends {
			c.queue.Add(cache.MetaObjectToName(job))
		}
	}
	controller.Watch(&c.sources, jobs.Informer(), controller.Handlers[*batchv1.Job]{Add: changed, Update: func(_, job *batchv1.Job) { changed(job) }})
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "ttl-after-finished-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, c.workers)
	}
	return nil
}

// expiry is when the Job is to go; ends is false if it has not finished, has no TTL or is going already.
func expiry(job *batchv1.Job) (at time.Time, ends bool) {
	if job.Spec.TTLSecondsAfterFinished == nil || job.DeletionTimestamp != nil {
		return time.Time{}, false
	}
	for _, condition := range job.Status.Conditions {
		if (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobFailed) && condition.Status == corev1.ConditionTrue {
			return condition.LastTransitionTime.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second), true
		}
	}
	return time.Time{}, false
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	job, err := c.jobs.Jobs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.waits(key, job) {
		return nil
	}
	// The cache may be behind a change of the TTL: ask before what cannot be undone.
	live, err := c.env.Client.BatchV1().Jobs(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.waits(key, live) {
		return nil
	}
	foreground := metav1.DeletePropagationForeground
	err = c.env.Client.BatchV1().Jobs(key.Namespace).Delete(ctx, key.Name, metav1.DeleteOptions{
		PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// waits tells whether the Job's time has not come, and comes back when it has.
func (c *Controller) waits(key controller.Key, job *batchv1.Job) bool {
	at, ends := expiry(job)
	if !ends {
		return true
	}
	left := at.Sub(c.env.Clock.Now())
	if left > 0 {
		c.queue.AddAfter(key, left)
	}
	return left > 0
}
