package hollow

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// appointment is a place in the agenda, part of whatever has it. It has at most one time.
type appointment struct {
	due time.Time
	// place is the index in the heap plus one; 0 means none.
	place int
	keep  func()
}

// agenda is one heap of times for everything that all nodes and pods are to do, with one
// timer for the first of them.
type agenda struct {
	mu      sync.Mutex
	entries entries
	// sooner is told that the first entry has changed.
	sooner chan struct{}
}

func newAgenda() *agenda { return &agenda{sooner: make(chan struct{}, 1)} }

// at moves an appointment to a time.
func (a *agenda) at(due time.Time, what *appointment) {
	a.mu.Lock()
	what.due = due
	if what.place == 0 {
		heap.Push(&a.entries, what)
	} else {
		heap.Fix(&a.entries, what.place-1)
	}
	first := a.entries[0] == what
	a.mu.Unlock()
	if first {
		select {
		case a.sooner <- struct{}{}:
		default:
		}
	}
}

// drop cancels an appointment.
func (a *agenda) drop(what *appointment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if what.place > 0 {
		heap.Remove(&a.entries, what.place-1)
	}
}

// run keeps appointments when they are due, until ctx ends.
func (a *agenda) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due, wait := a.take(time.Now())
		for _, what := range due {
			what.keep()
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-a.sooner:
		case <-ctx.Done():
			return
		}
	}
}

// take removes what is due and tells how long the rest can wait.
func (a *agenda) take(now time.Time) (due []*appointment, wait time.Duration) {
	const long = time.Hour
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.entries) > 0 {
		if wait := a.entries[0].due.Sub(now); wait > 0 {
			return due, wait
		}
		due = append(due, heap.Pop(&a.entries).(*appointment))
	}
	return due, long
}

// entries implement heap.Interface.
type entries []*appointment

func (e entries) Len() int           { return len(e) }
func (e entries) Less(i, j int) bool { return e[i].due.Before(e[j].due) }

func (e entries) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].place, e[j].place = i+1, j+1
}

func (e *entries) Push(x any) {
	what := x.(*appointment)
	*e = append(*e, what)
	what.place = len(*e)
}

func (e *entries) Pop() any {
	last := len(*e) - 1
	what := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	what.place = 0
	return what
}
