package hollow

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

type (
	runtimeObject = runtime.Object
	watcher       = watch.Interface
)

// store is told by a reflector of each object. It keeps none: what matters of one is
// taken out at once.
type store[T runtime.Object] struct {
	name func(T) string
	see  func(T)
	lose func(name string)
	// replace is told which objects there are, after a new list: all others are gone.
	replace func(names map[string]bool)
	// full is closed after the first list, if there is such a channel.
	full chan struct{}
	once sync.Once
}

// Add implements cache.ReflectorStore.
func (s *store[T]) Add(object any) error { return s.Update(object) }

// Update implements cache.ReflectorStore.
func (s *store[T]) Update(object any) error {
	if typed, ok := object.(T); ok {
		s.see(typed)
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *store[T]) Delete(object any) error {
	if typed, ok := object.(T); ok {
		s.lose(s.name(typed))
	}
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *store[T]) Replace(list []any, _ string) error {
	names := make(map[string]bool, len(list))
	for _, object := range list {
		if typed, ok := object.(T); ok {
			names[s.name(typed)] = true
			s.see(typed)
		}
	}
	s.replace(names)
	if s.full != nil {
		s.once.Do(func() { close(s.full) })
	}
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *store[T]) Resync() error { return nil }

func nodeName(node *corev1.Node) string { return node.Name }
func podName(pod *corev1.Pod) string    { return pod.Namespace + "/" + pod.Name }

// follow lists and watches until ctx ends.
func (f *Fleet) follow(ctx context.Context, work *sync.WaitGroup, source *cache.ListWatch, kind runtime.Object, into cache.ReflectorStore) {
	reflector := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(source, f.client), kind, into, cache.ReflectorOptions{})
	work.Go(func() { reflector.RunWithContext(ctx) })
}
