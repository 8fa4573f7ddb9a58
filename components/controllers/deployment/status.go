package deployment

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Reasons of the condition Progressing. https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status
const (
	reasonUpdated      = "ReplicaSetUpdated"
	reasonCreateFailed = "ReplicaSetCreateError"
	reasonCreated      = "NewReplicaSetCreated"
	reasonFound        = "FoundNewReplicaSet"
	reasonAvailable    = "NewReplicaSetAvailable"
	reasonTimedOut     = "ProgressDeadlineExceeded"
	reasonPaused       = "DeploymentPaused"
	reasonResumed      = "DeploymentResumed"
)

func hasDeadline(d *appsv1.Deployment) bool {
	return ptr.Deref(d.Spec.ProgressDeadlineSeconds, math.MaxInt32) != math.MaxInt32
}

func condition(status *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range status.Conditions {
		if status.Conditions[i].Type == kind {
			return &status.Conditions[i]
		}
	}
	return nil
}

func dropCondition(status *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) {
	status.Conditions = slices.DeleteFunc(slices.Clone(status.Conditions), func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
}

// setCondition puts the condition in place unless its status and reason are those of the one there: then its update time
// must stay, for the progress deadline runs from it.
func setCondition(status *appsv1.DeploymentStatus, wanted appsv1.DeploymentCondition) {
	if old := condition(status, wanted.Type); old != nil {
		if old.Status == wanted.Status && old.Reason == wanted.Reason {
			return
		}
		if old.Status == wanted.Status {
			wanted.LastTransitionTime = old.LastTransitionTime
		}
	}
	dropCondition(status, wanted.Type)
	status.Conditions = append(status.Conditions, wanted)
}

func (r *rollout) condition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) appsv1.DeploymentCondition {
	now := metav1.NewTime(r.c.env.Clock.Now())
	return appsv1.DeploymentCondition{Type: kind, Status: status, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
}

func (r *rollout) progressing(status corev1.ConditionStatus, reason, message string) appsv1.DeploymentCondition {
	return r.condition(appsv1.DeploymentProgressing, status, reason, message)
}

// notePause stops and restarts the clock of the progress deadline.
func (r *rollout) notePause(ctx context.Context) error {
	if !hasDeadline(r.d) {
		return nil
	}
	now := condition(&r.d.Status, appsv1.DeploymentProgressing)
	if now != nil && now.Reason == reasonTimedOut {
		return nil
	}
	noted := now != nil && now.Reason == reasonPaused
	switch {
	case r.d.Spec.Paused && !noted:
		setCondition(&r.d.Status, r.progressing(corev1.ConditionUnknown, reasonPaused, "Deployment is paused"))
	case !r.d.Spec.Paused && noted:
		setCondition(&r.d.Status, r.progressing(corev1.ConditionUnknown, reasonResumed, "Deployment is resumed"))
	default:
		return nil
	}
	return r.writeDeployment(ctx)
}

// writeDeployment writes status and annotations (the status subresource takes both) and goes on with the result.
func (r *rollout) writeDeployment(ctx context.Context) error {
	updated, err := r.c.env.Client.AppsV1().Deployments(r.d.Namespace).UpdateStatus(ctx, r.d, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	r.c.written.Note(keyOf(r.d), updated)
	r.d = updated.DeepCopy()
	return nil
}

// counts is the status that the sets add up to.
func (r *rollout) counts() appsv1.DeploymentStatus {
	status := appsv1.DeploymentStatus{
		ObservedGeneration: r.d.Generation,
		CollisionCount:     r.d.Status.CollisionCount,
		Conditions:         slices.Clone(r.d.Status.Conditions),
	}
	var terminating *int32
	for _, set := range r.sets {
		status.Replicas += set.Status.Replicas
		status.ReadyReplicas += set.Status.ReadyReplicas
		status.AvailableReplicas += set.Status.AvailableReplicas
		if set.Status.TerminatingReplicas != nil {
			terminating = ptr.To(ptr.Deref(terminating, 0) + *set.Status.TerminatingReplicas)
		}
	}
	status.TerminatingReplicas = terminating
	if r.fresh != nil {
		status.UpdatedReplicas = r.fresh.Status.Replicas
	}
	status.UnavailableReplicas = max(0, sum(r.sets, size)-status.AvailableReplicas)
	_, unavailable := bounds(r.d)
	if status.AvailableReplicas >= desired(r.d)-unavailable {
		setCondition(&status, r.condition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability."))
	} else {
		setCondition(&status, r.condition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability."))
	}
	return status
}

func (r *rollout) writeCounts(ctx context.Context) error { return r.writeStatus(ctx, r.counts()) }

func (r *rollout) writeStatus(ctx context.Context, status appsv1.DeploymentStatus) error {
	if equality.Semantic.DeepEqual(r.d.Status, status) {
		return nil
	}
	r.d.Status = status
	return r.writeDeployment(ctx)
}

// complete tells whether all that is wanted is there, of the new template and available, and nothing else.
func complete(d *appsv1.Deployment, status appsv1.DeploymentStatus) bool {
	return status.UpdatedReplicas == desired(d) && status.Replicas == desired(d) &&
		status.AvailableReplicas == desired(d) && status.ObservedGeneration >= d.Generation
}

// progressed tells whether status is a step forward from the one last written.
func progressed(before, after appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas ||
		after.AvailableReplicas > before.AvailableReplicas
}

// overdue is how long the rollout may still go without progress (0: no longer). ok is false if no clock is running.
func overdue(d *appsv1.Deployment, status *appsv1.DeploymentStatus, now time.Time) (left time.Duration, ok bool) {
	c := condition(status, appsv1.DeploymentProgressing)
	if c == nil || c.Reason == reasonAvailable || c.Reason == reasonPaused {
		return 0, false
	}
	if c.Reason == reasonTimedOut {
		return 0, true
	}
	deadline := c.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second)
	return max(0, deadline.Sub(now)), true
}

// report writes the status of a rollout in progress: counts, and the conditions Progressing and ReplicaFailure.
func (r *rollout) report(ctx context.Context) error {
	status := r.counts()
	if !hasDeadline(r.d) {
		dropCondition(&status, appsv1.DeploymentProgressing)
	} else {
		r.judge(&status)
	}
	if failure := r.failure(); failure != nil {
		setCondition(&status, *failure)
	} else {
		dropCondition(&status, appsv1.DeploymentReplicaFailure)
	}
	if err := r.writeStatus(ctx, status); err != nil {
		return err
	}
	if hasDeadline(r.d) && !complete(r.d, r.d.Status) {
		if left, running := overdue(r.d, &r.d.Status, r.c.env.Clock.Now()); running && left > 0 {
			// Times are stored in whole seconds: look once the deadline has surely passed.
			r.c.queue.AddAfter(keyOf(r.d), left+time.Second)
		}
	}
	return nil
}

func (r *rollout) judge(status *appsv1.DeploymentStatus) {
	now := condition(status, appsv1.DeploymentProgressing)
	if now != nil && now.Reason == reasonAvailable && status.Replicas == status.UpdatedReplicas {
		return // It had completed: pods that come and go since are no rollout.
	}
	subject := fmt.Sprintf("Deployment %q", r.d.Name)
	if r.fresh != nil {
		subject = fmt.Sprintf("ReplicaSet %q", r.fresh.Name)
	}
	left, running := overdue(r.d, status, r.c.env.Clock.Now())
	switch {
	case complete(r.d, *status):
		setCondition(status, r.progressing(corev1.ConditionTrue, reasonAvailable, subject+" has successfully progressed."))
	case progressed(r.d.Status, *status):
		// A new update time each time: the deadline starts again.
		wanted := r.progressing(corev1.ConditionTrue, reasonUpdated, subject+" is progressing.")
		if now != nil && now.Status == corev1.ConditionTrue {
			wanted.LastTransitionTime = now.LastTransitionTime
		}
		dropCondition(status, appsv1.DeploymentProgressing)
		setCondition(status, wanted)
	case running && left == 0:
		setCondition(status, r.progressing(corev1.ConditionFalse, reasonTimedOut, subject+" has timed out progressing."))
	}
}

// failure is the ReplicaFailure condition of a set, preferably the new one.
func (r *rollout) failure() *appsv1.DeploymentCondition {
	sets := r.old
	if r.fresh != nil {
		sets = append([]*appsv1.ReplicaSet{r.fresh}, r.old...)
	}
	for _, set := range sets {
		for _, c := range set.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				failure := r.condition(appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message)
				failure.LastTransitionTime = c.LastTransitionTime
				return &failure
			}
		}
	}
	return nil
}
