package expectation

import (
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Written remembers the last version of each object that a controller wrote itself. A turn that starts from an older one
// would decide on counts that have been overtaken; the update that the cache lacks brings another turn.
type Written[K comparable] struct {
	mu   sync.Mutex
	last map[K]version
}

type version struct {
	uid    types.UID
	number uint64
}

// Note takes in what a write returned.
func (w *Written[K]) Note(key K, object metav1.Object) {
	number, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil {
		w.last = map[K]version{}
	}
	w.last[key] = version{object.GetUID(), number}
}

// Behind tells whether a cached object is older than what was last written.
func (w *Written[K]) Behind(key K, cached metav1.Object) bool {
	number, err := strconv.ParseUint(cached.GetResourceVersion(), 10, 64)
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.last[key]
	return known && err == nil && last.uid == cached.GetUID() && number < last.number
}

// Forget drops what is remembered of key.
func (w *Written[K]) Forget(key K) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.last, key)
}
