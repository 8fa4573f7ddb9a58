package contest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/framework/bench/measure"
)

// Report is the results of one contest after the other, as they are kept.
type Report struct {
	Results []Result `json:"results"`
}

// Read reads a report from JSON. It says so if that is something else.
func Read(from io.Reader) (Report, error) {
	var r Report
	if err := json.NewDecoder(from).Decode(&r); err != nil {
		return Report{}, fmt.Errorf("it is not the JSON of a benchmark: %w", err)
	}
	if len(r.Results) == 0 {
		return Report{}, fmt.Errorf("it is not the JSON of a benchmark: results: there must be at least one")
	}
	for i, result := range r.Results {
		if len(result.Contenders) == 0 {
			return Report{}, fmt.Errorf("results[%d].contenders: there must be at least one", i)
		}
		for k, run := range result.Runs {
			if !slices.Contains(result.Contenders, run.Contender) {
				return Report{}, fmt.Errorf("results[%d].runs[%d].contender: %q is none of the contenders %q", i, k, run.Contender, result.Contenders)
			}
		}
	}
	return r, nil
}

// Against judges every result by the one of an earlier report that is of the same
// workload and profile. A result that has none there is not found out.
func (r *Report) Against(baseline Report) error {
	matched := false
	for i := range r.Results {
		result := &r.Results[i]
		earlier := slices.IndexFunc(baseline.Results, func(b Result) bool { return b.Workload == result.Workload && b.Profile == result.Profile })
		if earlier < 0 {
			result.Judgement = &Judgement{Contender: result.Contenders[0], Comparisons: []Comparison{}, Verdict: NotFoundOut,
				Reasons: []string{fmt.Sprintf("the baseline has nothing of workload %q in profile %q", result.Workload, result.Profile)}}
			continue
		}
		matched = true
		judgement, err := result.against(baseline.Results[earlier])
		if err != nil {
			return err
		}
		result.Judgement = judgement
	}
	if !matched {
		var has []string
		for _, b := range baseline.Results {
			has = append(has, fmt.Sprintf("%q in profile %q", b.Workload, b.Profile))
		}
		return fmt.Errorf("the baseline has none of the workloads, but %s", has)
	}
	return nil
}

// ExitCode is that of a program which was asked whether anything has become worse than
// in an earlier report: 0 if nothing has, 2 if something has, and 1 if that was not
// found out. Where nothing was asked it is 0.
func (r *Report) ExitCode() int {
	code := 0
	for _, result := range r.Results {
		switch {
		case result.Judgement == nil:
		case result.Judgement.Verdict == Worse:
			return 2
		case result.Judgement.Verdict == NotFoundOut:
			code = 1
		}
	}
	return code
}

// WriteTable writes all results for people to read.
func (r *Report) WriteTable(to io.Writer) error {
	for i := range r.Results {
		if i > 0 {
			fmt.Fprintln(to)
		}
		if err := r.Results[i].WriteTable(to); err != nil {
			return err
		}
	}
	return nil
}

// Without is the report as it is shown to those who do not care for some figures.
func (r *Report) Without(hidden func(What) bool) Report {
	var shown Report
	comparisons := func(all []Comparison) []Comparison {
		return slices.DeleteFunc(slices.Clone(all), func(c Comparison) bool { return hidden(c.What) })
	}
	for _, result := range r.Results {
		result.Figures = slices.DeleteFunc(slices.Clone(result.Figures), func(f Figure) bool { return hidden(f.What) })
		result.Comparisons, result.NoiseFloor = comparisons(result.Comparisons), comparisons(result.NoiseFloor)
		if result.Judgement != nil {
			judgement := *result.Judgement
			judgement.Comparisons = comparisons(judgement.Comparisons)
			result.Judgement = &judgement
		}
		shown.Results = append(shown.Results, result)
	}
	return shown
}

// Save keeps the report in a directory: results.json, which Read reads, perfdash.json,
// and for each contest in which pods were bound a chart, WORKLOAD_PROFILE.svg.
func (r *Report) Save(directory string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	keep := func(name string, write func(io.Writer) error) error {
		var content bytes.Buffer
		if err := write(&content); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return os.WriteFile(filepath.Join(directory, name), content.Bytes(), 0o644)
	}
	for name, value := range map[string]any{"results.json": r, "perfdash.json": r.Perfdash()} {
		err := keep(name, func(to io.Writer) error {
			encoder := json.NewEncoder(to)
			encoder.SetIndent("", "  ")
			return encoder.Encode(value)
		})
		if err != nil {
			return err
		}
	}
	for _, result := range r.Results {
		if !slices.ContainsFunc(result.Runs, func(run measure.Run) bool { return len(run.Bound) > 0 }) {
			continue
		}
		name := strings.NewReplacer("/", "_", " ", "_").Replace(result.Workload + "_" + result.Profile)
		if err := keep(name+".svg", result.WriteSVG); err != nil {
			return err
		}
	}
	return nil
}

// Perfdash puts the runs of all contests, without those of the noise floor, into the
// format of perfdash.
func (r *Report) Perfdash() measure.DataItems {
	var runs []measure.Run
	for _, result := range r.Results {
		runs = append(runs, result.Runs...)
	}
	return measure.Perfdash(runs)
}
