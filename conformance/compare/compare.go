// Package compare says what changed between two runs of the same behaviours: what no
// longer holds, what holds now, and what became slower.
package compare

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/plumbline/plumbline/conformance/report"
)

// Change is a behaviour that came out differently.
type Change struct {
	Behaviour string         `json:"behaviour"`
	Baseline  report.Verdict `json:"baseline"`
	Candidate report.Verdict `json:"candidate"`
	// Failure is the message of the side that failed.
	Failure string `json:"failure,omitempty"`
}

// Pace is how long a behaviour took that holds in both.
type Pace struct {
	Behaviour string  `json:"behaviour"`
	Baseline  float64 `json:"baselineSeconds"`
	Candidate float64 `json:"candidateSeconds"`
}

func (p Pace) more() float64 { return p.Candidate - p.Baseline }

// Difference is what changed.
type Difference struct {
	NewlyFailing []Change `json:"newlyFailing"`
	NewlyHolding []Change `json:"newlyHolding"`
	// StillFailing hold in neither.
	StillFailing []Change `json:"stillFailing"`
	// Slower take noticeably longer, those that lost most first.
	Slower []Pace `json:"slower"`
	// Holding counts the behaviours that hold in both, which took this long in all.
	Holding  int     `json:"holding"`
	Baseline float64 `json:"baselineSeconds"`
	// Candidate is the same of the candidate, and Ratio the median of each behaviour's own.
	Candidate float64 `json:"candidateSeconds"`
	Ratio     float64 `json:"medianRatio"`
	// OnlyBaseline and OnlyCandidate were run on one side alone and say nothing.
	OnlyBaseline  []string `json:"onlyBaseline,omitempty"`
	OnlyCandidate []string `json:"onlyCandidate,omitempty"`
}

// Worse says whether anything holds no longer.
func (d Difference) Worse() bool { return len(d.NewlyFailing) > 0 }

// What is called slower took half as long again, and long enough more to be seen past
// the noise of a busy machine.
const (
	slowerFactor  = 1.5
	slowerSeconds = 2
)

// Compare compares results behaviour by behaviour.
func Compare(baseline, candidate []report.Result) Difference {
	d := Difference{NewlyFailing: []Change{}, NewlyHolding: []Change{}, StillFailing: []Change{}, Slower: []Pace{}}
	before := map[string]report.Result{}
	for _, r := range baseline {
		before[r.Behaviour] = r
	}
	var ratios []float64
	for _, now := range candidate {
		then, ok := before[now.Behaviour]
		if !ok {
			d.OnlyCandidate = append(d.OnlyCandidate, now.Behaviour)
			continue
		}
		delete(before, now.Behaviour)
		change := Change{Behaviour: now.Behaviour, Baseline: then.Verdict, Candidate: now.Verdict, Failure: now.Failure}
		switch {
		case then.Verdict.Holds() && !now.Verdict.Holds():
			d.NewlyFailing = append(d.NewlyFailing, change)
		case !then.Verdict.Holds() && now.Verdict.Holds():
			change.Failure = then.Failure
			d.NewlyHolding = append(d.NewlyHolding, change)
		case !now.Verdict.Holds():
			d.StillFailing = append(d.StillFailing, change)
		default:
			pace := Pace{now.Behaviour, then.Seconds, now.Seconds}
			d.Holding++
			d.Baseline += pace.Baseline
			d.Candidate += pace.Candidate
			if pace.Baseline > 0 {
				ratios = append(ratios, pace.Candidate/pace.Baseline)
			}
			if pace.Candidate >= slowerFactor*pace.Baseline && pace.more() >= slowerSeconds {
				d.Slower = append(d.Slower, pace)
			}
		}
	}
	for _, r := range baseline {
		if _, left := before[r.Behaviour]; left {
			d.OnlyBaseline = append(d.OnlyBaseline, r.Behaviour)
		}
	}
	slices.SortFunc(d.Slower, func(a, b Pace) int { return cmp.Compare(b.more(), a.more()) })
	if len(ratios) > 0 {
		slices.Sort(ratios)
		d.Ratio = ratios[len(ratios)/2]
	}
	return d
}

// Print tells people of a difference.
func Print(w io.Writer, d Difference) {
	for _, section := range []struct {
		heading string
		changes []Change
	}{{"newly failing", d.NewlyFailing}, {"newly holding", d.NewlyHolding}} {
		fmt.Fprintf(w, "%s: %d\n", section.heading, len(section.changes))
		for _, c := range section.changes {
			fmt.Fprintf(w, "  %s\n      %s -> %s: %s\n", c.Behaviour, c.Baseline, c.Candidate, report.FirstLine(c.Failure))
		}
	}
	fmt.Fprintf(w, "slower: %d\n", len(d.Slower))
	for _, p := range d.Slower {
		fmt.Fprintf(w, "  %s\n      %s -> %s (%.1f times)\n", p.Behaviour, seconds(p.Baseline), seconds(p.Candidate), p.Candidate/max(p.Baseline, 0.001))
	}
	fmt.Fprintf(w, "%d hold in both, in %s and %s (median of the ratios %.2f); %d in neither\n",
		d.Holding, seconds(d.Baseline), seconds(d.Candidate), d.Ratio, len(d.StillFailing))
	if n := len(d.OnlyBaseline) + len(d.OnlyCandidate); n > 0 {
		fmt.Fprintf(w, "%d were run on one side alone and are not compared\n", n)
	}
	if d.Worse() {
		fmt.Fprintln(w, "verdict: WORSE")
	} else {
		fmt.Fprintln(w, "verdict: nothing is lost")
	}
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond).String()
}
