package eviction

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// candidate is a pod with what it uses of the thing that runs short.
type candidate struct {
	pod     *corev1.Pod
	stats   *statsapi.PodStats
	usage   int64
	request int64
}

func (c candidate) over() int64 { return c.usage - c.request }

func (c candidate) priority() int32 {
	if c.pod.Spec.Priority == nil {
		return 0
	}
	return *c.pod.Spec.Priority
}

// rank orders pods, the first to be ended first: those that use more than they asked
// for, then those of lower priority, then those that use the most beyond what they
// asked for.
func rank(signal Signal, pods []*corev1.Pod, figures map[string]*statsapi.PodStats) []candidate {
	candidates := make([]candidate, 0, len(pods))
	for _, pod := range pods {
		c := candidate{pod: pod, stats: figures[string(pod.UID)]}
		c.usage, c.request = use(signal, pod, c.stats)
		candidates = append(candidates, c)
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		// There is no request for process numbers, so only the priority counts there
		// before the usage.
		if signal != PIDAvailable {
			if aOver, bOver := a.over() > 0, b.over() > 0; aOver != bOver {
				if aOver {
					return -1
				}
				return 1
			}
		}
		return cmp.Or(cmp.Compare(a.priority(), b.priority()), cmp.Compare(b.over(), a.over()))
	})
	return candidates
}

// use is what a pod uses and what it requested of what a signal is about.
func use(signal Signal, pod *corev1.Pod, stats *statsapi.PodStats) (usage, request int64) {
	requests := resource.PodRequests(pod, resource.PodResourcesOptions{})
	switch {
	case signal == MemoryAvailable:
		request = requests.Memory().Value()
		if stats != nil && stats.Memory != nil {
			usage = value(stats.Memory.WorkingSetBytes)
		}
	case signal == PIDAvailable:
		if stats != nil && stats.ProcessStats != nil {
			usage = value(stats.ProcessStats.ProcessCount)
		}
	case signal.starved() == "inodes":
		if stats != nil && stats.EphemeralStorage != nil {
			usage = value(stats.EphemeralStorage.InodesUsed)
		}
	default:
		request = requests.StorageEphemeral().Value()
		if stats != nil && stats.EphemeralStorage != nil {
			usage = value(stats.EphemeralStorage.UsedBytes)
		}
	}
	return usage, request
}

func value(number *uint64) int64 {
	if number == nil {
		return 0
	}
	return int64(*number)
}
