// Package cronjob starts a Job whenever a CronJob's schedule says so.
// https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
package cronjob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/ownership"
)

var kind = batchv1.SchemeGroupVersion.WithKind("CronJob")

// Controller is the CronJob controller.
type Controller struct {
	env      *controller.Env
	workers  int
	sources  controller.Sources
	cronJobs batchlisters.CronJobLister
	jobs     cache.Indexer
	queue    *controller.Queue[controller.Key]
}

// New makes the CronJob controller.
func New(env *controller.Env, workers int) (controller.Controller, error) {
	cronJobs, jobs := env.Informers.Batch().V1().CronJobs(), env.Informers.Batch().V1().Jobs().Informer()
	if err := ownership.Index(jobs); err != nil {
		return nil, err
	}
	c := &Controller{env: env, workers: workers, cronJobs: cronJobs.Lister(), jobs: jobs.GetIndexer()}
	c.queue = controller.NewQueue(c.Name(), env.Clock, controller.DefaultBackoff, c.sync)
	controller.Watch(&c.sources, cronJobs.Informer(), controller.Any(func(cj *batchv1.CronJob) { c.queue.Add(cache.MetaObjectToName(cj)) }))
	controller.Watch(&c.sources, jobs, controller.Any(func(job *batchv1.Job) {
		if ref := metav1.GetControllerOfNoCopy(job); ref != nil && ref.Kind == kind.Kind {
			c.queue.Add(controller.Key{Namespace: job.Namespace, Name: ref.Name})
		}
	}))
	return c, nil
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "cronjob-controller" }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context) error {
	if c.sources.WaitForSync(ctx) {
		c.queue.Run(ctx, c.workers)
	}
	return nil
}

func (c *Controller) sync(ctx context.Context, key controller.Key) error {
	cached, err := c.cronJobs.CronJobs(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	cj := cached.DeepCopy()
	jobs, err := ownership.Owned[*batchv1.Job](c.jobs, cj.UID)
	if err != nil {
		return err
	}
	c.review(ctx, cj, jobs)
	trimErr := c.trim(ctx, cj, jobs)
	startErr := c.start(ctx, key, cj, jobs)
	if !equality.Semantic.DeepEqual(cached.Status, cj.Status) {
		if _, err := c.env.Client.BatchV1().CronJobs(cj.Namespace).UpdateStatus(ctx, cj, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return errors.Join(trimErr, startErr, fmt.Errorf("unable to update status for %s: %w", key, err))
		}
	}
	return errors.Join(trimErr, startErr)
}

func ending(job *batchv1.Job) (batchv1.JobConditionType, bool) {
	for _, condition := range job.Status.Conditions {
		if (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobFailed) && condition.Status == corev1.ConditionTrue {
			return condition.Type, true
		}
	}
	return "", false
}

// review brings the list of active Jobs up to date.
func (c *Controller) review(ctx context.Context, cj *batchv1.CronJob, jobs []*batchv1.Job) {
	byUID := map[any]*batchv1.Job{}
	for _, job := range jobs {
		byUID[job.UID] = job
		how, ended := ending(job)
		active := slices.ContainsFunc(cj.Status.Active, func(ref corev1.ObjectReference) bool { return ref.UID == job.UID })
		switch {
		case !active && !ended && cj.Status.LastScheduleTime != nil && job.CreationTimestamp.Before(cj.Status.LastScheduleTime):
			c.env.Recorder.Eventf(cj, corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", job.Name)
		case active && ended:
			cj.Status.Active = slices.DeleteFunc(cj.Status.Active, func(ref corev1.ObjectReference) bool { return ref.UID == job.UID })
			c.env.Recorder.Eventf(cj, corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", job.Name, how)
		}
		if how == batchv1.JobComplete && job.Status.CompletionTime != nil &&
			(cj.Status.LastSuccessfulTime == nil || cj.Status.LastSuccessfulTime.Before(job.Status.CompletionTime)) {
			cj.Status.LastSuccessfulTime = job.Status.CompletionTime
		}
	}
	cj.Status.Active = slices.DeleteFunc(cj.Status.Active, func(ref corev1.ObjectReference) bool {
		if byUID[ref.UID] != nil {
			return false
		}
		// Just created and not in the cache yet, or gone.
		live, err := c.env.Client.BatchV1().Jobs(cj.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err == nil && live.UID == ref.UID || err != nil && !apierrors.IsNotFound(err) {
			return false
		}
		c.env.Recorder.Eventf(cj, corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
		return true
	})
}

// trim deletes the oldest of the finished Jobs that the limits have no place for.
func (c *Controller) trim(ctx context.Context, cj *batchv1.CronJob, jobs []*batchv1.Job) error {
	limits := map[batchv1.JobConditionType]int{
		batchv1.JobComplete: int(ptr.Deref(cj.Spec.SuccessfulJobsHistoryLimit, 3)),
		batchv1.JobFailed:   int(ptr.Deref(cj.Spec.FailedJobsHistoryLimit, 1)),
	}
	var errs []error
	for how, limit := range limits {
		var finished []*batchv1.Job
		for _, job := range jobs {
			if got, ended := ending(job); ended && got == how && job.DeletionTimestamp == nil {
				finished = append(finished, job)
			}
		}
		slices.SortFunc(finished, func(a, b *batchv1.Job) int {
			return cmp.Or(ptr.Deref(a.Status.StartTime, a.CreationTimestamp).Compare(ptr.Deref(b.Status.StartTime, b.CreationTimestamp).Time), cmp.Compare(a.Name, b.Name))
		})
		for i := 0; i < len(finished)-limit; i++ {
			errs = append(errs, c.delete(ctx, cj, finished[i].Name))
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) delete(ctx context.Context, cj *batchv1.CronJob, name string) error {
	background := metav1.DeletePropagationBackground
	err := c.env.Client.BatchV1().Jobs(cj.Namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		c.env.Recorder.Eventf(cj, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
		return err
	}
	c.env.Recorder.Eventf(cj, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", name)
	return nil
}

// start starts the Job that is due, and has the CronJob looked at again when the next one will be.
func (c *Controller) start(ctx context.Context, key controller.Key, cj *batchv1.CronJob, jobs []*batchv1.Job) error {
	if cj.DeletionTimestamp != nil || ptr.Deref(cj.Spec.Suspend, false) {
		return nil
	}
	plan, err := planOf(cj)
	if err != nil {
		c.env.Recorder.Eventf(cj, corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", cj.Spec.Schedule, err)
		return nil // Until it is changed, no attempt will do better.
	}
	now := c.env.Clock.Now()
	if next := plan.next(now); !next.IsZero() {
		c.queue.AddAfter(key, next.Sub(now)+10*time.Millisecond)
	}
	since := cj.CreationTimestamp.Time
	if cj.Status.LastScheduleTime != nil {
		since = cj.Status.LastScheduleTime.Time
	}
	due, many := plan.latest(since, now)
	if due.IsZero() {
		return nil
	}
	if many {
		c.env.Recorder.Eventf(cj, corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	if deadline := cj.Spec.StartingDeadlineSeconds; deadline != nil && due.Add(time.Duration(*deadline)*time.Second).Before(now) {
		c.env.Recorder.Eventf(cj, corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", due.UTC().Format(time.RFC1123Z))
		return nil
	}
	name := jobName(cj, due)
	if slices.ContainsFunc(jobs, func(job *batchv1.Job) bool { return job.Name == name }) {
		cj.Status.LastScheduleTime = &metav1.Time{Time: due}
		return nil
	}
	switch {
	case len(cj.Status.Active) == 0:
	case cj.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent:
		c.env.Recorder.Eventf(cj, corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return nil
	case cj.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent:
		for _, ref := range cj.Status.Active {
			if err := c.delete(ctx, cj, ref.Name); err != nil {
				return err
			}
		}
		cj.Status.Active = nil
	}
	return c.create(ctx, cj, jobFor(cj, name, due), due)
}

func planOf(cj *batchv1.CronJob) (*schedule, error) {
	location := time.Local
	if cj.Spec.TimeZone != nil {
		var err error
		if location, err = time.LoadLocation(*cj.Spec.TimeZone); err != nil {
			return nil, err
		}
	}
	return parseSchedule(cj.Spec.Schedule, location)
}

// jobName is the same for every attempt at one scheduled time, so that no time gets two Jobs.
func jobName(cj *batchv1.CronJob, due time.Time) string {
	return fmt.Sprintf("%s-%d", cj.Name, due.Unix()/60)
}

func jobFor(cj *batchv1.CronJob, name string, due time.Time) *batchv1.Job {
	annotations := maps.Clone(cj.Spec.JobTemplate.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[batchv1.CronJobScheduledTimestampAnnotation] = due.Format(time.RFC3339)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cj.Namespace, Name: name, Labels: maps.Clone(cj.Spec.JobTemplate.Labels), Annotations: annotations,
			CreationTimestamp: metav1.Time{Time: due}, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cj, kind)},
		},
		Spec: *cj.Spec.JobTemplate.Spec.DeepCopy(),
	}
}

func (c *Controller) create(ctx context.Context, cj *batchv1.CronJob, job *batchv1.Job, due time.Time) error {
	client := c.env.Client.BatchV1().Jobs(cj.Namespace)
	created, err := client.Create(ctx, job, metav1.CreateOptions{})
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case apierrors.IsAlreadyExists(err):
		if created, err = client.Get(ctx, job.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		if !metav1.IsControlledBy(created, cj) {
			c.env.Recorder.Eventf(cj, corev1.EventTypeWarning, "FailedCreate", "CronJob %s job creation failed because name %s is already used", cj.Name, job.Name)
			return nil
		}
	case err != nil:
		c.env.Recorder.Eventf(cj, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
		return err
	default:
		c.env.Recorder.Eventf(cj, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", created.Name)
	}
	cj.Status.LastScheduleTime = &metav1.Time{Time: due}
	if _, ended := ending(created); !ended {
		cj.Status.Active = append(cj.Status.Active, corev1.ObjectReference{
			APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job", Namespace: created.Namespace, Name: created.Name, UID: created.UID, ResourceVersion: created.ResourceVersion,
		})
	}
	return nil
}
