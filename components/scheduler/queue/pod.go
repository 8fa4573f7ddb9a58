package queue

import (
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// Pod is a pod on its way through the queue.
type Pod struct {
	*nodeinfo.PodInfo

	// Unschedulable and Pending name the plugins that rejected the pod in its last attempt.
	Unschedulable, Pending sets.Set[string]

	timestamp      time.Time
	firstAttempt   *time.Time
	attempts       int
	rejections     int
	errors         int
	backoffExpires time.Time
	gatedBy        string
	gateEvents     []fwk.ClusterEvent

	heap  *podHeap // nil outside of the active and backoff queues
	index int
}

var _ fwk.QueuedEntityInfo = &Pod{}

// Type says that this is a pod, not a group.
func (p *Pod) Type() fwk.EntityKeyType { return fwk.PodKeyType }

// GetPriority returns the pod's priority.
func (p *Pod) GetPriority() int32 { return corev1helpers.PodPriority(p.GetPod()) }

// GetTimestamp is when the pod entered the queue, this time.
func (p *Pod) GetTimestamp() time.Time { return p.timestamp }

// GetAttempts counts attempts to schedule the pod.
func (p *Pod) GetAttempts() int { return p.attempts }

// GetBackoffExpiration is when the pod may be tried again.
func (p *Pod) GetBackoffExpiration() time.Time { return p.backoffExpires }

// GetUnschedulableCount counts attempts that ended in rejection.
func (p *Pod) GetUnschedulableCount() int { return p.rejections }

// GetConsecutiveErrorsCount counts the errors since the last other outcome.
func (p *Pod) GetConsecutiveErrorsCount() int { return p.errors }

// GetInitialAttemptTimestamp is when the pod first entered the active queue.
func (p *Pod) GetInitialAttemptTimestamp() *time.Time { return p.firstAttempt }

// GetUnschedulablePlugins names the plugins that rejected the pod.
func (p *Pod) GetUnschedulablePlugins() sets.Set[string] { return p.Unschedulable }

// GetPendingPlugins names the plugins that wait for something outside.
func (p *Pod) GetPendingPlugins() sets.Set[string] { return p.Pending }

// GetGatingPlugin names the PreEnqueue plugin that holds the pod back.
func (p *Pod) GetGatingPlugin() string { return p.gatedBy }

// GetGatingPluginEvents are the events that may open the gate.
func (p *Pod) GetGatingPluginEvents() []fwk.ClusterEvent { return p.gateEvents }

func (p *Pod) rejectors() sets.Set[string] { return p.Unschedulable.Union(p.Pending) }

// podHeap is a heap of pods that know their place in it; it is driven by container/heap.
type podHeap struct {
	pods []*Pod
	less func(a, b *Pod) bool
}

// Len, Less, Swap, Push and Pop are heap.Interface.
func (h *podHeap) Len() int           { return len(h.pods) }
func (h *podHeap) Less(i, j int) bool { return h.less(h.pods[i], h.pods[j]) }
func (h *podHeap) Swap(i, j int) {
	h.pods[i], h.pods[j] = h.pods[j], h.pods[i]
	h.pods[i].index, h.pods[j].index = i, j
}

// Push is part of heap.Interface.
func (h *podHeap) Push(x any) {
	p := x.(*Pod)
	p.heap, p.index = h, len(h.pods)
	h.pods = append(h.pods, p)
}

// Pop is part of heap.Interface.
func (h *podHeap) Pop() any {
	last := len(h.pods) - 1
	p := h.pods[last]
	h.pods[last] = nil
	h.pods = h.pods[:last]
	p.heap = nil
	return p
}
