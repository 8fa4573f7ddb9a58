package runner

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/suite"
	"github.com/plumbline/plumbline/conformance/worker"
)

// attempt is one try at an item.
type attempt struct {
	Item
	number int
}

// running is what a worker is at.
type running struct {
	attempt
	since time.Time
	// hung says why it is being ended, once it is.
	hung string
}

// director hands out the attempts of one part and writes down what came of them.
type director struct {
	ctx    context.Context
	config *Config
	abort  context.CancelCauseFunc

	mu sync.Mutex
	// queue has what processes are given a turn for; ordered what the running one takes by
	// itself, in the suite's order; later what the one after it does.
	queue, ordered, later []attempt
	workers               map[int]*state
}

// state is what the director knows of a worker's process.
type state struct {
	// now is what it is at, and begun that it came to a spec at all.
	now   *running
	begun bool
	// ending is set when it is being ended and takes no more.
	ending bool
	// deadline is where the next time is told by which it must have come further, or the
	// zero time if it may wait.
	deadline chan time.Time
}

func newDirector(ctx context.Context, config *Config, attempts []attempt, abort context.CancelCauseFunc) *director {
	d := &director{ctx: ctx, config: config, abort: abort, workers: map[int]*state{}}
	for _, a := range attempts {
		d.enqueue(a)
	}
	return d
}

// enqueue adds an attempt; the caller holds the lock, if there can be others.
func (d *director) enqueue(a attempt) {
	if a.Spec.Index >= 0 {
		d.queue = append(d.queue, a)
	} else {
		d.later = append(d.later, a)
	}
}

// left is how many attempts nobody has taken.
func (d *director) left() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queue) + len(d.ordered) + len(d.later)
}

// start prepares for a new process of a worker. It returns which specs the process may
// run and where its deadlines are told; false if there is nothing for it to do.
func (d *director) start(number int) (filter worker.Filter, deadlines <-chan time.Time, work bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil || len(d.queue)+len(d.ordered)+len(d.later) == 0 {
		return filter, nil, false
	}
	d.ordered, d.later = append(d.ordered, d.later...), nil
	position := make(map[string]int, len(d.config.Listing.Specs))
	for i, spec := range d.config.Listing.Specs {
		position[spec.Name] = i
	}
	slices.SortStableFunc(d.ordered, func(a, b attempt) int { return position[a.Spec.Name] - position[b.Spec.Name] })
	d.workers[number] = &state{deadline: make(chan time.Time, 1)}
	return d.filter(), d.workers[number].deadline, true
}

// filter keeps a process from running by itself what is not its part's; the caller holds
// the lock.
func (d *director) filter() (f worker.Filter) {
	pattern := func(s suite.Spec) string { return suite.Pattern(d.config.Listing.Description, s.Name) }
	if len(d.ordered) == 0 {
		// Hundreds of names make a pattern that takes seconds to match.
		const tag = "[Serial]"
		tagged := func(s suite.Spec) bool { return strings.Contains(s.Name, tag) == (s.Index < 0) }
		if all(d.config.Listing.Specs, tagged) {
			f.Skip = []string{regexp.QuoteMeta(tag)}
			return f
		}
		for _, s := range d.config.Listing.Specs {
			if s.Index < 0 {
				f.Skip = append(f.Skip, pattern(s))
			}
		}
		return f
	}
	for _, a := range slices.Concat(d.queue, d.ordered) {
		f.Focus = append(f.Focus, pattern(a.Spec))
	}
	return f
}

func all(specs []suite.Spec, hold func(suite.Spec) bool) bool {
	return !slices.ContainsFunc(specs, func(s suite.Spec) bool { return !hold(s) })
}

// tell replaces a deadline that was not looked at yet; the director's lock is held.
func (w *state) tell(deadline time.Time) {
	select {
	case <-w.deadline:
	default:
	}
	w.deadline <- deadline
}

// Next hands out a turn.
func (d *director) Next(number int) (int, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.workers[number]
	if d.ctx.Err() != nil || w.ending {
		return 0, false
	}
	if len(d.queue) > 0 {
		a := d.queue[0]
		d.queue = d.queue[1:]
		d.begin(w, a)
		return a.Spec.Index, true
	}
	d.beginOrdered(w)
	return 0, false
}

// beginOrdered notes that a worker goes on by itself to the next spec of its order, if
// there is one; the caller holds the lock.
func (d *director) beginOrdered(w *state) {
	if len(d.ordered) == 0 {
		w.tell(time.Time{})
		return
	}
	a := d.ordered[0]
	d.ordered = d.ordered[1:]
	d.begin(w, a)
}

func (d *director) begin(w *state, a attempt) {
	now := time.Now()
	w.now, w.begun = &running{attempt: a, since: now}, true
	w.tell(now.Add(d.config.Limits.Spec))
	d.config.tell(Event{Started: a.Behaviour})
}

// Progress is kept in the spec's report already.
func (d *director) Progress(int, types.ProgressReport) {}

// Did settles what a worker was at.
func (d *director) Did(number int, report types.SpecReport) {
	if report.LeafNodeType != types.NodeTypeIt {
		d.didSuiteNode(report)
		return
	}
	name := suite.Name(report)
	d.mu.Lock()
	w := d.workers[number]
	now := w.now
	switch {
	case now != nil && now.Spec.Name == name:
		w.now = nil
	case report.State.Is(types.SpecStateSkipped | types.SpecStatePending):
		now = nil // one that nobody chose
	default:
		d.abort(fmt.Errorf("a process of the suite ran %q when it was another spec's turn: the suite's order is not what it lists", name))
		now = nil
	}
	d.mu.Unlock()
	if now == nil {
		return
	}
	d.settle(now, report)
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Spec.Index < 0 && !w.ending {
		d.beginOrdered(w)
	}
}

// didSuiteNode looks at what a suite does before its first spec and after its last.
func (d *director) didSuiteNode(report types.SpecReport) {
	if !report.Failed() || d.ctx.Err() != nil {
		return
	}
	if strings.Contains(report.Failure.Message, "failed on Ginkgo parallel process") {
		return // it tells itself why
	}
	text := fmt.Sprintf("%s: %s", report.LeafNodeType, strings.TrimSpace(report.Failure.Message))
	if report.LeafNodeType.Is(types.NodeTypeBeforeSuite | types.NodeTypeSynchronizedBeforeSuite | types.NodeTypeReportBeforeSuite) {
		d.abort(fmt.Errorf("%w: %s", errSetUp, text))
		return
	}
	d.config.tell(Event{Note: "after the last spec: " + text})
}

// settle writes an attempt's end down, unless it says nothing of the behaviour.
func (d *director) settle(now *running, report types.SpecReport) {
	if d.ctx.Err() != nil && now.hung == "" && report.State.Is(types.SpecStateInterrupted|types.SpecStateAborted|types.SpecStateSkipped) {
		return // ended by us: it will be run again
	}
	if report.Failed() && now.hung == "" && d.config.cluster().Alive != nil {
		if err := d.config.cluster().Alive(d.ctx); err != nil {
			d.abort(fmt.Errorf("%s failed, and the cluster no longer answers: %w", now.Behaviour, err))
			return
		}
	}
	record := journal.Record{Behaviour: now.Behaviour, Attempt: now.number, Hung: now.hung, Report: report}
	if err := d.config.Journal.Append(record); err != nil {
		d.abort(err)
		return
	}
	if report.Failed() && now.number <= d.config.Retries {
		d.mu.Lock()
		d.enqueue(attempt{Item: now.Item, number: now.number + 1})
		d.mu.Unlock()
	}
	d.config.tell(Event{Ended: &record})
}

// hang notes that a worker is being ended because it came no further, and names what it
// is at, if anything.
func (d *director) hang(number int) (behaviour string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.workers[number]
	w.ending = true
	if w.now == nil {
		return ""
	}
	w.now.hung = fmt.Sprintf("it hung and was ended after %s", time.Since(w.now.since).Round(time.Second))
	return w.now.Behaviour
}

// ended settles what a worker was at when its process ended without telling, and says
// whether the process came to a spec at all.
func (d *director) ended(number int, ending string) (begun bool) {
	d.mu.Lock()
	w := d.workers[number]
	now := w.now
	w.now = nil
	d.mu.Unlock()
	if now == nil || d.ctx.Err() != nil && now.hung == "" {
		return w.begun
	}
	if now.hung == "" {
		now.hung = "the suite's process ended in the middle of it: " + ending
	}
	d.settle(now, types.SpecReport{
		LeafNodeType: types.NodeTypeIt,
		LeafNodeText: now.Spec.Name,
		State:        types.SpecStateAborted,
		StartTime:    now.since,
		EndTime:      time.Now(),
		RunTime:      time.Since(now.since),
		NumAttempts:  1,
		Failure:      types.Failure{Message: now.hung},
	})
	return w.begun
}
