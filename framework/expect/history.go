package expect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Change is one step in the history of an object.
type Change struct {
	// Type is ADDED, MODIFIED or DELETED.
	Type watch.EventType
	// Object is the object after the change; of a deleted one, its last state.
	Object client.Object
	// Seen is when the watch told of it.
	Seen time.Time
}

// revision is the change's place in the order of all changes of the cluster: the
// resource version, which is etcd's revision.
func (c Change) revision() uint64 {
	version, _ := strconv.ParseUint(c.Object.GetResourceVersion(), 10, 64)
	return version
}

// Source is one collection to record, "all pods of this namespace".
type Source struct {
	List    client.ObjectList
	Options []client.ListOption
}

// History holds every state that the objects of some collections went through.
type History struct {
	client  client.WithWatch
	cancel  context.CancelFunc
	streams []*stream
	work    sync.WaitGroup
}

// stream records one source.
type stream struct {
	source Source

	mu      sync.Mutex
	started []client.Object
	changes []Change
	last    map[client.ObjectKey]uint64
	present map[client.ObjectKey]bool
	err     error
	news    chan struct{}
}

// Record starts to record and returns once every source is being watched. What
// exists already is the history's first state.
func (w Watcher) Record(ctx context.Context, sources ...Source) (*History, error) {
	ctx, cancel := context.WithCancel(ctx)
	h := &History{client: w.client, cancel: cancel}
	for _, source := range sources {
		s := &stream{source: source, last: map[client.ObjectKey]uint64{}, present: map[client.ObjectKey]bool{}, news: make(chan struct{})}
		h.streams = append(h.streams, s)
		ready := make(chan struct{})
		h.work.Go(func() { s.record(ctx, w.client, ready) })
		select {
		case <-ready:
		case <-ctx.Done():
		}
		if err := s.failure(); err != nil {
			h.Close()
			return nil, err
		}
	}
	return h, nil
}

func (s *stream) record(ctx context.Context, c client.WithWatch, ready chan struct{}) {
	lists := 0
	collection := newCollection(c, s.source.List, s.source.Options)
	err := collection.follow(ctx, func(change Change) (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if change.Object == nil {
			if lists++; lists > 1 {
				return true, errors.New("the API server no longer had the changes that were missed: the history has a gap")
			}
			for key, object := range collection.objects {
				s.started = append(s.started, object)
				s.last[key] = Change{Object: object}.revision()
				s.present[key] = true
			}
			close(ready)
			return false, nil
		}
		key := client.ObjectKeyFromObject(change.Object)
		s.changes = append(s.changes, change)
		s.last[key] = change.revision()
		s.present[key] = change.Type != watch.Deleted
		s.announce()
		return false, nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() == nil {
		s.err = err
	}
	if lists == 0 {
		close(ready)
	}
	s.announce()
}

func (s *stream) announce() {
	close(s.news)
	s.news = make(chan struct{})
}

func (s *stream) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// CatchUp returns when the history holds everything that had happened when it was
// called: watches of several kinds arrive independently of each other.
func (h *History) CatchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Scaled(Short))
	defer cancel()
	for _, s := range h.streams {
		now := s.source.List.DeepCopyObject().(client.ObjectList)
		if err := h.client.List(ctx, now, s.source.Options...); err != nil {
			return err
		}
		if err := s.await(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) await(ctx context.Context, now client.ObjectList) error {
	items, err := meta.ExtractList(now)
	if err != nil {
		return err
	}
	for {
		s.mu.Lock()
		exist := map[client.ObjectKey]bool{}
		behind := 0
		for _, item := range items {
			object := item.(client.Object)
			key := client.ObjectKeyFromObject(object)
			exist[key] = true
			if s.last[key] < (Change{Object: object}).revision() {
				behind++
			}
		}
		listed, _ := strconv.ParseUint(now.GetResourceVersion(), 10, 64)
		for key, present := range s.present {
			if present && !exist[key] && s.last[key] <= listed {
				behind++
			}
		}
		err, news := s.err, s.news
		s.mu.Unlock()
		if err != nil || behind == 0 {
			return err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("the watch is %d objects behind: %w", behind, ctx.Err())
		}
	}
}

// Close stops recording. What was recorded stays.
func (h *History) Close() {
	h.cancel()
	h.work.Wait()
}

// Err says why the recording is incomplete, or nil.
func (h *History) Err() error {
	var errs []error
	for _, s := range h.streams {
		errs = append(errs, s.failure())
	}
	return errors.Join(errs...)
}

// Changes are all changes since the recording began, in the order in which they
// happened. Each watch is in order; between watches the revisions decide.
func (h *History) Changes() []Change {
	rest := make([][]Change, len(h.streams))
	total := 0
	for i, s := range h.streams {
		s.mu.Lock()
		rest[i] = slices.Clone(s.changes)
		s.mu.Unlock()
		total += len(rest[i])
	}
	all := make([]Change, 0, total)
	for len(all) < total {
		next := -1
		for i := range rest {
			if len(rest[i]) > 0 && (next < 0 || rest[i][0].revision() < rest[next][0].revision()) {
				next = i
			}
		}
		all = append(all, rest[next][0])
		rest[next] = rest[next][1:]
	}
	return all
}

// State is what existed after one change.
type State struct {
	// Change led to this state; the first state has none.
	Change  Change
	objects map[objectID]client.Object
}

type objectID struct {
	kind string
	key  client.ObjectKey
}

// States goes through every state that the recorded collections were in, together
// and in order. A state is valid only until the next one.
func (h *History) States() iter.Seq[State] {
	return func(yield func(State) bool) {
		state := State{objects: map[objectID]client.Object{}}
		id := func(object client.Object) objectID {
			return objectID{kindOf(h.client, object).String(), client.ObjectKeyFromObject(object)}
		}
		for _, s := range h.streams {
			s.mu.Lock()
			for _, object := range s.started {
				state.objects[id(object)] = object
			}
			s.mu.Unlock()
		}
		if !yield(state) {
			return
		}
		for _, change := range h.Changes() {
			if change.Type == watch.Deleted {
				delete(state.objects, id(change.Object))
			} else {
				state.objects[id(change.Object)] = change.Object
			}
			state.Change = change
			if !yield(state) {
				return
			}
		}
	}
}

// Of returns the objects of one type in a state, by name.
func Of[T client.Object](s State) []T {
	var found []T
	for _, object := range s.objects {
		if typed, ok := object.(T); ok {
			found = append(found, typed)
		}
	}
	slices.SortFunc(found, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return found
}

// Judge catches up and applies a rule to every state. The error tells of the
// first state that broke the rule, with the change that led to it and those before.
func (h *History) Judge(ctx context.Context, rule func(State) error) error {
	if err := h.CatchUp(ctx); err != nil {
		return err
	}
	if err := h.Err(); err != nil {
		return err
	}
	const context = 12
	var path []string
	for state := range h.States() {
		if state.Change.Object != nil {
			path = append(path, h.line(state.Change))
		}
		if err := rule(state); err != nil {
			return fmt.Errorf("%w\nafter these changes:\n  %s", err, strings.Join(path[max(0, len(path)-context):], "\n  "))
		}
	}
	return nil
}

func (h *History) line(c Change) string {
	return fmt.Sprintf("%s %s %s %s (version %s)", c.Seen.Format("15:04:05.000"), c.Type, kindOf(h.client, c.Object).Kind,
		client.ObjectKeyFromObject(c.Object), c.Object.GetResourceVersion())
}

// String is the whole history, one change a line.
func (h *History) String() string {
	var lines []string
	for _, change := range h.Changes() {
		lines = append(lines, h.line(change))
	}
	return strings.Join(lines, "\n")
}
