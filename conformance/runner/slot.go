package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/plumbline/plumbline/conformance/worker"
)

// slot keeps one worker's place filled with a process while there is work.
type slot struct {
	config     *Config
	director   *director
	server     *worker.Server
	number, of int
	// others is closed when the workers that the first waits for have ended.
	others <-chan struct{}
}

// fruitless is how many processes in a row may end without having begun a spec.
const fruitless = 3

func (s *slot) run(ctx context.Context) error {
	log, err := os.OpenFile(s.config.logPath(s.number), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	for failures := 0; ; {
		filter, deadlines, work := s.director.start(s.number)
		if !work {
			return nil
		}
		process, err := s.server.Start(s.config.cluster().Program, worker.Options{Worker: s.number, Of: s.of, Filter: filter, Dir: s.config.Dir, Log: log})
		if err != nil {
			return err
		}
		s.attend(ctx, process, deadlines)
		if s.director.ended(s.number, process.Ending()) {
			failures = 0
			continue
		}
		if failures++; failures == fruitless && ctx.Err() == nil {
			return fmt.Errorf("%d processes of the suite ended (%s) before their first spec: %s", fruitless, process.Ending(), s.lastWords())
		}
	}
}

// attend stays with a process until it has ended, and ends it, step by step, when it
// comes no further or ctx is done.
func (s *slot) attend(ctx context.Context, process *worker.Process, deadlines <-chan time.Time) {
	due := time.NewTimer(s.config.Limits.SetUp)
	defer due.Stop()
	steps := []func(){process.AskProgress, process.Interrupt, process.Interrupt, process.Kill}
	grace := s.config.Limits.Grace
	pauses := []time.Duration{min(2*time.Second, grace), grace, min(5*time.Second, grace), grace}
	step, begun := 0, false
	stop, others := ctx.Done(), s.others
	if s.number != 1 {
		others = nil // only the first waits for others
	}
	waiting := false // for the others, after its last spec
	for {
		select {
		case <-process.Done():
			return
		case deadline := <-deadlines:
			begun = true
			switch {
			case step > 0: // it is being ended
			case !deadline.IsZero():
				due.Reset(time.Until(deadline))
			case others == nil:
				due.Reset(grace)
			default:
				due.Stop()
				waiting = true
			}
		case <-others:
			others = nil
			if waiting && step == 0 {
				due.Reset(grace)
			}
		case <-due.C:
			if step == 0 {
				s.tellOfHang(begun)
			}
			steps[step]()
			due.Reset(pauses[step])
			step = min(step+1, len(steps)-1)
		case <-stop:
			stop = nil
			if step == 0 {
				process.Interrupt()
				due.Reset(grace)
				step = 2
			}
		}
	}
}

// tellOfHang says that the process is being ended, and ends the run if it was about to
// set up, as another would do no better.
func (s *slot) tellOfHang(begun bool) {
	behaviour := s.director.hang(s.number)
	switch {
	case behaviour != "":
		s.config.tell(Event{Note: behaviour + " hangs and is being ended"})
	case !begun:
		s.director.abort(fmt.Errorf("%w: no spec began within %s: %s", errSetUp, s.config.Limits.SetUp, s.lastWords()))
	}
}

// lastWords is the end of what the slot's processes printed.
func (s *slot) lastWords() string {
	data, err := os.ReadFile(s.config.logPath(s.number))
	if err != nil {
		return err.Error()
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "they printed nothing"
	}
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// Interrupted says whether a run's error means that it was ended from outside, and can
// be resumed.
func Interrupted(err error) bool { return errors.Is(err, context.Canceled) }
