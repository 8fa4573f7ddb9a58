package recorder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// sink notes what it is sent, and answers with errors as long as there are any.
type sink struct {
	mu      sync.Mutex
	created []*eventsv1.Event
	patched []string
	errs    []error
	wrote   chan string
}

func (s *sink) answer(what string) error {
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		if err != nil {
			what += ", refused"
		}
		s.wrote <- what
		return err
	}
	s.wrote <- what
	return nil
}

func (s *sink) Create(_ context.Context, event *eventsv1.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created = append(s.created, event)
	what := "create " + event.Reason
	if event.Series != nil {
		what += fmt.Sprintf(" x%d", event.Series.Count)
	}
	return s.answer(what)
}

func (s *sink) Patch(_ context.Context, namespace, name string, patch []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patched = append(s.patched, namespace+"/"+name+" "+string(patch))
	return s.answer("patch")
}

func start(t *testing.T, errs ...error) (*Writer, *sink) {
	t.Helper()
	s := &sink{errs: errs, wrote: make(chan string, 100)}
	w := New(s)
	w.pause = 0
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return w, s
}

func (s *sink) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, one := range want {
		if got := <-s.wrote; got != one {
			t.Errorf("%s, want %s", got, one)
		}
	}
}

func pod(name, version string) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name), ResourceVersion: version}}
}

func TestEventsAreWrittenWhole(t *testing.T) {
	w, s := start(t)
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	w.For("default-scheduler").Eventf(pod("web-1", "7"), node, v1.EventTypeNormal, "Scheduled", "Binding", "assigned to %s", "n1")
	s.expect(t, "create Scheduled")
	got := s.created[0]
	if !strings.HasPrefix(got.Name, "web-1.") || got.Namespace != "shop" || got.EventTime.IsZero() || got.Series != nil {
		t.Errorf("wrote %v", got)
	}
	if !strings.HasPrefix(got.ReportingInstance, "default-scheduler-") {
		t.Errorf("the instance is %q", got.ReportingInstance)
	}
	got.ObjectMeta, got.EventTime, got.ReportingInstance = metav1.ObjectMeta{}, metav1.MicroTime{}, ""
	want := eventsv1.Event{
		ReportingController: "default-scheduler", Action: "Binding", Reason: "Scheduled", Note: "assigned to n1", Type: v1.EventTypeNormal,
		Regarding: v1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: "shop", Name: "web-1", UID: "web-1", ResourceVersion: "7"},
		Related:   &v1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: "n1"},
	}
	if got.String() != want.String() {
		t.Errorf("wrote\n%v\nwant\n%v", got, want)
	}
}

func TestEventsOfClusterObjectsGoToDefault(t *testing.T) {
	w, s := start(t)
	w.For("s").Eventf(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, nil, v1.EventTypeWarning, "Full", "Looking", "")
	s.expect(t, "create Full")
	if s.created[0].Namespace != v1.NamespaceDefault {
		t.Errorf("it is in %q", s.created[0].Namespace)
	}
}

func TestWhatIsNoEventIsNotWritten(t *testing.T) {
	w, s := start(t)
	w.For("s").Eventf(nil, nil, v1.EventTypeNormal, "NoObject", "", "")
	w.For("s").Eventf(pod("web-1", "1"), nil, "Odd", "NoType", "", "")
	w.For("s").Eventf(pod("web-1", "1"), nil, v1.EventTypeNormal, "Good", "", "")
	s.expect(t, "create Good")
}

// TestRepetitionsAreASeries: the second is told of as the beginning of a series, those after it are counted.
func TestRepetitionsAreASeries(t *testing.T) {
	w, s := start(t)
	again := func(reason, version string) {
		w.For("s").Eventf(pod("web-1", version), nil, v1.EventTypeWarning, reason, "Scheduling", "no room")
	}
	again("FailedScheduling", "1")
	s.expect(t, "create FailedScheduling")
	again("FailedScheduling", "1")
	s.expect(t, "patch")
	for range 3 {
		again("FailedScheduling", "1")
	}
	again("Other", "1")
	s.expect(t, "create Other")
	again("FailedScheduling", "2") // of the pod as it is now
	s.expect(t, "create FailedScheduling")
	if want := `{"series":{"count":2,"lastObservedTime":"`; !strings.Contains(s.patched[0], want) || !strings.HasPrefix(s.patched[0], "shop/"+s.created[0].Name+" ") {
		t.Errorf("the series was written as %s", s.patched[0])
	}
	w.refresh()
	s.expect(t, "patch")
	if !strings.Contains(s.patched[1], `"count":5`) {
		t.Errorf("the series goes on as %s", s.patched[1])
	}
}

func TestSeriesEnd(t *testing.T) {
	w, s := start(t)
	for range 2 {
		w.For("s").Eventf(pod("web-1", "1"), nil, v1.EventTypeNormal, "Repeated", "", "")
		<-s.wrote
	}
	w.For("s").Eventf(pod("web-2", "1"), nil, v1.EventTypeNormal, "Once", "", "")
	s.expect(t, "create Once")
	w.finish(t.Context())
	if len(w.memory.all()) != 2 {
		t.Errorf("%d events are remembered at once", len(w.memory.all()))
	}
	w.clock = func() time.Time { return time.Now().Add(finishTime + time.Second) }
	w.finish(t.Context())
	s.expect(t, "patch")
	if len(w.memory.all()) != 0 {
		t.Errorf("%d events are remembered after all that time", len(w.memory.all()))
	}
}

func TestErrors(t *testing.T) {
	events := schema.GroupResource{Group: "events.k8s.io", Resource: "events"}
	exists, missing := apierrors.NewAlreadyExists(events, "e"), apierrors.NewNotFound(events, "e")
	for name, c := range map[string]struct {
		errs  []error
		twice bool
		want  []string
	}{
		"out of reach":        {errs: []error{errors.New("connection refused")}, want: []string{"create E, refused", "create E"}},
		"refused":             {errs: []error{apierrors.NewBadRequest("bad")}, want: []string{"create E, refused"}},
		"there already":       {errs: []error{exists}, want: []string{"create E, refused"}},
		"a series, forgotten": {errs: []error{nil, missing}, twice: true, want: []string{"create E", "patch, refused", "create E x2"}},
		"a series, too early": {errs: []error{nil, missing, exists}, twice: true, want: []string{"create E", "patch, refused", "create E x2, refused", "patch"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := start(t, c.errs...)
			w.For("s").Eventf(pod("web-1", "1"), nil, v1.EventTypeNormal, "E", "", "")
			s.expect(t, c.want[0])
			if c.twice {
				w.For("s").Eventf(pod("web-1", "1"), nil, v1.EventTypeNormal, "E", "", "")
			}
			s.expect(t, c.want[1:]...)
			w.For("s").Eventf(pod("web-2", "1"), nil, v1.EventTypeNormal, "Last", "", "")
			s.expect(t, "create Last")
		})
	}
}

func TestTriesEnd(t *testing.T) {
	errs := make([]error, mostTries)
	for i := range errs {
		errs[i] = errors.New("connection refused")
	}
	w, s := start(t, errs...)
	w.For("s").Eventf(pod("web-1", "1"), nil, v1.EventTypeNormal, "E", "", "")
	for range mostTries {
		s.expect(t, "create E, refused")
	}
	w.For("s").Eventf(pod("web-2", "1"), nil, v1.EventTypeNormal, "Last", "", "")
	s.expect(t, "create Last")
}

// TestMemoryTellsEventsOfOneFingerprintApart has all events meet in one place.
func TestMemoryTellsEventsOfOneFingerprintApart(t *testing.T) {
	m := newMemory()
	list := []*event{{kind: "a"}, {kind: "b"}, {kind: "c"}} // the fingerprint leaves the kind out
	for _, e := range list {
		if m.find(e) != nil {
			t.Fatal("something is repeated that was not there")
		}
	}
	m.forget(list[1])
	for i, e := range list {
		if known := m.find(&event{kind: e.kind}); (known == nil) != (i == 1) {
			t.Errorf("%s is known as %v", e.kind, known)
		}
	}
	if len(m.all()) != 3 {
		t.Errorf("%d are remembered", len(m.all()))
	}
}
