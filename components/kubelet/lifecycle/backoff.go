package lifecycle

import (
	"sync"
	"time"
)

// firstDelay is how long a container waits before its second restart; each further
// one waits twice as long.
const firstDelay = 10 * time.Second

// BackOff remembers how long restarts of a pod's containers are held back.
// See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy.
type BackOff struct {
	longest time.Duration

	mu     sync.Mutex
	delays map[string]delay
}

type delay struct {
	length time.Duration
	grown  time.Time
}

// NewBackOff returns a back-off that grows up to longest.
func NewBackOff(longest time.Duration) *BackOff {
	return &BackOff{longest: longest, delays: map[string]delay{}}
}

// Left says how much longer a container that ended at a time must wait.
func (b *BackOff) Left(key string, ended, now time.Time) (left, length time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d, ok := b.delays[key]
	if !ok || b.stale(d, ended) {
		return 0, 0
	}
	return max(ended.Add(d.length).Sub(now), 0), d.length
}

// Grow notes that a container is restarted.
func (b *BackOff) Grow(key string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.delays[key]
	if d.length == 0 || b.stale(d, now) {
		d.length = min(firstDelay, b.longest)
	} else {
		d.length = min(2*d.length, b.longest)
	}
	d.grown = now
	b.delays[key] = d
}

// stale says that a container ran so long without trouble that its past is forgiven.
func (b *BackOff) stale(d delay, at time.Time) bool {
	return at.Sub(d.grown) > 2*b.longest
}
