package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/journal"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// try is an attempt that lasted from one second of the run to another.
func try(behaviour string, number int, state types.SpecState, from, to int) journal.Record {
	start, end := begin.Add(time.Duration(from)*time.Second), begin.Add(time.Duration(to)*time.Second)
	report := types.SpecReport{
		LeafNodeType: types.NodeTypeIt, LeafNodeText: behaviour, State: state, NumAttempts: 1,
		StartTime: start, EndTime: end, RunTime: end.Sub(start),
	}
	if report.Failed() {
		report.Failure = types.Failure{Message: "because <of> this\nand that", Location: types.CodeLocation{FileName: "k8s.io/kubernetes/test/e2e/x.go", LineNumber: 7}}
	}
	return journal.Record{Behaviour: behaviour, Attempt: number, Report: report}
}

func plan(retries int, ids ...string) journal.Plan {
	p := journal.Plan{Suite: catalogue.Kubernetes, Description: "suite", Specs: 100, Server: "v1.37.2", Shard: "1/1", Retries: retries, Procs: 2, Started: begin}
	for _, id := range ids {
		p.Behaviours = append(p.Behaviours, catalogue.Behaviour{ID: id, Area: "sig-" + id[:1], Components: []string{"kubelet"}})
	}
	return p
}

func TestVerdicts(t *testing.T) {
	const passed, failed, skipped = types.SpecStatePassed, types.SpecStateFailed, types.SpecStateSkipped
	inner := try("a", 1, passed, 0, 1)
	inner.Report.NumAttempts = 3
	for name, test := range map[string]struct {
		retries int
		records []journal.Record
		want    Verdict
	}{
		"passed":                      {0, []journal.Record{try("a", 1, passed, 0, 1)}, Passed},
		"failed":                      {0, []journal.Record{try("a", 1, failed, 0, 1)}, Failed},
		"failed, another try due":     {1, []journal.Record{try("a", 1, failed, 0, 1)}, NotRun},
		"failed twice":                {1, []journal.Record{try("a", 1, failed, 0, 1), try("a", 2, failed, 1, 2)}, Failed},
		"flaked":                      {1, []journal.Record{try("a", 1, failed, 0, 1), try("a", 2, passed, 1, 2)}, Flaked},
		"retried by its suite":        {0, []journal.Record{inner}, Flaked},
		"skipped itself":              {0, []journal.Record{try("a", 1, skipped, 0, 1)}, Skipped},
		"panicked":                    {0, []journal.Record{try("a", 1, types.SpecStatePanicked, 0, 1)}, Failed},
		"timed out":                   {0, []journal.Record{try("a", 1, types.SpecStateTimedout, 0, 1)}, Failed},
		"interrupted since it hung":   {0, []journal.Record{try("a", 1, types.SpecStateInterrupted, 0, 1)}, Failed},
		"not run":                     {0, nil, NotRun},
		"only another was run":        {0, []journal.Record{try("b", 1, passed, 0, 1)}, NotRun},
		"pending, which no one chose": {0, []journal.Record{try("a", 1, types.SpecStatePending, 0, 1)}, Skipped},
	} {
		r := Compile(plan(test.retries, "a"), test.records)
		if got := r.Results[0].Verdict; got != test.want {
			t.Errorf("%s: %q, not %q", name, got, test.want)
		}
		if r.Complete != (test.want != NotRun) {
			t.Errorf("%s: complete is %v", name, r.Complete)
		}
	}
}

func TestTimeIsCountedOnceAndWithoutPauses(t *testing.T) {
	r := Compile(plan(0, "a", "b", "c"), []journal.Record{
		try("b", 1, types.SpecStatePassed, 2, 6), try("a", 1, types.SpecStatePassed, 0, 5), try("c", 1, types.SpecStatePassed, 100, 101),
	})
	if r.Busy != 7 {
		t.Errorf("busy for %v seconds, not 7", r.Busy)
	}
	if !r.Ended.Equal(begin.Add(101 * time.Second)) {
		t.Errorf("ended at %v", r.Ended)
	}
}

func TestAFailureIsTold(t *testing.T) {
	record := try("a", 1, types.SpecStateAborted, 0, 1)
	record.Hung = "it hung and was ended after 20m0s"
	got := Compile(plan(0, "a"), []journal.Record{record}).Results[0]
	if got.Failure != "it hung and was ended after 20m0s: because <of> this\nand that" || got.Where != "test/e2e/x.go:7" || got.Hung == "" {
		t.Errorf("told as %+v", got)
	}
}

func TestTheFilesAgree(t *testing.T) {
	dir := t.TempDir()
	records := []journal.Record{
		try("a", 1, types.SpecStateFailed, 0, 1), try("b", 1, types.SpecStateFailed, 1, 2), try("c", 1, types.SpecStatePassed, 2, 3),
		try("a", 2, types.SpecStatePassed, 3, 4), try("b", 2, types.SpecStateFailed, 4, 5),
	}
	if _, err := Write(dir, plan(1, "a", "b", "c"), records); err != nil {
		t.Fatal(err)
	}
	results, err := Read(filepath.Join(dir, ResultsFile))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Totals{Chosen: 3, Passed: 1, Flaked: 1, Failed: 1}); results.Totals != want {
		t.Errorf("totals are %+v, not %+v", results.Totals, want)
	}
	var junit struct {
		Suites []struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Cases    []struct {
				Name   string `xml:"name,attr"`
				Status string `xml:"status,attr"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	data := read(t, dir, JUnitFile)
	if err := xml.Unmarshal(data, &junit); err != nil {
		t.Fatal(err)
	}
	if s := junit.Suites[0]; len(s.Cases) != 3 || s.Failures != 1 {
		t.Errorf("JUnit has %d cases and %d failures", len(s.Cases), s.Failures)
	}
	log := string(read(t, dir, LogFile))
	if !strings.Contains(log, "Ran 3 of 100 Specs") || !strings.Contains(log, "1 Failed") || !strings.Contains(log, "1 Flaked") {
		t.Errorf("the log ends with %q", log[max(0, len(log)-300):])
	}
	lines := bytes.Split(bytes.TrimSpace(read(t, dir, LinesFile)), []byte("\n"))
	var first Result
	if err := json.Unmarshal(lines[0], &first); err != nil || len(lines) != 3 || first.Behaviour != "a" || first.Verdict != Flaked || first.Attempts != 2 {
		t.Errorf("%d lines, the first %+v, error %v", len(lines), first, err)
	}
	summary := string(read(t, dir, SummaryFile))
	for _, want := range []string{"2 of 3 behaviours hold, 1 of them after a flake; 1 fail, 0 skipped", "because <of> this", "sig-b"} {
		if !strings.Contains(summary, want) {
			t.Errorf("the summary lacks %q:\n%s", want, summary)
		}
	}
}

func TestAnIncompleteReportIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := Write(dir, plan(0, "a", "b"), []journal.Record{try("a", 1, types.SpecStatePassed, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, ResultsFile)
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "not complete: 1 of 2") {
		t.Errorf("read with %v", err)
	}
	data := read(t, dir, ResultsFile)
	if err := os.WriteFile(path, data[:len(data)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil {
		t.Error("half a file was read")
	}
	if err := Withdraw(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the results are still there")
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
