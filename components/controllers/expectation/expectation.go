// Package expectation remembers what a controller has created and deleted but not yet seen in its cache, so that it
// does not act twice on a cache that lags behind.
package expectation

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// patience bounds how long a lost watch event can hold a controller up.
const patience = 5 * time.Minute

// Tracker holds the expectations of all keys of one controller.
type Tracker[K comparable] struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	open  map[K]*open
}

type open struct {
	creations int
	deletions map[types.UID]bool
	since     time.Time
}

// New makes an empty tracker.
func New[K comparable](clock clock.PassiveClock) *Tracker[K] {
	return &Tracker[K]{clock: clock, open: map[K]*open{}}
}

func (t *Tracker[K]) of(key K) *open {
	entry := t.open[key]
	if entry == nil {
		entry = &open{deletions: map[types.UID]bool{}}
		t.open[key] = entry
	}
	entry.since = t.clock.Now()
	return entry
}

// ExpectCreations adds creations that are about to be requested.
func (t *Tracker[K]) ExpectCreations(key K, count int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(key).creations += count
}

// ExpectDeletions adds deletions that are about to be requested.
func (t *Tracker[K]) ExpectDeletions(key K, uids ...types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry := t.of(key)
	for _, uid := range uids {
		entry.deletions[uid] = true
	}
}

// Created notes that one creation was seen, or will never be.
func (t *Tracker[K]) Created(key K) { t.CreatedMany(key, 1) }

// CreatedMany notes several creations.
func (t *Tracker[K]) CreatedMany(key K, count int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if entry := t.open[key]; entry != nil {
		entry.creations = max(0, entry.creations-count)
	}
}

// Deleted notes that the deletion was seen, or will never be.
func (t *Tracker[K]) Deleted(key K, uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if entry := t.open[key]; entry != nil {
		delete(entry.deletions, uid)
	}
}

// Satisfied tells whether the cache has caught up with everything expected of key.
func (t *Tracker[K]) Satisfied(key K) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry := t.open[key]
	return entry == nil || (entry.creations == 0 && len(entry.deletions) == 0) || t.clock.Since(entry.since) > patience
}

// Forget drops what is expected of key.
func (t *Tracker[K]) Forget(key K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, key)
}
