package statefulset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/podcontrol"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

// turn is one look at one set.
type turn struct {
	c   *Controller
	set *appsv1.StatefulSet
	// current and update are the revisions that pods have and that they are to get, with their templates.
	current, update version
	// slots are the pods by ordinal, nil where there is none; condemned are those of other ordinals, the highest first.
	slots     []*corev1.Pod
	condemned []*corev1.Pod
	now       time.Time
}

type version struct {
	name     string
	template *corev1.PodTemplateSpec
}

func (t *turn) sort(pods []*corev1.Pod) {
	t.slots = make([]*corev1.Pod, size(t.set))
	for _, pod := range pods {
		ordinal, ok := ordinalOf(t.set, pod)
		if !ok {
			continue
		}
		if slot := ordinal - first(t.set); slot >= 0 && slot < len(t.slots) {
			t.slots[slot] = pod
		} else {
			t.condemned = append(t.condemned, pod)
		}
	}
	slices.SortFunc(t.condemned, func(a, b *corev1.Pod) int {
		ordinalA, _ := ordinalOf(t.set, a)
		ordinalB, _ := ordinalOf(t.set, b)
		return ordinalB - ordinalA
	})
}

func (t *turn) ordered() bool { return t.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement }

func (t *turn) available(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && podstate.Available(pod, time.Duration(t.set.Spec.MinReadySeconds)*time.Second, t.now)
}

// healthy pods are available and stay.
func (t *turn) healthy(pod *corev1.Pod) bool {
	return pod != nil && pod.DeletionTimestamp == nil && t.available(pod)
}

// versionFor is the revision that a new pod of the slot starts with: below the partition, or while an update without one
// has not got there, the one that the others have.
func (t *turn) versionFor(slot int) version {
	if t.set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateStatefulSetStrategyType {
		return t.update
	}
	below := int(t.set.Status.CurrentReplicas)
	if rolling := t.set.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		below = int(ptr.Deref(rolling.Partition, 0))
	}
	if slot < below {
		return t.current
	}
	return t.update
}

// act does what the set needs: pods for empty slots first, then the end of condemned pods, then a step of the update.
// In an ordered set each of them waits for the one before.
func (t *turn) act(ctx context.Context) error {
	if t.set.DeletionTimestamp != nil {
		return nil
	}
	blocked, err := t.each(len(t.slots), func(slot int) (bool, error) { return t.fill(ctx, slot) })
	if blocked || err != nil {
		return err
	}
	for _, pod := range t.condemned {
		if err := t.ownClaims(ctx, pod, true); err != nil {
			return err
		}
	}
	unhealthy := t.firstUnhealthy()
	blocked, err = t.each(len(t.condemned), func(i int) (bool, error) { return t.condemn(ctx, t.condemned[i], unhealthy) })
	if blocked || err != nil {
		return err
	}
	if t.set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateStatefulSetStrategyType {
		return nil
	}
	return t.roll(ctx)
}

// each calls do in order until one blocks, or for all at once where order does not matter.
func (t *turn) each(count int, do func(i int) (blocks bool, err error)) (bool, error) {
	if t.ordered() {
		for i := range count {
			if blocks, err := do(i); blocks || err != nil {
				return true, err
			}
		}
		return false, nil
	}
	_, err := podcontrol.SlowStart(count, func(i int) error {
		_, err := do(i)
		return err
	})
	return err != nil, err
}

// fill sees to one slot; it blocks the following while its pod is not available.
func (t *turn) fill(ctx context.Context, slot int) (blocks bool, err error) {
	pod, ordinal := t.slots[slot], first(t.set)+slot
	if pod != nil && podstate.Ended(pod) {
		if pod.DeletionTimestamp == nil {
			return true, t.delete(ctx, pod)
		}
		return true, nil // A new one is made once the name is free.
	}
	if pod == nil {
		v := t.versionFor(slot)
		pod = podFor(t.set, v.template, v.name, ordinal)
		if err := t.makeClaims(ctx, pod, ordinal); err != nil {
			return true, err
		}
		created, err := t.create(ctx, pod)
		if err != nil {
			return true, err
		}
		t.slots[slot] = created
		return true, nil
	}
	if pod.Status.Phase == corev1.PodPending {
		if err := t.makeClaims(ctx, pod, ordinal); err != nil {
			return true, err
		}
	}
	if pod.DeletionTimestamp != nil || !t.available(pod) {
		if t.ordered() {
			return true, nil
		}
	}
	if pod.DeletionTimestamp == nil {
		if err := t.restore(ctx, pod, ordinal); err != nil {
			return true, err
		}
	}
	return false, nil
}

// restore gives a pod the labels it has lost and its claims the owner that the retention policy wants.
func (t *turn) restore(ctx context.Context, pod *corev1.Pod, ordinal int) error {
	if whole := pod.DeepCopy(); identify(t.set, whole, ordinal) {
		_, err := t.c.env.Client.CoreV1().Pods(pod.Namespace).Update(ctx, whole, metav1.UpdateOptions{})
		t.tell("update", pod.Name, err)
		if err != nil {
			return err
		}
	}
	return t.ownClaims(ctx, pod, false)
}

func (t *turn) firstUnhealthy() *corev1.Pod {
	for _, pod := range t.slots {
		if pod != nil && !t.healthy(pod) {
			return pod
		}
	}
	for _, pod := range slices.Backward(t.condemned) {
		if !t.healthy(pod) {
			return pod
		}
	}
	return nil
}

// condemn ends a pod of a slot that is no more. In an ordered set, one that is not available is only ended if it is the
// first such: the others may be waiting for it.
func (t *turn) condemn(ctx context.Context, pod, unhealthy *corev1.Pod) (blocks bool, err error) {
	switch {
	case pod.DeletionTimestamp != nil:
		return true, nil
	case t.ordered() && !t.available(pod) && pod != unhealthy:
		return true, nil
	}
	return true, t.delete(ctx, pod)
}

// roll ends pods of an old revision, from the highest ordinal down, as far as may be unavailable at once.
func (t *turn) roll(ctx context.Context) error {
	partition, limit := 0, 1
	if rolling := t.set.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		partition = int(ptr.Deref(rolling.Partition, 0))
		if rolling.MaxUnavailable != nil {
			scaled, err := intstr.GetScaledValueFromIntOrPercent(rolling.MaxUnavailable, size(t.set), false)
			if err != nil {
				return err
			}
			limit = max(1, scaled)
		}
	}
	for _, pod := range t.outdated(partition, limit) {
		if err := t.delete(ctx, pod); err != nil {
			return err
		}
	}
	return nil
}

// outdated chooses the pods of an old revision that are to end now. Of a set without order, those that serve nobody go
// whatever the limit: they may be what keeps it from being met.
func (t *turn) outdated(partition, limit int) []*corev1.Pod {
	var broken, serving []*corev1.Pod
	down := 0
	for slot, pod := range slices.Backward(t.slots) {
		healthy := t.healthy(pod)
		if !healthy {
			down++
		}
		switch {
		case slot < partition || pod == nil || pod.DeletionTimestamp != nil || revisionOf(pod) == t.update.name:
		case !healthy && !t.ordered():
			broken = append(broken, pod)
		default:
			serving = append(serving, pod)
		}
	}
	return append(broken, serving[:max(0, min(limit-down, len(serving)))]...)
}

// count is the status that the pods add up to; wait is when the next ready pod becomes available.
func (t *turn) count(pods []*corev1.Pod) (status appsv1.StatefulSetStatus, wait time.Duration) {
	status = appsv1.StatefulSetStatus{
		ObservedGeneration: t.set.Generation,
		CurrentRevision:    t.current.name,
		UpdateRevision:     t.update.name,
		CollisionCount:     ptr.To(ptr.Deref(t.set.Status.CollisionCount, 0)),
		Conditions:         t.set.Status.Conditions,
	}
	for _, pod := range pods {
		if pod.Status.Phase == "" {
			continue
		}
		status.Replicas++
		if pod.Status.Phase == corev1.PodRunning && podstate.Ready(pod) {
			status.ReadyReplicas++
			left, _ := podstate.AvailableIn(pod, time.Duration(t.set.Spec.MinReadySeconds)*time.Second, t.now)
			if left == 0 {
				status.AvailableReplicas++
			} else if wait == 0 || left < wait {
				wait = left
			}
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		if revisionOf(pod) == t.current.name {
			status.CurrentReplicas++
		}
		if revisionOf(pod) == t.update.name {
			status.UpdatedReplicas++
		}
	}
	done := t.set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType &&
		status.UpdatedReplicas == status.Replicas && status.ReadyReplicas == status.Replicas
	if done {
		status.CurrentReplicas, status.CurrentRevision = status.UpdatedReplicas, status.UpdateRevision
	}
	return status, wait
}

func (t *turn) create(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	created, err := t.c.env.Client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return pod, err // Already there: the cache is behind, or an orphan has the name.
	}
	t.tell("create", pod.Name, err)
	return created, err
}

func (t *turn) delete(ctx context.Context, pod *corev1.Pod) error {
	err := t.c.env.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	t.tell("delete", pod.Name, err)
	return err
}

func (t *turn) tell(verb, pod string, err error) {
	title := strings.ToUpper(verb[:1]) + verb[1:]
	if err == nil {
		t.c.env.Recorder.Eventf(t.set, corev1.EventTypeNormal, "Successful"+title, "%s Pod %s in StatefulSet %s successful", verb, pod, t.set.Name)
	} else if !apierrors.IsConflict(err) {
		t.c.env.Recorder.Eventf(t.set, corev1.EventTypeWarning, "Failed"+title, "%s Pod %s in StatefulSet %s failed error: %s", verb, pod, t.set.Name, err)
	}
}

// makeClaims creates the claims of a pod that do not exist.
func (t *turn) makeClaims(ctx context.Context, pod *corev1.Pod, ordinal int) error {
	var errs []error
	for i := range t.set.Spec.VolumeClaimTemplates {
		claim := claimFor(t.set, &t.set.Spec.VolumeClaimTemplates[i], ordinal)
		existing, err := t.c.claims.PersistentVolumeClaims(claim.Namespace).Get(claim.Name)
		switch {
		case err == nil && existing.DeletionTimestamp != nil:
			errs = append(errs, fmt.Errorf("pvc %s is being deleted", claim.Name))
		case apierrors.IsNotFound(err):
			claim.OwnerReferences, _ = claimOwners(t.set, pod, claim, false)
			_, err := t.c.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Create(ctx, claim, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				continue
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("failed to create PVC %s: %w", claim.Name, err))
				t.c.env.Recorder.Eventf(t.set, corev1.EventTypeWarning, "FailedCreate", "create Claim %s for Pod %s in StatefulSet %s failed error: %s", claim.Name, pod.Name, t.set.Name, err)
				continue
			}
			t.c.env.Recorder.Eventf(t.set, corev1.EventTypeNormal, "SuccessfulCreate", "create Claim %s Pod %s in StatefulSet %s success", claim.Name, pod.Name, t.set.Name)
		case err != nil:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ownClaims gives the pod's claims the owner that the retention policy wants.
func (t *turn) ownClaims(ctx context.Context, pod *corev1.Pod, leaving bool) error {
	ordinal, _ := ordinalOf(t.set, pod)
	var errs []error
	for i := range t.set.Spec.VolumeClaimTemplates {
		claim, err := t.c.claims.PersistentVolumeClaims(t.set.Namespace).Get(claimName(t.set, &t.set.Spec.VolumeClaimTemplates[i], ordinal))
		if err != nil {
			continue
		}
		owners, changed := claimOwners(t.set, pod, claim, leaving)
		if !changed {
			continue
		}
		updated := claim.DeepCopy()
		updated.OwnerReferences = owners
		_, err = t.c.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, updated, metav1.UpdateOptions{})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
