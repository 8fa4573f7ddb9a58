package volumebinding

import (
	"fmt"
	"strconv"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// assumed shows objects as they will be once decisions are written: over what the watch delivered lie our own changes,
// until the watch delivers something newer.
type assumed[T metav1.Object] struct {
	// actual is the object as the watch delivered it.
	actual func(cache.ObjectName) (T, error)

	mu      sync.RWMutex
	changed map[cache.ObjectName]T
}

func newAssumed[T metav1.Object](actual func(cache.ObjectName) (T, error)) *assumed[T] {
	return &assumed[T]{actual: actual, changed: map[cache.ObjectName]T{}}
}

func (a *assumed[T]) get(key cache.ObjectName) (T, error) {
	object, err := a.actual(key)
	if err != nil {
		return object, err
	}
	return a.overlay(object), nil
}

// overlay is the object with our change, if that is not older.
func (a *assumed[T]) overlay(object T) T {
	key := cache.MetaObjectToName(object)
	a.mu.RLock()
	changed, found := a.changed[key]
	a.mu.RUnlock()
	switch {
	case !found:
		return object
	case changed.GetUID() == object.GetUID() && versionOf(changed) >= versionOf(object):
		return changed
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.changed, key)
	return object
}

// assume lays a change over the object. It fails if the change was made to a version that is not the newest.
func (a *assumed[T]) assume(changed T) error {
	key := cache.MetaObjectToName(changed)
	actual, err := a.actual(key)
	if err != nil {
		return err
	}
	if actual.GetResourceVersion() != changed.GetResourceVersion() {
		return fmt.Errorf("%s has changed meanwhile: resource version %s, not %s", key, actual.GetResourceVersion(), changed.GetResourceVersion())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed[key] = changed
	return nil
}

// forget takes our change away.
func (a *assumed[T]) forget(object T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.changed, cache.MetaObjectToName(object))
}

// versionOf is a resource version as a number; versions of one object grow.
func versionOf(object metav1.Object) uint64 {
	number, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return number
}

// classIndex is the index of volumes by storage class.
const classIndex = "volumeBindingByClass"

// indexByClass adds the index to an informer that has not started; several profiles may share it.
func indexByClass(informer cache.SharedIndexInformer) error {
	if _, there := informer.GetIndexer().GetIndexers()[classIndex]; there {
		return nil
	}
	return informer.AddIndexers(cache.Indexers{classIndex: func(obj any) ([]string, error) {
		if volume, ok := obj.(*v1.PersistentVolume); ok {
			return []string{volumehelpers.GetPersistentVolumeClass(volume)}, nil
		}
		return nil, nil
	}})
}

// changes tells those who wait that a claim or volume has changed.
type changes struct {
	mu   sync.Mutex
	next chan struct{}
}

// wait returns a channel that is closed at the next change.
func (c *changes) wait() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = make(chan struct{})
	}
	return c.next
}

func (c *changes) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

func (c *changes) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { c.tell() }, UpdateFunc: func(_, _ any) { c.tell() }, DeleteFunc: func(any) { c.tell() },
	}
}
