package contest

import (
	"fmt"
	"slices"
	"time"

	"github.com/plumbline/plumbline/framework/bench/measure"
)

// Judgement is a result held against an earlier one.
type Judgement struct {
	// Contender is who is judged: the first of the contenders that the earlier result
	// has, too.
	Contender string `json:"contender"`
	// Yardstick is another contender that both results have. Then what is compared is
	// not the figures of Contender but, round by round, how many times those of
	// Yardstick they are, which tells little of the machine. Without one the figures
	// are compared as they are, which takes machines that are alike.
	Yardstick string `json:"yardstick,omitempty"`
	// Baseline is when the earlier result was begun.
	Baseline time.Time `json:"baseline"`
	// Comparisons are of Contender now against itself then. The confidence of each is
	// such that together they have the one which was asked for.
	Comparisons []Comparison `json:"comparisons"`
	// Verdict is Worse if a main figure is; else NotFoundOut if there are Reasons: runs
	// that were not completed, main figures that could not be compared, or whose
	// intervals do not even exclude twice as bad; else NoDifference, or Better if a main
	// figure is.
	Verdict Verdict  `json:"verdict"`
	Reasons []string `json:"reasons,omitempty"`
}

// then is what the earlier result is called as a contender.
const then = "baseline"

// against judges the result by an earlier one of the same workload and profile.
func (r *Result) against(baseline Result) (*Judgement, error) {
	var common []string
	for _, contender := range r.Contenders {
		if slices.Contains(baseline.Contenders, contender) {
			common = append(common, contender)
		}
	}
	if len(common) == 0 {
		return nil, fmt.Errorf("the baseline has contenders %q, none of which is among %q", baseline.Contenders, r.Contenders)
	}
	j := &Judgement{Contender: common[0], Baseline: baseline.Begun, Comparisons: []Comparison{}}
	now, before := runsOf(r.Runs, j.Contender), runsOf(baseline.Runs, j.Contender)
	if len(common) > 1 {
		j.Yardstick = common[1]
		now, before = inTermsOf(now, runsOf(r.Runs, j.Yardstick)), inTermsOf(before, runsOf(baseline.Runs, j.Yardstick))
	}
	comparable := j.Yardstick != "" || r.Host.Alike(baseline.Host)
	if !comparable {
		j.Reasons = append(j.Reasons, fmt.Sprintf("the machines differ, and there is no second contender in both results to compare with: now %s, the baseline %s",
			r.Host.Machine(), baseline.Host.Machine()))
	}
	for _, run := range r.Runs {
		if run.Contender == j.Contender && !run.Completed() {
			j.Reasons = append(j.Reasons, fmt.Sprintf("run %d of %s: %s", run.Number, run.Contender, run.Outcome))
		}
	}
	whats := figuresOf(slices.Concat(now, before))
	confidence := together(r.Confidence, whats)
	for _, what := range whats {
		c := Comparison{Contender: j.Contender, Against: then, What: what, NoiseFloor: max(r.floorOf(what), baseline.floorOf(what))}
		j.Comparisons = append(j.Comparisons, c.byTimes(now, before, confidence))
	}
	j.conclude(comparable)
	return j, nil
}

// judges says whether a figure counts where one verdict is formed of many.
func (w What) judges() bool { return w.Main() && w.Better != measure.Neither }

// together is the confidence of each figure with which all that judge have one
// together, Bonferroni's: a program that asks again and again whether anything has
// become worse is not to hear so whenever one of many figures was out of luck.
func together(confidence float64, whats []What) float64 {
	count := 0
	for _, what := range whats {
		if what.judges() {
			count++
		}
	}
	return 1 - (1-confidence)/float64(max(count, 1))
}

// twice as bad is what an interval must exclude to say that nothing is worse. One that
// does not is no sign of health, but of too few runs for so much noise.
const twice = 2

// atWorst is how many times worse the interval does not exclude the figure to be.
func (c Comparison) atWorst() float64 {
	switch {
	case c.Interval == nil:
		return 1
	case c.Better == measure.Higher:
		return 1 / c.Interval.Low
	default:
		return c.Interval.High
	}
}

// conclude forms one verdict of many; comparable says whether figures can be held
// against each other at all.
func (j *Judgement) conclude(comparable bool) {
	said := map[Verdict]bool{}
	judged := false
	for _, c := range j.Comparisons {
		if c.judges() {
			said[c.Verdict], judged = true, true
			switch {
			case c.Verdict == NotFoundOut:
				j.Reasons = append(j.Reasons, fmt.Sprintf("%s: %s", c.What, c.Reason))
			case c.Verdict == NoDifference && c.atWorst() >= twice:
				j.Reasons = append(j.Reasons, fmt.Sprintf("%s: the interval is too wide to tell, it goes as far as %.3g times worse", c.What, c.atWorst()))
			}
		}
	}
	if !judged {
		j.Reasons = append(j.Reasons, "there is no figure of which more or less is better")
	}
	switch {
	case comparable && said[Worse]:
		j.Verdict = Worse
	case len(j.Reasons) > 0:
		j.Verdict = NotFoundOut
	case said[Better]:
		j.Verdict = Better
	default:
		j.Verdict = NoDifference
	}
}

// inTermsOf divides the figures of each run by those of the yardstick's run of the
// same round. What cannot be divided is left out.
func inTermsOf(runs, yardstick []measure.Run) []measure.Run {
	var divided []measure.Run
	for _, run := range runs {
		i := slices.IndexFunc(yardstick, func(other measure.Run) bool { return other.Number == run.Number })
		if i < 0 || !run.Completed() || !yardstick[i].Completed() {
			continue
		}
		relative := run
		relative.Metrics = nil
		for _, metric := range run.Metrics {
			by, _ := yardstick[i].Metric(metric.Key())
			quotients := map[string]float64{}
			for name, value := range metric.Values {
				if by.Values[name] > 0 {
					quotients[name] = value / by.Values[name]
				}
			}
			if len(quotients) > 0 {
				metric.Values, metric.Unit = quotients, "× "+yardstick[i].Contender
				relative.Metrics = append(relative.Metrics, metric)
			}
		}
		divided = append(divided, relative)
	}
	return divided
}
