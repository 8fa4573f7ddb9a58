// Package runner takes a list of behaviours through a suite's processes: first those that
// run side by side, then the serial ones in one process, or both at once where there is a
// cluster for each. What a spec came to is in the
// journal before the next begins, so a run that is killed is begun again with the rest.
// Specs that hang are ended, failed ones tried again if that is wished for, and the run
// ends early only when nothing it could still find out would be worth anything.
package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/suite"
	"github.com/plumbline/plumbline/conformance/worker"
)

// Item is one behaviour and the spec that proves it.
type Item struct {
	Behaviour string
	Spec      suite.Spec
}

// Limits say how long things may take.
type Limits struct {
	// Spec is for one attempt at a spec; what takes longer is held to hang.
	Spec time.Duration
	// Grace is what an ended spec is given to clean up.
	Grace time.Duration
	// SetUp is for a process to come to its first spec.
	SetUp time.Duration
}

// DefaultLimits hold for Kubernetes' suite: its longest spec takes about ten minutes.
func DefaultLimits() Limits {
	return Limits{Spec: 20 * time.Minute, Grace: time.Minute, SetUp: 10 * time.Minute}
}

// Config is what a run needs.
type Config struct {
	// Clusters are one or more that are alike. Several are used side by side: the serial
	// behaviours run on the second and those after it, the others on the first.
	Clusters []Cluster
	Listing  *suite.Listing
	// Items are taken in this order.
	Items []Item
	// Procs is the number of processes for specs that run side by side.
	Procs int
	// Retries is how often a failed spec is tried again.
	Retries int
	Limits  Limits
	// Dir is an existing directory for the processes' files and output.
	Dir     string
	Journal *journal.Journal
	// Events is told of what happens, from several goroutines; nil is nobody.
	Events func(Event)
}

// Event is something that happened in a run. One of its fields is set.
type Event struct {
	// Started names a behaviour that has begun.
	Started string
	// Ended is an attempt that has ended and is in the journal.
	Ended *journal.Record
	// Note is something else worth knowing.
	Note string
}

// Run runs what the journal does not settle yet. It returns nil when everything is
// settled, whatever came of it; after an error, or when ctx is done, it can be called
// again.
func Run(ctx context.Context, config Config) error {
	if len(config.Clusters) == 0 {
		return errors.New("no cluster to run against")
	}
	if config.Procs < 1 {
		return fmt.Errorf("%d processes: at least one is needed", config.Procs)
	}
	history := newHistory(config.Journal.Records(), config.Retries)
	var parallel, serial []attempt
	for _, item := range config.Items {
		a, settled := history.next(item)
		switch {
		case settled:
		case item.Spec.Serial:
			serial = append(serial, a)
		default:
			parallel = append(parallel, a)
		}
	}
	return config.run(ctx, config.lanes(parallel, serial))
}

// Settled says whether the journal holds the end of every item, so that nothing is left
// to run.
func Settled(items []Item, records []journal.Record, retries int) bool {
	history := newHistory(records, retries)
	return !slices.ContainsFunc(items, func(i Item) bool {
		_, settled := history.next(i)
		return !settled
	})
}

// history knows what a journal says of each behaviour.
type history struct {
	last    map[string]journal.Record
	retries int
}

func newHistory(records []journal.Record, retries int) history {
	h := history{last: map[string]journal.Record{}, retries: retries}
	for _, r := range records {
		h.last[r.Behaviour] = r
	}
	return h
}

// next is the attempt that an item is due, unless it is settled.
func (h history) next(item Item) (attempt, bool) {
	last, ok := h.last[item.Behaviour]
	if ok && (!last.Report.Failed() || last.Attempt > h.retries) {
		return attempt{}, true
	}
	return attempt{Item: item, number: last.Attempt + 1}, false
}

// runPart runs attempts in a number of processes, until all are settled.
func runPart(ctx context.Context, config *Config, attempts []attempt, procs int) error {
	if len(attempts) == 0 {
		return nil
	}
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	d := newDirector(ctx, config, attempts, abort)
	server, err := worker.Serve(d)
	if err != nil {
		return err
	}
	defer server.Close()
	others := make(chan struct{})
	var waitAll, waitOthers sync.WaitGroup
	for number := 1; number <= procs; number++ {
		s := &slot{config: config, director: d, server: server, number: number, of: procs, others: others}
		waitAll.Add(1)
		if number > 1 {
			waitOthers.Add(1)
		}
		go func() {
			defer waitAll.Done()
			if number > 1 {
				defer waitOthers.Done()
			}
			if err := s.run(ctx); err != nil {
				abort(err)
			}
		}()
	}
	waitOthers.Wait()
	close(others)
	waitAll.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if left := d.left(); left > 0 {
		return fmt.Errorf("%d behaviours were not run: the suite's processes ended before them", left)
	}
	return nil
}

// logPath is where a worker's process prints to.
func (c *Config) logPath(number int) string {
	return filepath.Join(c.Dir, fmt.Sprintf("process-%d.log", number))
}

func (c *Config) tell(e Event) {
	if c.Events != nil {
		c.Events(e)
	}
}

// errSetUp marks errors that come before any spec.
var errSetUp = errors.New("the suite's set-up failed")
