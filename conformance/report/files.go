package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2/reporters"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/conformance/journal"
)

// The files of a report.
const (
	ResultsFile = "results.json"
	LinesFile   = "results.jsonl"
	SummaryFile = "summary.txt"
	JUnitFile   = "junit_01.xml"
	LogFile     = "e2e.log"
)

// Write writes a run's report into a directory. Each file is whole or not there; the
// results, which programs read, come last.
func Write(dir string, plan journal.Plan, records []journal.Record) (Results, error) {
	results := Compile(plan, records)
	suite := suiteReport(plan, records, results)
	var lines, summary bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, r := range results.Results {
		if err := encoder.Encode(r); err != nil {
			return results, err
		}
	}
	Summarize(&summary, results)
	err := errors.Join(
		journal.WriteFile(filepath.Join(dir, LinesFile), lines.Bytes()),
		journal.WriteFile(filepath.Join(dir, SummaryFile), summary.Bytes()),
		journal.WriteFile(filepath.Join(dir, LogFile), ginkgoLog(suite)),
		writeJUnit(filepath.Join(dir, JUnitFile), suite),
	)
	if err != nil {
		return results, err
	}
	return results, journal.WriteJSON(filepath.Join(dir, ResultsFile), results)
}

// Withdraw removes the results of a run that goes on, so that nobody takes them for its
// end.
func Withdraw(dir string) error {
	err := os.Remove(filepath.Join(dir, ResultsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// suiteReport is the report that Ginkgo would have made of the run, with the last attempt
// at each behaviour, and all of them told as attempts.
func suiteReport(plan journal.Plan, records []journal.Record, results Results) types.Report {
	report := types.Report{
		SuitePath:        plan.Suite,
		SuiteDescription: plan.Description,
		SuiteConfig:      types.SuiteConfig{ParallelTotal: plan.Procs, ParallelProcess: 1},
		PreRunStats:      types.PreRunStats{TotalSpecs: plan.Specs, SpecsThatWillRun: len(plan.Behaviours)},
		SuiteSucceeded:   results.Totals.Held() == results.Totals.Chosen,
		StartTime:        results.Started,
		EndTime:          results.Ended,
		RunTime:          time.Duration(results.Busy * float64(time.Second)),
	}
	last := map[string]types.SpecReport{}
	var order []string
	for _, record := range records {
		spec := record.Report
		if before, ok := last[record.Behaviour]; ok {
			spec.NumAttempts += before.NumAttempts
			spec.MaxFlakeAttempts = max(spec.MaxFlakeAttempts, spec.NumAttempts)
			order = slices.DeleteFunc(order, func(b string) bool { return b == record.Behaviour })
		}
		last[record.Behaviour] = spec
		order = append(order, record.Behaviour)
	}
	for _, behaviour := range order {
		report.SpecReports = append(report.SpecReports, last[behaviour])
	}
	return report
}

// ginkgoLog is what Ginkgo would have printed.
func ginkgoLog(report types.Report) []byte {
	var log bytes.Buffer
	reporter := reporters.NewDefaultReporter(types.ReporterConfig{NoColor: true, Verbose: true}, &log)
	reporter.SuiteWillBegin(report)
	for _, spec := range report.SpecReports {
		reporter.WillRun(spec)
		reporter.DidRun(spec)
	}
	reporter.SuiteDidEnd(report)
	return log.Bytes()
}

// writeJUnit writes Ginkgo's own form of JUnit, which wants to write the file itself.
func writeJUnit(path string, report types.Report) error {
	partial := filepath.Join(filepath.Dir(path), ".partial.xml")
	defer os.Remove(partial)
	if err := reporters.GenerateJUnitReport(report, partial); err != nil {
		return err
	}
	data, err := os.ReadFile(partial)
	if err != nil {
		return err
	}
	return journal.WriteFile(path, data)
}
