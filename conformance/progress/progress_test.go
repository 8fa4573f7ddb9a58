package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/report"
	"github.com/plumbline/plumbline/conformance/runner"
)

func ended(behaviour string, attempt int, state types.SpecState) runner.Event {
	r := types.SpecReport{State: state, NumAttempts: 1, RunTime: 1500 * time.Millisecond}
	if r.Failed() {
		r.Failure.Message = "\nsomething broke\nmore"
	}
	return runner.Event{Ended: &journal.Record{Behaviour: behaviour, Attempt: attempt, Report: r}}
}

func show(terminal bool) string {
	var out bytes.Buffer
	d := New(&out, terminal, report.Totals{Chosen: 4, Passed: 1, NotRun: 3}, 1)
	d.Show(runner.Event{Started: "a"})
	d.Show(ended("a", 1, types.SpecStatePassed))
	d.Show(ended("b", 1, types.SpecStateFailed))
	d.Show(ended("b", 2, types.SpecStateFailed))
	d.Show(ended("c", 1, types.SpecStateFailed))
	d.Show(ended("c", 2, types.SpecStatePassed))
	d.Show(runner.Event{Note: "all is well"})
	d.Close()
	return out.String()
}

func TestLinesWhereThereIsNoTerminal(t *testing.T) {
	got := show(false)
	for _, want := range []string{"2/4    passed      1.5s a", "2/4    retry", "3/4    failed", "something broke", "4/4    flaked", "all is well"} {
		if !strings.Contains(got, want) {
			t.Errorf("no line has %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Errorf("control characters where there is no terminal:\n%q", got)
	}
}

func TestABarOnATerminal(t *testing.T) {
	got := show(true)
	for _, want := range []string{"[############............] 2/4  2 passed 0 failed 0 flaked", "[########################] 4/4  2 passed 1 failed 1 flaked", "left", "flaked"} {
		if !strings.Contains(got, want) {
			t.Errorf("no bar has %q:\n%q", want, got)
		}
	}
	if strings.Contains(got, "passed      1.5s a") {
		t.Error("what passed has a line of its own on a terminal")
	}
}
