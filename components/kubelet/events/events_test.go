package events

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
)

// sink notes when what is written.
type sink struct {
	start   time.Time
	mu      sync.Mutex
	written []string
}

func (s *sink) note(verb string, event *v1.Event) (*v1.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = append(s.written, verb+" "+event.Reason+" after "+time.Since(s.start).String())
	return event, nil
}

func (s *sink) Create(event *v1.Event) (*v1.Event, error)          { return s.note("create", event) }
func (s *sink) Update(event *v1.Event) (*v1.Event, error)          { return s.note("update", event) }
func (s *sink) Patch(event *v1.Event, _ []byte) (*v1.Event, error) { return s.note("patch", event) }

func (s *sink) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.written, want) {
		t.Errorf("written:\n%q, want\n%q", s.written, want)
	}
	s.written = nil
}

func TestOrdinaryEventsWaitForWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		broadcaster := record.NewBroadcaster()
		defer broadcaster.Shutdown()
		written := &sink{start: time.Now()}
		r := &Recorder{recorder: broadcaster.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet"}), nodeName: "n"}
		r.writeTo(ctx, broadcaster, written)
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}}

		r.Node(v1.EventTypeNormal, "Starting", "")
		written.expect(t, "create Starting after 0s")

		done, another := r.Working(), r.Working()
		r.Container(pod, "", v1.EventTypeNormal, "Pulled", "")
		time.Sleep(100 * time.Millisecond)
		r.Container(pod, "", v1.EventTypeNormal, "Started", "")
		r.Container(pod, "", v1.EventTypeWarning, "BackOff", "")
		synctest.Wait()
		r.Container(pod, "", v1.EventTypeWarning, "BackOff", "")
		written.expect(t, "create BackOff after 100ms", "patch BackOff after 100ms")
		done()
		written.expect(t)
		time.Sleep(100 * time.Millisecond)
		another()
		written.expect(t, "create Pulled after 200ms", "create Started after 200ms")

		done = r.Working()
		r.Container(pod, "", v1.EventTypeNormal, "Killing", "")
		time.Sleep(2 * time.Second)
		written.expect(t, "create Killing after 1.2s")

		r.Container(pod, "", v1.EventTypeNormal, "Late", "")
		synctest.Wait()
		cancel()
		written.expect(t)
		done()
	})
}
