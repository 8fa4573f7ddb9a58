package kubelet

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/plumbline/plumbline/components/kubelet/eviction"
	"github.com/plumbline/plumbline/components/kubelet/image"
	"github.com/plumbline/plumbline/components/kubelet/status"
)

// measureEvery is how often the node is measured: seldom enough to cost nothing, and
// often enough to act before the kernel does.
const measureEvery = time.Second

// pressure answers for the eviction manager, also while there is none yet.
type pressure struct {
	mu      sync.Mutex
	manager *eviction.Manager
}

func (p *pressure) set(m *eviction.Manager) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.manager = m
}

func (p *pressure) get() *eviction.Manager {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.manager
}

// is says whether the node is under the pressure that a condition names.
func (p *pressure) is(condition v1.NodeConditionType) bool {
	m := p.get()
	return m != nil && m.Pressure(condition)
}

// admit says whether a pod may start under the present pressure.
func (p *pressure) admit(pod *v1.Pod) (ok bool, message string) {
	m := p.get()
	if m == nil {
		return true, ""
	}
	return m.Admit(pod)
}

// startEviction ends pods before the node runs out of something.
func (k *kubelet) startEviction(ctx context.Context, images *image.Collector) error {
	thresholds, err := eviction.Settings{
		Hard: k.kc.EvictionHard, Soft: k.kc.EvictionSoft,
		SoftGrace: k.kc.EvictionSoftGracePeriod, MinimumReclaim: k.kc.EvictionMinimumReclaim,
	}.Thresholds()
	if err != nil {
		return err
	}
	manager := eviction.New(eviction.Config{
		Thresholds: thresholds, MaxPodGracePeriod: k.kc.EvictionMaxPodGracePeriod,
		TransitionPeriod: k.kc.EvictionPressureTransitionPeriod.Duration, Interval: measureEvery,
		Figures: k.stats, Pods: k.pods.Active, Evict: k.evict,
		ReclaimDisk: images.RemoveUnused,
		ConditionsChanged: func() {
			if k.keeper != nil {
				k.keeper.Touch()
			}
		},
		Clock: clock.RealClock{},
	})
	k.pressure.set(manager)
	k.spawn(func() { manager.Run(ctx) })
	return nil
}

// evict ends a pod and returns when its containers have ended.
func (k *kubelet) evict(ctx context.Context, e eviction.Eviction) error {
	k.events.Evicted(e.Pod, e.Annotations, eviction.Reason, e.Message)
	verdict := status.Verdict{Phase: v1.PodFailed, Reason: eviction.Reason, Message: e.Message, Condition: &e.Condition}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(e.GracePeriod)*time.Second+time.Minute)
	defer cancel()
	return k.pods.End(ctx, e.Pod.UID, verdict, &e.GracePeriod)
}
