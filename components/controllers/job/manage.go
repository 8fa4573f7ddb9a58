package job

import (
	"context"
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/podcontrol"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

// burst bounds how many pods one turn creates or deletes.
const burst = 500

// manage makes as many pods active as there should be, and returns how many there are.
func (t *turn) manage(ctx context.Context) (int32, error) {
	active := int32(len(t.active))
	wanted := t.wanted()
	if surplus := t.surplus(int(max(0, active-wanted))); len(surplus) > 0 {
		ended, err := t.end(ctx, surplus[:min(len(surplus), burst)], true)
		return active - ended, err
	}
	missing := wanted - active
	if replacesOnlyFailed(t.job) {
		missing -= t.terminating
	}
	if missing <= 0 {
		return active, nil
	}
	if t.job.Spec.BackoffLimitPerIndex == nil {
		if wait := t.streak.wait(t.c.env.Clock.Now()); wait > 0 {
			t.c.queue.AddAfter(t.key, wait)
			return active, nil
		}
	}
	created, err := t.create(ctx, int(min(missing, burst)))
	return active + created, err
}

// wanted is how many pods should be active.
func (t *turn) wanted() int32 {
	parallelism := ptr.Deref(t.job.Spec.Parallelism, 1)
	switch {
	case suspended(t.job):
		return 0
	case t.job.Spec.Completions == nil && t.succeeded > 0:
		return int32(len(t.active)) // One success is enough; what runs may finish.
	case t.job.Spec.Completions == nil:
		return parallelism
	}
	return max(0, min(parallelism, *t.job.Spec.Completions-t.succeeded))
}

// surplus returns at least so many of the active pods to end: pods of no index or of one that has another pod first,
// then those whose deletion loses least.
func (t *turn) surplus(least int) []*corev1.Pod {
	rest := append([]*corev1.Pod(nil), t.active...)
	podstate.SortByLoss(rest, nil, t.c.env.Clock.Now())
	var surplus []*corev1.Pod
	if indexed(t.job) {
		var unique []*corev1.Pod
		seen := map[int]bool{}
		for i := len(rest) - 1; i >= 0; i-- { // The best of each index stays.
			index := indexOf(rest[i])
			if !t.validIndex(index) || seen[index] {
				surplus = append(surplus, rest[i])
				continue
			}
			seen[index] = true
			unique = append([]*corev1.Pod{rest[i]}, unique...)
		}
		rest = unique
	}
	if more := least - len(surplus); more > 0 {
		surplus = append(surplus, rest[:min(more, len(rest))]...)
	}
	return surplus
}

// end deletes pods and returns how many it did. A pod that is not to be counted loses its finalizer first.
func (t *turn) end(ctx context.Context, pods []*corev1.Pod, uncounted bool) (int32, error) {
	for _, pod := range pods {
		if uncounted {
			t.c.expected.ExpectDeletions(t.key, pod.UID)
		}
	}
	errs := podcontrol.Parallel(len(pods), func(i int) error {
		pod := pods[i]
		var err error
		if uncounted {
			err = t.c.free(ctx, pod)
		}
		if err == nil {
			err = t.c.control.Delete(ctx, pod, t.job)
		}
		if err != nil {
			t.c.expected.Deleted(t.key, pod.UID)
		}
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	ended := int32(len(pods) - len(errs))
	if len(errs) > 0 {
		return ended, errs[0]
	}
	t.terminating += ended
	for _, pod := range pods {
		if podstate.Ready(pod) {
			t.ready--
		}
	}
	return ended, nil
}

// create makes new pods and returns how many it made.
func (t *turn) create(ctx context.Context, count int) (int32, error) {
	var free []int
	if indexed(t.job) {
		free = t.freeIndexes(count)
		count = len(free)
	}
	if count == 0 {
		return 0, nil
	}
	t.c.expected.ExpectCreations(t.key, count)
	ref := metav1.NewControllerRef(t.job, kind)
	created, err := podcontrol.SlowStart(count, func(i int) error {
		pod := podcontrol.FromTemplate(&t.job.Spec.Template, t.job, ref)
		pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
		if indexed(t.job) {
			t.setIndex(pod, free[i])
		}
		_, err := t.c.control.Create(ctx, pod, t.job)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			t.c.expected.Created(t.key)
			return nil
		}
		return err
	})
	t.c.expected.CreatedMany(t.key, count-created)
	return int32(created), err
}

// freeIndexes returns the lowest indexes that need a pod and may have one now.
func (t *turn) freeIndexes(count int) []int {
	taken := map[int]bool{}
	for _, pod := range t.pods {
		if podstate.Active(pod) || (podstate.Terminating(pod) && replacesOnlyFailed(t.job)) {
			taken[indexOf(pod)] = true
		}
	}
	var (
		free []int
		soon time.Duration
	)
	for index := 0; index < int(*t.job.Spec.Completions) && len(free) < count; index++ {
		if taken[index] || t.done.has(index) || t.lost.has(index) {
			continue
		}
		if held := t.held[index]; held != nil {
			counted, ignored := failuresAfter(t.job, held)
			if wait := (streak{failures: counted + ignored, last: endOf(held)}).wait(t.c.env.Clock.Now()); wait > 0 {
				if soon == 0 || wait < soon {
					soon = wait
				}
				continue
			}
		}
		free = append(free, index)
	}
	if soon > 0 {
		t.c.queue.AddAfter(t.key, soon)
	}
	return free
}

// setIndex tells the pod its index: by annotation, label, environment variable and host name.
// https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
func (t *turn) setIndex(pod *corev1.Pod, index int) {
	text := strconv.Itoa(index)
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = text
	pod.Labels[batchv1.JobCompletionIndexAnnotation] = text
	if t.job.Spec.BackoffLimitPerIndex != nil {
		var counted, ignored int32
		if held := t.held[index]; held != nil {
			counted, ignored = failuresAfter(t.job, held)
		}
		pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(int(counted))
		if ignored > 0 {
			pod.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(int(ignored))
		}
	}
	// Room for the API server's random suffix within a host name's 63 characters.
	const longest = 63 - 5
	suffix := "-" + text + "-"
	pod.GenerateName = t.job.Name[:min(len(t.job.Name), longest-len(suffix))] + suffix
	pod.Spec.Hostname = fmt.Sprintf("%s-%d", t.job.Name, index)
	variable := corev1.EnvVar{Name: "JOB_COMPLETION_INDEX", ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"},
	}}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			containers[i].Env = withVariable(containers[i].Env, variable)
		}
	}
}

func withVariable(env []corev1.EnvVar, variable corev1.EnvVar) []corev1.EnvVar {
	for _, existing := range env {
		if existing.Name == variable.Name {
			return env
		}
	}
	return append(env, variable)
}
