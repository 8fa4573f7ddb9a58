package deployment

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/ownership"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

var errCollision = errors.New("the name of the new replica set is taken by another one")

// rollout is one turn at one Deployment: d is a copy that the turn may change, sets are what it owns.
type rollout struct {
	c     *Controller
	d     *appsv1.Deployment
	sets  []*appsv1.ReplicaSet
	fresh *appsv1.ReplicaSet
	old   []*appsv1.ReplicaSet
}

func (r *rollout) replace(before, after *appsv1.ReplicaSet) {
	for _, list := range [][]*appsv1.ReplicaSet{r.sets, r.old} {
		for i := range list {
			if list[i] == before {
				list[i] = after
			}
		}
	}
	if r.fresh == before {
		r.fresh = after
	}
}

// observe only brings the status up to date.
func (r *rollout) observe(ctx context.Context) error {
	r.fresh, r.old = split(r.d, r.sets)
	return r.writeCounts(ctx)
}

// resized tells whether the Deployment's size has changed since its active sets were last scaled.
func (r *rollout) resized() bool {
	for _, set := range r.sets {
		if was, ok := number(set, desiredReplicasAnnotation); ok && size(set) > 0 && was != desired(r.d) {
			return true
		}
	}
	return false
}

// resize spreads a change of size over the sets without rolling anything forward; a paused Deployment does no more.
func (r *rollout) resize(ctx context.Context) error {
	if err := r.prepare(ctx, false); err != nil {
		return err
	}
	if err := r.spread(ctx); err != nil {
		return err
	}
	if r.d.Spec.Paused {
		if err := r.trim(ctx); err != nil {
			return err
		}
	}
	return r.writeCounts(ctx)
}

func (r *rollout) spread(ctx context.Context) error {
	var active []*appsv1.ReplicaSet
	for _, set := range r.sets {
		if size(set) > 0 {
			active = append(active, set)
		}
	}
	if len(active) <= 1 {
		only := r.newestSet()
		if len(active) == 1 {
			only = active[0]
		}
		if only == nil {
			return nil
		}
		_, err := r.scale(ctx, only, desired(r.d))
		return err
	}
	if r.saturated() {
		for _, set := range r.old {
			if _, err := r.scale(ctx, set, 0); err != nil {
				return err
			}
		}
		return nil
	}
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	for set, wanted := range proportional(r.d, active) {
		if _, err := r.scale(ctx, set, wanted); err != nil {
			return err
		}
	}
	return nil
}

// newestSet is the new set, else the youngest of the old.
func (r *rollout) newestSet() *appsv1.ReplicaSet {
	if r.fresh != nil || len(r.old) == 0 {
		return r.fresh
	}
	return slices.MaxFunc(r.old, olderFirst)
}

// saturated tells whether the new set alone is all that the Deployment wants.
func (r *rollout) saturated() bool {
	if r.fresh == nil {
		return false
	}
	was, ok := number(r.fresh, desiredReplicasAnnotation)
	return ok && was == desired(r.d) && size(r.fresh) == desired(r.d) && r.fresh.Status.AvailableReplicas == desired(r.d)
}

// scale makes set that large and returns whether that changed anything.
func (r *rollout) scale(ctx context.Context, set *appsv1.ReplicaSet, wanted int32) (bool, error) {
	before := size(set)
	updated := set.DeepCopy()
	updated.Spec.Replicas = ptr.To(wanted)
	if !annotateSize(updated, r.d) && before == wanted {
		return false, nil
	}
	result, err := r.c.env.Client.AppsV1().ReplicaSets(set.Namespace).Update(ctx, updated, metav1.UpdateOptions{})
	if err != nil {
		return false, err
	}
	r.replace(set, result)
	if before == wanted {
		return false, nil
	}
	direction := "up"
	if wanted < before {
		direction = "down"
	}
	r.c.env.Recorder.Eventf(r.d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", direction, set.Name, before, wanted)
	return true, nil
}

// roll moves one step of a rolling update: up as far as surge allows, else down as far as availability allows.
func (r *rollout) roll(ctx context.Context) error {
	if err := r.prepare(ctx, true); err != nil {
		return err
	}
	grown, err := r.scale(ctx, r.fresh, r.newTarget())
	if err != nil {
		return err
	}
	if grown {
		return r.report(ctx)
	}
	reduced := false
	for set, by := range reduction(r.d, r.fresh, r.old) {
		changed, err := r.scale(ctx, set, size(set)-by)
		if err != nil {
			return err
		}
		reduced = reduced || changed
	}
	if !reduced && complete(r.d, r.counts()) {
		if err := r.trim(ctx); err != nil {
			return err
		}
	}
	return r.report(ctx)
}

// newTarget is the new set's next size; one that is too large (the Deployment shrank) is cut at once.
func (r *rollout) newTarget() int32 {
	if size(r.fresh) > desired(r.d) {
		return desired(r.d)
	}
	return newSize(r.d, r.fresh, r.old)
}

// recreate ends all old pods before it makes a new one.
func (r *rollout) recreate(ctx context.Context) error {
	if err := r.prepare(ctx, false); err != nil {
		return err
	}
	reduced := false
	for _, set := range slices.Clone(r.old) {
		changed, err := r.scale(ctx, set, 0)
		if err != nil {
			return err
		}
		reduced = reduced || changed
	}
	if reduced || r.oldPodsLeft() {
		return r.report(ctx)
	}
	if r.fresh == nil {
		if err := r.prepare(ctx, true); err != nil {
			return err
		}
	}
	if _, err := r.scale(ctx, r.fresh, desired(r.d)); err != nil {
		return err
	}
	if complete(r.d, r.counts()) {
		if err := r.trim(ctx); err != nil {
			return err
		}
	}
	return r.report(ctx)
}

// oldPodsLeft tells whether a pod of an old set has not ended yet.
func (r *rollout) oldPodsLeft() bool {
	for _, set := range r.old {
		if set.Status.Replicas > 0 {
			return true
		}
		pods, err := ownership.Owned[*corev1.Pod](r.c.pods, set.UID)
		if err != nil {
			return true
		}
		if slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return !podstate.Ended(pod) }) {
			return true
		}
	}
	return false
}

// trim deletes the oldest of the old sets that the history limit has no place for. A set that still has pods, or has
// not said that it has none, stays.
func (r *rollout) trim(ctx context.Context) error {
	limit := ptr.Deref(r.d.Spec.RevisionHistoryLimit, math.MaxInt32)
	if limit == math.MaxInt32 {
		return nil
	}
	kept := slices.DeleteFunc(slices.Clone(r.old), func(set *appsv1.ReplicaSet) bool { return set.DeletionTimestamp != nil })
	slices.SortStableFunc(kept, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(revision(a), revision(b)), olderFirst(a, b))
	})
	for i := 0; i < len(kept)-int(limit); i++ {
		set := kept[i]
		if set.Status.Replicas != 0 || size(set) != 0 || set.Generation > set.Status.ObservedGeneration {
			continue
		}
		err := r.c.env.Client.AppsV1().ReplicaSets(set.Namespace).Delete(ctx, set.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(set.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
