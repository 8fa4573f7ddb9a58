package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Summarize tells people what came of a run: the areas in a table, then what does not
// hold, with the first line of the reason, then the verdict.
func Summarize(w io.Writer, r Results) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "area\tbehaviours\tpassed\tflaked\tfailed\tskipped\tnot run\t")
	for _, area := range areas(r) {
		t := area.totals
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", area.name, t.Chosen, t.Passed, t.Flaked, t.Failed, t.Skipped, t.NotRun)
	}
	table.Flush()
	for _, section := range []struct {
		heading string
		verdict Verdict
	}{{"failed", Failed}, {"flaked", Flaked}, {"skipped", Skipped}} {
		first := true
		for _, result := range r.Results {
			if result.Verdict != section.verdict {
				continue
			}
			if first {
				fmt.Fprintf(w, "\n%s:\n", section.heading)
				first = false
			}
			fmt.Fprintf(w, "  %s\n", result.Behaviour)
			if reason := FirstLine(result.Failure); reason != "" {
				fmt.Fprintf(w, "      %s\n", reason)
			}
		}
	}
	fmt.Fprintf(w, "\n%s\n", r.Sentence())
}

// Sentence is the verdict on a run.
func (r Results) Sentence() string {
	t := r.Totals
	text := fmt.Sprintf("%d of %d behaviours hold, %d of them after a flake; %d fail, %d skipped themselves",
		t.Held(), t.Chosen, t.Flaked, t.Failed, t.Skipped)
	if t.NotRun > 0 {
		text += fmt.Sprintf("; %d WERE NOT RUN", t.NotRun)
	}
	return fmt.Sprintf("%s (%s, %s)", text, r.Server, time.Duration(r.Busy*float64(time.Second)).Round(time.Second))
}

type area struct {
	name   string
	totals Totals
}

func areas(r Results) []area {
	var all []area
	for _, result := range r.Results {
		at := slices.IndexFunc(all, func(a area) bool { return a.name == result.Area })
		if at < 0 {
			at = len(all)
			all = append(all, area{name: result.Area})
		}
		all[at].totals.add(result.Verdict)
	}
	slices.SortFunc(all, func(a, b area) int { return strings.Compare(a.name, b.name) })
	return all
}

// FirstLine is the first line of a message that says something.
func FirstLine(message string) string {
	for line := range strings.Lines(message) {
		if line = strings.TrimSpace(line); line != "" {
			const most = 300
			if runes := []rune(line); len(runes) > most {
				line = string(runes[:most]) + " ..."
			}
			return line
		}
	}
	return ""
}
