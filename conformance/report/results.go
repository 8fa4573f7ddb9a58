// Package report says what a run found out: for programs, for people, and in the forms
// that others ask for. All of it follows from the run's plan and journal, so that an
// interrupted run's reports are those of an uninterrupted one.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/conformance/journal"
)

// Verdict is what came of a behaviour.
type Verdict string

// The verdicts. A flaked behaviour passed, but not at the first attempt; a skipped one
// decided itself that it could not be judged, and counts as not passed; one that was not
// run makes a report incomplete.
const (
	Passed  Verdict = "passed"
	Flaked  Verdict = "flaked"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped"
	NotRun  Verdict = "not run"
)

// Holds says whether the behaviour was seen to hold.
func (v Verdict) Holds() bool { return v == Passed || v == Flaked }

// Result is what came of one behaviour.
type Result struct {
	Behaviour  string   `json:"behaviour"`
	Area       string   `json:"area"`
	Title      string   `json:"title,omitempty"`
	Components []string `json:"components"`
	Serial     bool     `json:"serial,omitempty"`
	Verdict    Verdict  `json:"verdict"`
	Attempts   int      `json:"attempts"`
	// Seconds are the last attempt's.
	Seconds float64 `json:"seconds"`
	// Failure is the message of the last attempt that failed, Where its place in the
	// suite's source, and Hung why the spec was ended from outside.
	Failure string `json:"failure,omitempty"`
	Where   string `json:"where,omitempty"`
	Hung    string `json:"hung,omitempty"`
}

// Totals count verdicts.
type Totals struct {
	Chosen  int `json:"chosen"`
	Passed  int `json:"passed"`
	Flaked  int `json:"flaked"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	NotRun  int `json:"notRun"`
}

// Held counts the behaviours that were seen to hold.
func (t Totals) Held() int { return t.Passed + t.Flaked }

func (t *Totals) add(v Verdict) {
	t.Chosen++
	switch v {
	case Passed:
		t.Passed++
	case Flaked:
		t.Flaked++
	case Failed:
		t.Failed++
	case Skipped:
		t.Skipped++
	case NotRun:
		t.NotRun++
	}
}

// Results are a run's.
type Results struct {
	// Complete says that every behaviour that was chosen has a verdict.
	Complete bool      `json:"complete"`
	Suite    string    `json:"suite"`
	Version  string    `json:"version,omitempty"`
	Cluster  string    `json:"cluster"`
	Server   string    `json:"server"`
	Focus    []string  `json:"focus,omitempty"`
	Shard    string    `json:"shard,omitempty"`
	Procs    int       `json:"procs"`
	Retries  int       `json:"retries"`
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
	// Busy is the time, in seconds, in which any spec was running: without what lay
	// between an interruption and its resumption.
	Busy    float64  `json:"busySeconds"`
	Totals  Totals   `json:"totals"`
	Results []Result `json:"results"`
}

// Compile draws the results from a run's plan and records.
func Compile(plan journal.Plan, records []journal.Record) Results {
	r := Results{
		Suite: plan.Suite, Version: plan.Version, Cluster: plan.Cluster, Server: plan.Server,
		Focus: plan.Focus, Shard: plan.Shard, Procs: plan.Procs, Retries: plan.Retries,
		Started: plan.Started, Ended: plan.Started, Busy: busy(records).Seconds(),
	}
	of := map[string][]journal.Record{}
	for _, record := range records {
		of[record.Behaviour] = append(of[record.Behaviour], record)
		if record.Report.EndTime.After(r.Ended) {
			r.Ended = record.Report.EndTime
		}
	}
	for _, b := range plan.Behaviours {
		result := Result{Behaviour: b.ID, Area: b.Area, Title: b.Title, Components: b.Components, Serial: b.Spec.Serial, Verdict: NotRun}
		result.judge(of[b.ID], plan.Retries)
		r.Totals.add(result.Verdict)
		r.Results = append(r.Results, result)
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int { return strings.Compare(a.Behaviour, b.Behaviour) })
	r.Complete = r.Totals.NotRun == 0
	return r
}

// judge draws the verdict from the attempts at a behaviour. One that failed and is due
// another attempt has none yet.
func (r *Result) judge(attempts []journal.Record, retries int) {
	failures := 0
	for _, a := range attempts {
		// Specs may be retried by their own suite as well.
		r.Attempts += max(1, a.Report.NumAttempts)
		r.Seconds = a.Report.RunTime.Round(time.Millisecond).Seconds()
		switch {
		case a.Report.Failed():
			failures++
			r.Verdict = NotRun
			if a.Attempt > retries {
				r.Verdict = Failed
			}
			r.Hung, r.Failure, r.Where = a.Hung, message(a), where(a.Report)
		case a.Report.State.Is(types.SpecStatePassed):
			r.Verdict = Passed
			if failures > 0 || a.Report.NumAttempts > 1 {
				r.Verdict = Flaked
			}
		default:
			r.Verdict = Skipped
			r.Failure = strings.TrimSpace(a.Report.Failure.Message)
		}
	}
}

func message(r journal.Record) string {
	text := strings.TrimSpace(r.Report.Failure.Message)
	if r.Hung != "" && text != r.Hung {
		text = r.Hung + ": " + text
	}
	return text
}

func where(r types.SpecReport) string {
	at := r.Failure.Location
	if at.FileName == "" {
		return ""
	}
	file := at.FileName
	for _, root := range []string{"k8s.io/kubernetes/", "github.com/plumbline/plumbline/"} {
		if _, rest, ok := strings.Cut(file, root); ok {
			file = rest
		}
	}
	return fmt.Sprintf("%s:%d", file, at.LineNumber)
}

// busy is the length of the union of all attempts.
func busy(records []journal.Record) time.Duration {
	spans := slices.Clone(records)
	slices.SortFunc(spans, func(a, b journal.Record) int { return a.Report.StartTime.Compare(b.Report.StartTime) })
	var total time.Duration
	var until time.Time
	for _, s := range spans {
		from, to := s.Report.StartTime, s.Report.EndTime
		if from.Before(until) {
			from = until
		}
		if to.After(from) {
			total += to.Sub(from)
			until = to
		}
	}
	return total.Round(time.Millisecond)
}

// Read reads results from a file that Write wrote. Results of a run that is not complete
// are refused: what was not run would look like what does not hold.
func Read(path string) (Results, error) {
	var r Results
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s holds no results: %w", path, err)
	}
	if !r.Complete {
		return r, fmt.Errorf("%s is of a run that is not complete: %d of %d behaviours were not run; resume it first", path, r.Totals.NotRun, r.Totals.Chosen)
	}
	return r, nil
}
