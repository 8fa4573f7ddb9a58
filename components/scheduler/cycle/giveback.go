package cycle

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// noteLimit is the longest note that the API server accepts in an event.
const noteLimit = 1024

// giveBack returns the pod, in its newest version, to the queue, unless it needs no scheduling any more.
func (s *Scheduler) giveBack(logger klog.Logger, a *attempt) (current *v1.Pod, gone bool) {
	old := a.pod.GetPod()
	current, err := s.Pods.Pods(old.Namespace).Get(old.Name)
	if err != nil || current.UID != old.UID || current.Spec.NodeName != "" {
		s.Queue.Done(old.UID)
		return old, true
	}
	if current != old {
		// A term that does not parse was reported when the pod was filtered.
		a.pod.PodInfo, _ = nodeinfo.NewPodInfo(current)
	}
	if err := s.Queue.AddUnschedulable(a.pod); err != nil {
		logger.Error(err, "Pod was not returned to the queue", "pod", klog.KObj(current))
	}
	return current, false
}

func truncate(message string) string {
	const ellipsis = " ..."
	if len(message) <= noteLimit {
		return message
	}
	return message[:noteLimit-len(ellipsis)] + ellipsis
}
