package recorder

import (
	"hash/maphash"
	"time"

	v1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// event is the words of an event.
type event struct {
	kind, reason, action string
	controller, instance string
	regarding            v1.ObjectReference
	related              *v1.ObjectReference
	note                 string
	namespace, name      string
	at                   time.Time
	// repeated is how often it happened, and last when, if that was more than once.
	repeated int32
	last     time.Time
	next     *event // with the same fingerprint
}

// fingerprint is equal for events that repeat each other.
func (e *event) fingerprint(seed maphash.Seed) uint64 {
	return maphash.Comparable(seed, [5]string{string(e.regarding.UID), e.regarding.ResourceVersion, e.regarding.Name, e.reason, e.action})
}

// repeats says whether two events are the same at different times; their notes may differ.
func (e *event) repeats(other *event) bool {
	if (e.related == nil) != (other.related == nil) || e.related != nil && *e.related != *other.related {
		return false
	}
	return e.kind == other.kind && e.reason == other.reason && e.action == other.action &&
		e.controller == other.controller && e.instance == other.instance && e.regarding == other.regarding
}

// series is nil for what happened once.
func (e *event) series() *eventsv1.EventSeries {
	if e.repeated == 0 {
		return nil
	}
	return &eventsv1.EventSeries{Count: e.repeated, LastObservedTime: metav1.MicroTime{Time: e.last}}
}

// object is the event as the API has it.
func (e *event) object(series *eventsv1.EventSeries) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: e.name, Namespace: e.namespace},
		EventTime:           metav1.MicroTime{Time: e.at},
		Series:              series,
		ReportingController: e.controller,
		ReportingInstance:   e.instance,
		Action:              e.action,
		Reason:              e.reason,
		Regarding:           e.regarding,
		Related:             e.related,
		Note:                e.note,
		Type:                e.kind,
	}
}

// memory holds the events that others may repeat.
type memory struct {
	seed   maphash.Seed
	events map[uint64]*event
}

func newMemory() memory { return memory{seed: maphash.MakeSeed(), events: map[uint64]*event{}} }

// find returns what the event repeats. If that is nothing, the event itself is remembered.
func (m *memory) find(e *event) *event {
	print := e.fingerprint(m.seed)
	first := m.events[print]
	for known := first; known != nil; known = known.next {
		if known.repeats(e) {
			return known
		}
	}
	e.next, m.events[print] = first, e
	return nil
}

// all lists the events.
func (m *memory) all() []*event {
	var list []*event
	for _, e := range m.events {
		for ; e != nil; e = e.next {
			list = append(list, e)
		}
	}
	return list
}

func (m *memory) forget(e *event) {
	print := e.fingerprint(m.seed)
	if m.events[print] == e {
		if m.events[print] = e.next; e.next == nil {
			delete(m.events, print)
		}
		return
	}
	for before := m.events[print]; before != nil; before = before.next {
		if before.next == e {
			before.next = e.next
			return
		}
	}
}
