package job

import (
	"math"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

// A failed pod is replaced after 10 s, the next after 20 s, and so on up to 10 min; a success starts again.
// https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy
const (
	firstDelay = 10 * time.Second
	maxDelay   = 10 * time.Minute
)

// streak is the failures since a Job's last success.
type streak struct {
	failures int32
	last     time.Time
}

// after is the streak once more pods have ended.
func (s streak) after(succeeded, failed []*corev1.Pod) streak {
	if len(succeeded) > 0 {
		lastSuccess := endOf(slices.MaxFunc(succeeded, func(a, b *corev1.Pod) int { return endOf(a).Compare(endOf(b)) }))
		s = streak{}
		for _, pod := range failed {
			if endOf(pod).After(lastSuccess) {
				s.failures++
			}
		}
	} else {
		s.failures += int32(len(failed))
	}
	for _, pod := range failed {
		if at := endOf(pod); s.failures > 0 && at.After(s.last) {
			s.last = at
		}
	}
	return s
}

// wait is how long the next pod has to wait yet.
func (s streak) wait(now time.Time) time.Duration {
	if s.failures == 0 {
		return 0
	}
	delay := maxDelay
	if shift := s.failures - 1; shift < int32(math.Log2(float64(maxDelay/firstDelay)))+1 {
		delay = min(maxDelay, firstDelay<<shift)
	}
	return max(0, s.last.Add(delay).Sub(now))
}

// endOf is when the pod's last container ended, or the best guess at it.
func endOf(pod *corev1.Pod) time.Time {
	var last time.Time
	complete := len(pod.Status.ContainerStatuses) > 0
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Terminated == nil {
			complete = false
			break
		}
		if at := status.State.Terminated.FinishedAt.Time; at.After(last) {
			last = at
		}
	}
	if complete && !last.IsZero() {
		return last
	}
	if ready := podstate.Condition(pod, corev1.PodReady); ready != nil && ready.Status == corev1.ConditionFalse && !ready.LastTransitionTime.IsZero() {
		return ready.LastTransitionTime.Time
	}
	if pod.DeletionTimestamp != nil {
		return pod.DeletionTimestamp.Add(-time.Duration(ptr.Deref(pod.DeletionGracePeriodSeconds, 0)) * time.Second)
	}
	return pod.CreationTimestamp.Time
}

// streaks holds the streaks of all Jobs.
type streaks struct {
	mu sync.Mutex
	of map[controller.Key]streak
}

func (s *streaks) get(key controller.Key) streak {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[key]
}

func (s *streaks) set(key controller.Key, value streak) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value.failures == 0 {
		delete(s.of, key)
		return
	}
	s.of[key] = value
}
