package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	restclient "k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

const (
	// writers is how many events are written at a time.
	writers = 32
	// mostWaiting is how many may wait to be written. More are lost.
	mostWaiting = 50_000
	// mostTries is how often an event is sent while the API server cannot be reached, and pause the time between.
	mostTries = 12
	pause     = 10 * time.Second
	// A series ends when its event did not happen for finishTime. One that goes on is written every refreshTime, lest
	// the API server forget it.
	finishTime  = 6 * time.Minute
	refreshTime = 30 * time.Minute
)

// Sink takes events.
type Sink interface {
	Create(ctx context.Context, event *eventsv1.Event) error
	Patch(ctx context.Context, namespace, name string, patch []byte) error
}

// API is an API server that takes events. There are no options, so none are turned into parameters.
type API struct{ Client restclient.Interface }

// Create creates an event.
func (a API) Create(ctx context.Context, event *eventsv1.Event) error {
	return a.Client.Post().Namespace(event.Namespace).Resource("events").Body(event).Do(ctx).Error()
}

// Patch changes an event by a strategic merge patch.
func (a API) Patch(ctx context.Context, namespace, name string, patch []byte) error {
	return a.Client.Patch(types.StrategicMergePatchType).Namespace(namespace).Resource("events").Name(name).Body(patch).Do(ctx).Error()
}

// Writer writes events to a sink.
type Writer struct {
	sink  Sink
	clock func() time.Time
	pause time.Duration

	mu      sync.Mutex
	wake    *sync.Cond
	closed  bool
	waiting []write
	memory  memory
}

// write is an event, or what is known of its series, on its way.
type write struct {
	event  *event
	series *eventsv1.EventSeries
	tries  int
}

// New returns a Writer. Until Run is called, events wait.
func New(sink Sink) *Writer {
	w := &Writer{sink: sink, clock: time.Now, pause: pause, memory: newMemory()}
	w.wake = sync.NewCond(&w.mu)
	return w
}

// Run writes events until ctx is done.
func (w *Writer) Run(ctx context.Context) {
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for next, ok := w.take(); ok; next, ok = w.take() {
				w.write(ctx, next)
			}
		})
	}
	finish, refresh := time.NewTicker(finishTime), time.NewTicker(refreshTime)
	defer finish.Stop()
	defer refresh.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-finish.C:
			w.finish(ctx)
		case <-refresh.C:
			w.refresh()
		}
	}
	w.mu.Lock()
	w.closed = true
	w.wake.Broadcast()
	w.mu.Unlock()
	all.Wait()
}

// record has an event written, or counted in the series that it repeats.
func (w *Writer) record(e *event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := w.memory.find(e)
	if known == nil {
		w.push(write{event: e})
		return
	}
	first := known.repeated == 0
	known.repeated, known.last = max(known.repeated, 1)+1, e.at
	if first {
		w.push(write{event: known, series: known.series()})
	}
}

// push needs the lock.
func (w *Writer) push(next write) {
	if w.closed {
		return
	}
	if len(w.waiting) >= mostWaiting {
		klog.Background().V(2).Info("Too many events wait to be written, one is lost", "event", klog.KRef(next.event.namespace, next.event.name))
		return
	}
	w.waiting = append(w.waiting, next)
	w.wake.Signal()
}

// take waits for something to write.
func (w *Writer) take() (write, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) == 0 && !w.closed {
		w.wake.Wait()
	}
	if w.closed {
		return write{}, false
	}
	next := w.waiting[0]
	w.waiting[0] = write{}
	w.waiting = w.waiting[1:]
	return next, true
}

// write sends an event, and has it sent again later if the API server could not be reached.
func (w *Writer) write(ctx context.Context, next write) {
	if !w.send(ctx, next) {
		return
	}
	if next.tries++; next.tries >= mostTries {
		klog.FromContext(ctx).Error(nil, "Unable to write event (retry limit exceeded!)", "event", klog.KRef(next.event.namespace, next.event.name))
		return
	}
	// Not all at once, once it is back.
	time.AfterFunc(wait.Jitter(w.pause, 0.25), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.push(next)
	})
}

// send says whether it is worth while to try again.
func (w *Writer) send(ctx context.Context, next write) (again bool) {
	e, logger := next.event, klog.FromContext(ctx)
	var err error
	if next.series != nil {
		err = w.patch(ctx, e, next.series)
	}
	var status apierrors.APIStatus
	if gone := errors.As(err, &status) && status.Status().Code == http.StatusNotFound; next.series == nil || gone {
		err = w.sink.Create(ctx, e.object(next.series))
	}
	var construction *restclient.RequestConstructionError
	var refused *apierrors.StatusError
	switch {
	case err == nil, ctx.Err() != nil:
		return false
	case errors.As(err, &construction):
		logger.Error(err, "Unable to construct event (will not retry!)", "event", klog.KRef(e.namespace, e.name))
		return false
	case apierrors.IsAlreadyExists(err) && next.series != nil:
		return true // it was being created when its series was said not to be there
	case apierrors.IsAlreadyExists(err):
		logger.V(5).Info("Server rejected event (will not retry!)", "event", klog.KRef(e.namespace, e.name), "err", err)
		return false
	case errors.As(err, &refused):
		logger.Error(err, "Server rejected event (will not retry!)", "event", klog.KRef(e.namespace, e.name))
		return false
	}
	logger.Error(err, "Unable to write event (may retry after sleeping)", "event", klog.KRef(e.namespace, e.name))
	return true
}

func (w *Writer) patch(ctx context.Context, e *event, series *eventsv1.EventSeries) error {
	patch, err := json.Marshal(map[string]any{"series": series})
	if err != nil {
		return err
	}
	return w.sink.Patch(ctx, e.namespace, e.name, patch)
}

// finish forgets what was not repeated for a while; of a series, the last count is written.
func (w *Writer) finish(ctx context.Context) {
	w.mu.Lock()
	var ended []write
	before := w.clock().Add(-finishTime)
	for _, e := range w.memory.all() {
		switch {
		case e.repeated == 0 && e.at.Before(before):
			w.memory.forget(e)
		case e.repeated > 0 && e.last.Before(before):
			ended = append(ended, write{event: e, series: e.series()})
		}
	}
	w.mu.Unlock()
	for _, last := range ended {
		if w.send(ctx, last) {
			continue
		}
		w.mu.Lock()
		if last.event.repeated == last.series.Count {
			w.memory.forget(last.event)
		}
		w.mu.Unlock()
	}
}

// refresh writes the series that go on.
func (w *Writer) refresh() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.memory.all() {
		if e.repeated > 0 {
			w.push(write{event: e, series: e.series()})
		}
	}
}
