package controller

import (
	"context"

	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Handlers are one controller's reactions to one type of object. Any of them may be nil.
type Handlers[T any] struct {
	Add    func(obj T)
	Update func(old, new T)
	Delete func(obj T)
}

// Any makes Handlers that call react with the newest known state, whatever happened.
func Any[T any](react func(obj T)) Handlers[T] {
	return Handlers[T]{Add: react, Update: func(_, obj T) { react(obj) }, Delete: react}
}

// Sources collects the informers one controller listens to.
type Sources struct {
	checks []cache.DoneChecker
}

// Watch registers typed handlers with an informer. Deletions that were missed and are delivered as tombstones reach
// Delete with the last known state.
func Watch[T any](s *Sources, informer cache.SharedIndexInformer, h Handlers[T]) {
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if typed, ok := obj.(T); ok && h.Add != nil {
				h.Add(typed)
			}
		},
		UpdateFunc: func(old, obj any) {
			before, ok1 := old.(T)
			after, ok2 := obj.(T)
			if ok1 && ok2 && h.Update != nil {
				h.Update(before, after)
			}
		},
		DeleteFunc: func(obj any) {
			if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = tombstone.Obj
			}
			if typed, ok := obj.(T); ok && h.Delete != nil {
				h.Delete(typed)
			}
		},
	})
	if err != nil {
		// The informer has stopped already: the process is on its way down.
		klog.Background().Error(err, "Cannot listen to an informer")
		return
	}
	s.checks = append(s.checks, registration.HasSyncedChecker())
}

// Need makes WaitForSync wait for an informer that the controller only reads.
func (s *Sources) Need(informers ...cache.SharedIndexInformer) {
	for _, informer := range informers {
		s.checks = append(s.checks, informer.HasSyncedChecker())
	}
}

// WaitForSync returns true once every source has delivered its initial list, false if ctx ended first.
func (s *Sources) WaitForSync(ctx context.Context) bool {
	return cache.WaitFor(ctx, "", s.checks...)
}
