package eviction

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	"k8s.io/utils/clock"
)

// Reason is the status reason of an evicted pod.
const Reason = "Evicted"

// Figures measures the node and its pods.
type Figures interface {
	Node(context.Context) (statsapi.NodeStats, error)
	PodStats(context.Context) ([]statsapi.PodStats, error)
}

// Eviction is the order to end a pod.
type Eviction struct {
	Pod     *corev1.Pod
	Message string
	// GracePeriod in seconds.
	GracePeriod int64
	// Condition is to be added to the pod's status.
	Condition corev1.PodCondition
	// Annotations are for the event.
	Annotations map[string]string
}

// Config is what a Manager needs.
type Config struct {
	Thresholds []Threshold
	// MaxPodGracePeriod bounds the grace period, in seconds, of pods ended by a soft
	// threshold; 0 for the pods' own.
	MaxPodGracePeriod int32
	// TransitionPeriod is how long a condition stays after the pressure has gone.
	TransitionPeriod time.Duration
	// Interval is the time between two measurements.
	Interval time.Duration
	Figures  Figures
	// Pods returns the pods that run and may be ended.
	Pods func() []*corev1.Pod
	// Evict ends a pod and returns when it has ended. Failing is an error.
	Evict func(context.Context, Eviction) error
	// ReclaimDisk removes dead containers and unused images; nil for never.
	ReclaimDisk func(context.Context) error
	// ConditionsChanged is called when the node's pressures have changed.
	ConditionsChanged func()
	Clock             clock.WithTicker
}

// Manager watches the node. Pressure and Admit are safe for concurrent use with Run.
type Manager struct {
	config Config

	mu sync.RWMutex
	// pressed is when each condition was last seen.
	pressed map[corev1.NodeConditionType]time.Time
	// crossedSince is when each threshold was crossed; absent for those that are not.
	crossedSince map[int]time.Time
}

// New makes a Manager.
func New(config Config) *Manager {
	return &Manager{config: config, pressed: map[corev1.NodeConditionType]time.Time{}, crossedSince: map[int]time.Time{}}
}

// Run measures and ends pods until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	ticker := m.config.Clock.NewTicker(m.config.Interval)
	defer ticker.Stop()
	for {
		for ctx.Err() == nil && m.relieve(ctx) {
			// One pod at a time, then look again: ending one may have been enough.
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// Pressure is true while the node is under the pressure that the condition names.
func (m *Manager) Pressure(condition corev1.NodeConditionType) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, under := m.pressed[condition]
	return under
}

// Admit says whether a pod may start under the present pressure; if not, why not.
// Memory pressure keeps out only pods that request nothing and do not tolerate it;
// other pressures keep out all but critical pods.
func (m *Manager) Admit(pod *corev1.Pod) (ok bool, message string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.pressed) == 0 || critical(pod) {
		return true, ""
	}
	var names []string
	for condition := range m.pressed {
		names = append(names, string(condition))
	}
	slices.Sort(names)
	if _, memory := m.pressed[corev1.NodeMemoryPressure]; memory && len(names) == 1 {
		if pod.Status.QOSClass != corev1.PodQOSBestEffort || tolerates(pod, corev1.TaintNodeMemoryPressure) {
			return true, ""
		}
	}
	return false, fmt.Sprintf("The node had condition: %v. ", names)
}

func tolerates(pod *corev1.Pod, key string) bool {
	taint := corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}
	return slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		return t.ToleratesTaint(klog.Background(), &taint, true)
	})
}

// systemCritical is the least priority of the classes system-cluster-critical and
// system-node-critical.
const systemCritical = 2_000_000_000

// critical pods are never ended for the node's sake: static ones, and those the cluster
// or the node cannot work without.
func critical(pod *corev1.Pod) bool {
	source := pod.Annotations["kubernetes.io/config.source"]
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror || source != "" && source != "api" || pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCritical
}

// relieve measures once and ends at most one pod; it reports whether it did.
func (m *Manager) relieve(ctx context.Context) bool {
	node, err := m.config.Figures.Node(ctx)
	if err != nil && node.Memory == nil && node.Fs == nil {
		klog.ErrorS(err, "Measuring the node")
		return false
	}
	seen := observe(&node)
	urgent := m.judge(seen)
	if m.enforceLocalLimits(ctx) {
		return true
	}
	for _, threshold := range urgent {
		observed := seen[threshold.Signal]
		klog.InfoS("The node runs short", "signal", threshold.Signal, "available", observed.available, "limit", threshold.Limit.of(observed.capacity).String())
		if m.reclaimed(ctx, threshold) {
			continue
		}
		if m.evictFor(ctx, threshold, observed) {
			return true
		}
	}
	return false
}

// judge updates the conditions and returns the thresholds that call for action.
func (m *Manager) judge(seen map[Signal]observation) []Threshold {
	now := m.config.Clock.Now()
	m.mu.Lock()
	var urgent []Threshold
	before := len(m.pressed)
	changed := false
	for i, threshold := range m.config.Thresholds {
		observed, known := seen[threshold.Signal]
		since, was := m.crossedSince[i]
		if !known || !threshold.crossed(observed, was) {
			delete(m.crossedSince, i)
			continue
		}
		if !was {
			since = now
			m.crossedSince[i] = now
		}
		if now.Sub(since) < threshold.Grace {
			continue
		}
		condition := threshold.Signal.condition()
		if _, already := m.pressed[condition]; !already {
			changed = true
		}
		m.pressed[condition] = now
		urgent = append(urgent, threshold)
	}
	for condition, last := range m.pressed {
		if !last.Equal(now) && now.Sub(last) >= m.config.TransitionPeriod {
			delete(m.pressed, condition)
			changed = true
		}
	}
	changed = changed || before != len(m.pressed)
	m.mu.Unlock()
	if changed && m.config.ConditionsChanged != nil {
		m.config.ConditionsChanged()
	}
	return urgent
}

// reclaimed frees what no pod needs and reports whether that was enough.
func (m *Manager) reclaimed(ctx context.Context, threshold Threshold) bool {
	if threshold.Signal.condition() != corev1.NodeDiskPressure || m.config.ReclaimDisk == nil {
		return false
	}
	if err := m.config.ReclaimDisk(ctx); err != nil {
		klog.ErrorS(err, "Removing unused images and dead containers")
	}
	node, err := m.config.Figures.Node(ctx)
	if err != nil {
		return false
	}
	observed, known := observe(&node)[threshold.Signal]
	return known && !threshold.crossed(observed, true)
}

// evictFor ends the first pod in rank that may be ended.
func (m *Manager) evictFor(ctx context.Context, threshold Threshold, observed observation) bool {
	figures, err := m.podFigures(ctx)
	if err != nil {
		klog.ErrorS(err, "Measuring the pods")
		return false
	}
	for _, c := range rank(threshold.Signal, m.evictable(), figures) {
		grace := int64(0)
		if threshold.Soft {
			grace = softGrace(c.pod, m.config.MaxPodGracePeriod)
		}
		message, annotations := explain(threshold, observed, c)
		if m.evict(ctx, c.pod, message, grace, annotations) {
			return true
		}
	}
	klog.InfoS("The node runs short but has no pod to end", "signal", threshold.Signal)
	return false
}

func softGrace(pod *corev1.Pod, most int32) int64 {
	own := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		own = *pod.Spec.TerminationGracePeriodSeconds
	}
	if most > 0 {
		return min(own, int64(most))
	}
	return own
}

func (m *Manager) evictable() []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(m.config.Pods()), critical)
}

func (m *Manager) podFigures(ctx context.Context) (map[string]*statsapi.PodStats, error) {
	all, err := m.config.Figures.PodStats(ctx)
	if err != nil {
		return nil, err
	}
	figures := make(map[string]*statsapi.PodStats, len(all))
	for i := range all {
		figures[all[i].PodRef.UID] = &all[i]
	}
	return figures, nil
}

func (m *Manager) evict(ctx context.Context, pod *corev1.Pod, message string, grace int64, annotations map[string]string) bool {
	klog.InfoS("Evicting a pod", "pod", klog.KObj(pod), "message", message)
	err := m.config.Evict(ctx, Eviction{
		Pod: pod, Message: message, GracePeriod: grace, Annotations: annotations,
		Condition: corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: corev1.PodReasonTerminationByKubelet, Message: message,
			LastTransitionTime: metav1.NewTime(m.config.Clock.Now()),
		},
	})
	if err != nil {
		klog.ErrorS(err, "Evicting a pod", "pod", klog.KObj(pod))
	}
	return err == nil
}

// explain writes the pod's status message, and the figures as annotations of the event.
func explain(threshold Threshold, observed observation, c candidate) (string, map[string]string) {
	starved := threshold.Signal.starved()
	var text strings.Builder
	fmt.Fprintf(&text, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ", starved,
		threshold.Limit.of(observed.capacity), resource.NewQuantity(observed.available, resource.BinarySI))
	var names, usages []string
	if c.stats != nil {
		for i := range c.stats.Containers {
			container := &c.stats.Containers[i]
			usage, request := containerUse(threshold.Signal, c.pod, container)
			if usage == nil || usage.Cmp(request) <= 0 {
				continue
			}
			fmt.Fprintf(&text, "Container %s was using %s, request is %s, has larger consumption of %s. ", container.Name, usage, &request, starved)
			names, usages = append(names, container.Name), append(usages, usage.String())
		}
	}
	return text.String(), map[string]string{
		"starved_resource":           starved,
		"offending_containers":       strings.Join(names, ","),
		"offending_containers_usage": strings.Join(usages, ","),
	}
}

func containerUse(signal Signal, pod *corev1.Pod, stats *statsapi.ContainerStats) (*resource.Quantity, resource.Quantity) {
	var requests corev1.ResourceList
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == stats.Name {
			requests = pod.Spec.Containers[i].Resources.Requests
		}
	}
	switch signal.starved() {
	case "memory":
		if stats.Memory != nil && stats.Memory.WorkingSetBytes != nil {
			return resource.NewQuantity(value(stats.Memory.WorkingSetBytes), resource.BinarySI), *requests.Memory()
		}
	case "ephemeral-storage":
		used := int64(0)
		for _, fs := range []*statsapi.FsStats{stats.Rootfs, stats.Logs} {
			if fs != nil {
				used += value(fs.UsedBytes)
			}
		}
		return resource.NewQuantity(used, resource.BinarySI), *requests.StorageEphemeral()
	}
	return nil, resource.Quantity{}
}
