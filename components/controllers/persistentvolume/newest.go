package persistentvolume

import (
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// newest keeps the newest version known of each object, whether the watch brought it or a write of our own returned it.
// A decision on an older one could give a volume away twice.
type newest[T metav1.Object] struct {
	mu    sync.RWMutex
	known map[controller.Key]T
}

func (n *newest[T]) get(key controller.Key) (T, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	object, known := n.known[key]
	return object, known
}

func (n *newest[T]) list(wanted func(T) bool) []T {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var found []T
	for _, object := range n.known {
		if wanted(object) {
			found = append(found, object)
		}
	}
	return found
}

// see takes in what the watch delivers and tells whether it is news.
func (n *newest[T]) see(object T) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := cache.MetaObjectToName(object)
	if last, known := n.known[key]; known && older(object, last) {
		return false
	}
	if n.known == nil {
		n.known = map[controller.Key]T{}
	}
	n.known[key] = object
	return true
}

// wrote takes in what a write returned, unless the watch has told of the object's end meanwhile.
func (n *newest[T]) wrote(object T) {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := cache.MetaObjectToName(object)
	if last, known := n.known[key]; known && last.GetUID() == object.GetUID() && !older(object, last) {
		n.known[key] = object
	}
}

// drop forgets an object that is gone and returns the newest version there was of it.
func (n *newest[T]) drop(object T) T {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := cache.MetaObjectToName(object)
	last, known := n.known[key]
	if !known || last.GetUID() != object.GetUID() {
		return object
	}
	delete(n.known, key)
	return last
}

// older compares versions of one name; of two objects, neither is.
func older(object, than metav1.Object) bool {
	if object.GetUID() != than.GetUID() {
		return false
	}
	a, err1 := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	b, err2 := strconv.ParseUint(than.GetResourceVersion(), 10, 64)
	return err1 == nil && err2 == nil && a < b
}
