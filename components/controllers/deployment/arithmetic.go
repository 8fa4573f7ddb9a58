package deployment

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// bounds returns how many pods a rolling update may have above and below the desired count. Percentages of surge round
// up, those of unavailability down; a pair that comes out as nothing at all could never move, so one pod may be missing.
func bounds(d *appsv1.Deployment) (surge, unavailable int32) {
	rolling := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType || rolling == nil || desired(d) == 0 {
		return 0, 0
	}
	zero := intstr.FromInt32(0)
	up, errUp := intstr.GetScaledValueFromIntOrPercent(cmp.Or(rolling.MaxSurge, &zero), int(desired(d)), true)
	down, errDown := intstr.GetScaledValueFromIntOrPercent(cmp.Or(rolling.MaxUnavailable, &zero), int(desired(d)), false)
	if errUp != nil || errDown != nil {
		return 0, 1 // Validation keeps such values out.
	}
	if up == 0 && down == 0 {
		down = 1
	}
	return int32(up), min(int32(down), desired(d))
}

func desired(d *appsv1.Deployment) int32 { return ptr.Deref(d.Spec.Replicas, 1) }

func size(set *appsv1.ReplicaSet) int32 { return ptr.Deref(set.Spec.Replicas, 1) }

// available is how many of set's pods can be counted on: a status that lags behind a reduction claims too many.
func available(set *appsv1.ReplicaSet) int32 { return min(set.Status.AvailableReplicas, size(set)) }

// present is how many pods of set there may be: one that was just reduced still has its pods.
func present(set *appsv1.ReplicaSet) int32 { return max(set.Status.Replicas, size(set)) }

func sum(sets []*appsv1.ReplicaSet, of func(*appsv1.ReplicaSet) int32) int32 {
	var total int32
	for _, set := range sets {
		if set != nil {
			total += of(set)
		}
	}
	return total
}

// newSize is the size of the new set that a turn may ask for while the old sets are as they are.
func newSize(d *appsv1.Deployment, fresh *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) int32 {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return desired(d)
	}
	var current int32
	if fresh != nil {
		current = size(fresh)
	}
	surge, _ := bounds(d)
	room := desired(d) + surge - sum(old, present) - current
	if room <= 0 {
		return current
	}
	return current + min(room, desired(d)-current)
}

// reduction is how much each of the old sets may be reduced by in a turn. First go pods that are not available anyway,
// then available ones as far as the new set's available pods make up for them; both count on every pod of the new set
// that is not available yet as missing.
func reduction(d *appsv1.Deployment, fresh *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) map[*appsv1.ReplicaSet]int32 {
	_, unavailable := bounds(d)
	floor := desired(d) - unavailable
	budget := sum(old, size) + available(fresh) - floor
	byAge := slices.Clone(old)
	slices.SortStableFunc(byAge, func(a, b *appsv1.ReplicaSet) int { return olderFirst(a, b) })

	cut := map[*appsv1.ReplicaSet]int32{}
	for _, set := range byAge {
		take := min(budget, size(set)-available(set))
		if take > 0 {
			cut[set] = take
			budget -= take
		}
	}
	spare := min(budget, sum(old, available)+available(fresh)-floor)
	for _, set := range byAge {
		take := min(spare, size(set)-cut[set])
		if take > 0 {
			cut[set] += take
			spare -= take
		}
	}
	return cut
}

// proportional shares the change of a Deployment's size among its active sets in proportion to their sizes; what
// rounding leaves goes to the largest. https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#proportional-scaling
func proportional(d *appsv1.Deployment, active []*appsv1.ReplicaSet) map[*appsv1.ReplicaSet]int32 {
	surge, _ := bounds(d)
	var allowed int32
	if desired(d) > 0 {
		allowed = desired(d) + surge
	}
	change := allowed - sum(active, size)
	ordered := slices.Clone(active)
	slices.SortStableFunc(ordered, func(a, b *appsv1.ReplicaSet) int {
		// Of sets of one size, growth favours the newer and reduction the older.
		order := olderFirst(a, b)
		if change > 0 {
			order = -order
		}
		return cmp.Or(cmp.Compare(size(b), size(a)), order)
	})
	sizes := map[*appsv1.ReplicaSet]int32{}
	left := change
	for _, set := range ordered {
		part := share(d, set, surge)
		if change > 0 {
			part = max(0, min(part, left))
		} else {
			part = min(0, max(part, left))
		}
		if size(set) == 0 {
			part = 0
		}
		sizes[set] = size(set) + part
		left -= part
	}
	if len(ordered) > 0 {
		sizes[ordered[0]] = max(0, sizes[ordered[0]]+left)
	}
	return sizes
}

// share is set's part of the Deployment's new total, less what it has: it keeps the fraction that it had of the
// greatest total at the time the set was last scaled.
func share(d *appsv1.Deployment, set *appsv1.ReplicaSet, surge int32) int32 {
	if desired(d) == 0 {
		return -size(set)
	}
	before, ok := number(set, maxReplicasAnnotation)
	if !ok || before == 0 {
		before = d.Status.Replicas
	}
	if before == 0 {
		return 0
	}
	return int32(math.Round(float64(size(set))*float64(desired(d)+surge)/float64(before))) - size(set)
}

func number(object metav1.Object, annotation string) (int32, bool) {
	value, err := strconv.ParseInt(object.GetAnnotations()[annotation], 10, 32)
	return int32(value), err == nil
}

func olderFirst(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}
