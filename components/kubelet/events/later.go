package events

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
)

// patience is how old an event becomes at most before it is written.
const patience = time.Second

// work is how many pods are worked on.
type work struct {
	mu    sync.Mutex
	count int
	over  chan struct{} // is closed when there are none any more
}

func (w *work) begin() (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count++; w.count == 1 {
		w.over = make(chan struct{})
	}
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.count--; w.count == 0 {
			close(w.over)
		}
	})
}

// ended is closed when no pod is worked on; it is nil if none is.
func (w *work) ended() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count == 0 {
		return nil
	}
	return w.over
}

// part is a sink of one kind of events. It is called with one at a time.
type part struct {
	ctx  context.Context // the interface has none to pass
	sink record.EventSink
	kind string
	work *work
}

// Create implements record.EventSink.
func (p *part) Create(event *v1.Event) (*v1.Event, error) {
	if !p.due(event) {
		return event, nil
	}
	return p.sink.Create(event)
}

// Update implements record.EventSink.
func (p *part) Update(event *v1.Event) (*v1.Event, error) {
	if !p.due(event) {
		return event, nil
	}
	return p.sink.Update(event)
}

// Patch implements record.EventSink.
func (p *part) Patch(event *v1.Event, data []byte) (*v1.Event, error) {
	if !p.due(event) {
		return event, nil
	}
	return p.sink.Patch(event, data)
}

// due waits until an event is to be written. It says false of those that are not.
func (p *part) due(event *v1.Event) bool {
	if event.Type != p.kind {
		return false
	}
	ended := p.work.ended()
	if ended == nil {
		return true
	}
	timer := time.NewTimer(patience - time.Since(event.LastTimestamp.Time))
	defer timer.Stop()
	select {
	case <-p.ctx.Done():
		return false
	case <-ended:
	case <-timer.C:
	}
	return true
}
