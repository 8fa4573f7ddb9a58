package contest

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/plumbline/plumbline/framework/bench/measure"
)

// WriteTable writes the result for people to read.
func (r *Result) WriteTable(to io.Writer) error {
	if err := r.writeHead(to); err != nil {
		return err
	}
	if len(r.Contenders) == 1 {
		if err := r.writeFigures(to); err != nil {
			return err
		}
	}
	for i, contender := range r.Contenders {
		for _, against := range r.Contenders[i+1:] {
			var pair []Comparison
			for _, c := range r.Comparisons {
				if c.Contender == contender && c.Against == against {
					pair = append(pair, c)
				}
			}
			if err := writeComparisons(to, pair); err != nil {
				return err
			}
		}
	}
	if r.Judgement != nil {
		return r.Judgement.writeTable(to)
	}
	return nil
}

// writeTable writes the judgement for people to read.
func (j *Judgement) writeTable(to io.Writer) error {
	how := "as they are"
	if j.Yardstick != "" {
		how = "in terms of " + j.Yardstick
	}
	if !j.Baseline.IsZero() {
		fmt.Fprintf(to, "\nagainst the baseline of %s: %s, figures %s\n", j.Baseline.Format("2006-01-02 15:04"), j.Contender, how)
	}
	if err := writeComparisons(to, j.Comparisons); err != nil {
		return err
	}
	for _, reason := range j.Reasons {
		fmt.Fprintf(to, "  %s\n", reason)
	}
	_, err := fmt.Fprintf(to, "verdict: %s\n", j.Verdict)
	return err
}

// writeHead says what was run where, and what went wrong.
func (r *Result) writeHead(to io.Writer) error {
	var about []string
	if r.Workload != "" {
		about = append(about, r.Workload)
	}
	if r.Profile != "" {
		about = append(about, "profile "+r.Profile)
	}
	for _, contender := range r.Contenders {
		completed, all := 0, runsOf(r.Runs, contender)
		for _, run := range all {
			if run.Completed() {
				completed++
			}
		}
		if completed < len(all) {
			about = append(about, fmt.Sprintf("%s completed %d of %d runs", contender, completed, len(all)))
		} else {
			about = append(about, fmt.Sprintf("%s %s", contender, runs(len(all))))
		}
	}
	fmt.Fprintf(to, "%s\non %s\n", strings.Join(about, ", "), r.Host)
	for _, run := range r.Broken() {
		fmt.Fprintf(to, "not completed: run %d of %s, after %.1f s: %s\n", run.Number, run.Contender, run.Took.Seconds(), run.Outcome)
	}
	return r.writeFloor(to)
}

// writeFloor says what the first contender against itself says of the machine.
func (r *Result) writeFloor(to io.Writer) error {
	seen, judged, widest, reason := 0, 0, 0, ""
	for i, c := range r.NoiseFloor {
		if !c.judges() {
			continue
		}
		if c.Verdict == NotFoundOut {
			reason = c.Reason
			continue
		}
		judged++
		if c.Verdict == Better || c.Verdict == Worse {
			seen++
		}
		if judged == 1 || c.reach() > r.NoiseFloor[widest].reach() {
			widest = i
		}
	}
	if judged == 0 && reason == "" {
		return nil
	}
	if judged == 0 {
		_, err := fmt.Fprintf(to, "noise floor, %s against itself: not found out, %s\n", r.Contenders[0], reason)
		return err
	}
	_, err := fmt.Fprintf(to, "noise floor, %s against itself: a difference seen in %d of %d main figures; the highest is %s, of %s\n",
		r.Contenders[0], seen, judged, height(r.NoiseFloor[widest].reach()), r.NoiseFloor[widest].What)
	return err
}

// height is how far a noise floor is from 1.
func height(floor float64) string {
	switch {
	case floor == 0:
		return "-"
	case floor < 1:
		return fmt.Sprintf("±%.1f%%", floor*100)
	default:
		return fmt.Sprintf("%.1f times", 1+floor)
	}
}

func runs(count int) string {
	if count == 1 {
		return "1 run"
	}
	return fmt.Sprintf("%d runs", count)
}

// writeFigures is the table of a single contender.
func (r *Result) writeFigures(to io.Writer) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FIGURE\tRUNS\tMEDIAN\tMIN\tMAX\tSPREAD")
	for _, f := range r.Figures {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\n", f.What, f.Runs, amount(f.Median, f.Unit), amount(f.Min, f.Unit), amount(f.Max, f.Unit), percent(f.Spread))
	}
	return table.Flush()
}

// writeComparisons is the table of a pair.
func writeComparisons(to io.Writer, pair []Comparison) error {
	if len(pair) == 0 {
		return nil
	}
	contender, against := pair[0].Contender, pair[0].Against
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	interval := "INTERVAL"
	if i := slices.IndexFunc(pair, func(c Comparison) bool { return c.Interval != nil }); i >= 0 {
		interval = strconv.FormatFloat(math.Round(pair[i].Interval.Confidence*1e3)/10, 'f', -1, 64) + "% INTERVAL"
	}
	fmt.Fprintf(table, "FIGURE\t%s\tSPREAD\t%s\tSPREAD\tRATIO\t%s\tFLOOR\t%s IS\n", contender, against, interval, contender)
	for _, c := range pair {
		ratio, interval := "-", "-"
		if c.Ratio > 0 {
			ratio = fmt.Sprintf("%.3f", c.Ratio)
		}
		if c.Interval != nil {
			interval = fmt.Sprintf("%.3f to %.3f", c.Interval.Low, c.Interval.High)
		}
		said := string(c.Verdict)
		if c.Reason != "" {
			said += ": " + c.Reason
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.What, sampled(c.Sample, c.Unit), percent(c.Sample.Spread),
			sampled(c.AgainstSample, c.Unit), percent(c.AgainstSample.Spread), ratio, interval, height(c.NoiseFloor), said)
	}
	return table.Flush()
}

func sampled(s Summary, unit string) string {
	if s.Runs == 0 {
		return "-"
	}
	return amount(s.Median, unit)
}

func percent(share float64) string { return fmt.Sprintf("%.1f%%", share*100) }

// amount is a figure with its unit, in four digits that tell something.
func amount(value float64, unit string) string {
	if unit == measure.Bytes {
		value, unit = value/(1<<20), "MiB"
	}
	digits := 0
	if value != 0 {
		digits = min(max(3-int(math.Floor(math.Log10(math.Abs(value)))), 0), 9)
	}
	return strings.TrimSpace(fmt.Sprintf("%.*f %s", digits, value, unit))
}
