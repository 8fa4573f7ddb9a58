// Package progress shows a run while it goes on: a bar on a terminal, a line for each
// behaviour elsewhere.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/conformance/report"
	"github.com/plumbline/plumbline/conformance/runner"
)

// Display shows the events of one run.
type Display struct {
	out      io.Writer
	terminal bool
	retries  int

	mu      sync.Mutex
	totals  report.Totals
	begun   time.Time
	session int
	running []string
	drawn   bool
}

// New makes a display. totals are those of the run so far; NotRun of them are to come.
func New(out io.Writer, terminal bool, totals report.Totals, retries int) *Display {
	return &Display{out: out, terminal: terminal, retries: retries, totals: totals, begun: time.Now()}
}

// Show shows an event. It is what a run calls.
func (d *Display) Show(e runner.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case e.Started != "":
		d.running = append(d.running, e.Started)
	case e.Note != "":
		d.line("         note     " + e.Note)
	case e.Ended != nil:
		d.ended(e)
	}
	d.draw()
}

func (d *Display) ended(e runner.Event) {
	for i, behaviour := range d.running {
		if behaviour == e.Ended.Behaviour {
			d.running = append(d.running[:i], d.running[i+1:]...)
			break
		}
	}
	word, final := d.word(e)
	if final {
		d.session++
		d.totals.NotRun--
	}
	// A terminal has the bar for what went well.
	if !d.terminal || word != "passed" {
		d.line(fmt.Sprintf("%4d/%-4d %-8s %6.1fs %s", d.totals.Chosen-d.totals.NotRun, d.totals.Chosen, word, e.Ended.Report.RunTime.Seconds(), e.Ended.Behaviour))
	}
	if e.Ended.Report.Failed() {
		reason := e.Ended.Hung
		if reason == "" {
			reason = report.FirstLine(e.Ended.Report.Failure.Message)
		}
		d.line("                            " + reason)
	}
}

// word names an attempt's end, counts it, and says whether it is the behaviour's too.
func (d *Display) word(e runner.Event) (string, bool) {
	r := e.Ended.Report
	switch {
	case r.Failed() && e.Ended.Attempt <= d.retries:
		return "retry", false
	case r.Failed() && e.Ended.Hung != "":
		d.totals.Failed++
		return "hung", true
	case r.Failed():
		d.totals.Failed++
		return "failed", true
	case !r.State.Is(types.SpecStatePassed):
		d.totals.Skipped++
		return "skipped", true
	case e.Ended.Attempt > 1 || r.NumAttempts > 1:
		d.totals.Flaked++
		return "flaked", true
	default:
		d.totals.Passed++
		return "passed", true
	}
}

// Close leaves the last state on the screen.
func (d *Display) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drawn {
		fmt.Fprintln(d.out)
		d.drawn = false
	}
}

func (d *Display) line(text string) {
	if d.drawn {
		fmt.Fprint(d.out, "\r\x1b[K")
		d.drawn = false
	}
	fmt.Fprintln(d.out, text)
}

const barWidth = 24

func (d *Display) draw() {
	if !d.terminal || d.totals.Chosen == 0 {
		return
	}
	done := d.totals.Chosen - d.totals.NotRun
	full := barWidth * done / d.totals.Chosen
	fmt.Fprintf(d.out, "\r\x1b[K[%s%s] %d/%d  %d passed %d failed %d flaked  %s  %d running",
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done, d.totals.Chosen,
		d.totals.Passed, d.totals.Failed, d.totals.Flaked, d.remaining(), len(d.running))
	d.drawn = true
}

// remaining guesses how long it will still take, from this session's pace.
func (d *Display) remaining() string {
	if d.session == 0 {
		return "time left unknown"
	}
	left := time.Since(d.begun) / time.Duration(d.session) * time.Duration(d.totals.NotRun)
	return "about " + left.Round(time.Second).String() + " left"
}
