package cycle

import (
	"sync"

	v1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/components/scheduler/plugins/defaultbinder"
)

// maxBinders is how many plain bindings are under way at a time: about what an API server takes in over one connection.
// Each takes the stack and the buffers of a request, so that more of them would cost memory and another connection, and
// bind no pod sooner.
const maxBinders = 100

// binders run bindings in their order, so many at a time.
type binders struct {
	mu      sync.Mutex
	running int
	waiting []func()
}

// do runs a binding, or has it wait for its turn.
func (b *binders) do(binding func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == maxBinders {
		b.waiting = append(b.waiting, binding)
		return
	}
	b.running++
	go func() {
		for ; binding != nil; binding = b.next() {
			binding()
		}
	}()
}

func (b *binders) next() func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.running--
		b.waiting = nil
		return nil
	}
	binding := b.waiting[0]
	b.waiting[0] = nil
	b.waiting = b.waiting[1:]
	return binding
}

// plain says whether a binding is one request to the API server: nothing to wait for before, and nobody else's code.
func (s *Scheduler) plain(a *attempt) bool {
	return a.work.IsSkip() && a.profile.GetWaitingPod(a.assumed.UID) == nil && a.profile.BindsOnlyBy(defaultbinder.Name) &&
		!s.boundByExtender(a.assumed)
}

func (s *Scheduler) boundByExtender(pod *v1.Pod) bool {
	for _, extender := range s.Extenders {
		if extender.IsBinder() && extender.IsInterested(pod) {
			return true
		}
	}
	return false
}
