package kubelet

import (
	"sync"

	v1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/components/kubelet/eviction"
)

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
