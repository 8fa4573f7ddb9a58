package disruption

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/plumbline/plumbline/components/controllers/podstate"
)

// deletionTimeout is how long a pod whose eviction was granted may take to show a deletion timestamp.
const deletionTimeout = 2 * time.Minute

// needsScale tells whether the budget is relative to how many pods there should be, rather than a fixed number.
func needsScale(spec *policyv1.PodDisruptionBudgetSpec) bool {
	return spec.MaxUnavailable != nil || (spec.MinAvailable != nil && spec.MinAvailable.Type == intstr.String)
}

// healthyNeeded is how many pods must stay healthy, of expected.
func healthyNeeded(spec *policyv1.PodDisruptionBudgetSpec, expected int32) (int32, error) {
	switch {
	case spec.MaxUnavailable != nil:
		down, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, int(expected), true)
		return max(0, expected-int32(down)), err
	case spec.MinAvailable != nil:
		up, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, int(expected), true)
		return int32(up), err
	}
	return 0, nil
}

// census is what the pods of a budget add up to.
type census struct {
	healthy int32
	// disrupted are pods whose eviction was granted and that do not show it yet; late ones took too long.
	disrupted map[string]metav1.Time
	late      []*corev1.Pod
	// recheck is when the next of the disrupted will be late.
	recheck time.Duration
}

func count(pods []*corev1.Pod, granted map[string]metav1.Time, now time.Time) census {
	c := census{disrupted: map[string]metav1.Time{}}
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		if at, ok := granted[pod.Name]; ok {
			if left := at.Add(deletionTimeout).Sub(now); left >= 0 {
				c.disrupted[pod.Name] = at
				if c.recheck == 0 || left < c.recheck {
					c.recheck = max(left, time.Millisecond)
				}
				continue
			}
			c.late = append(c.late, pod)
		}
		if podstate.Ready(pod) {
			c.healthy++
		}
	}
	return c
}

// allowed is how many more pods may be disrupted.
func allowed(healthy, needed, expected int32) int32 {
	if expected <= 0 {
		return 0
	}
	return max(0, healthy-needed)
}
