package contest

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/plumbline/plumbline/framework/bench/measure"
)

// Verdict is what can be said of a figure of two contenders.
type Verdict string

// The verdicts. Better, Worse and Differs (of a figure of which neither more nor less
// is better) are said of the contender that is named first.
const (
	Better       Verdict = "better"
	Worse        Verdict = "worse"
	Differs      Verdict = "differs"
	NoDifference Verdict = "no difference seen"
	NotFoundOut  Verdict = "not found out"
)

// What names a figure: one of the values of a metric.
type What struct {
	Metric    string            `json:"metric"`
	Labels    map[string]string `json:"labels,omitempty"`
	Statistic string            `json:"statistic"`
	Unit      string            `json:"unit"`
	Better    measure.Direction `json:"better"`
}

// key names the metric with its labels.
func (w What) key() string { return measure.Metric{Name: w.Metric, Labels: w.Labels}.Key() }

// String is the metric and, where it has several values, which.
func (w What) String() string {
	if w.Statistic == measure.Value {
		return w.key()
	}
	return w.key() + " " + w.Statistic
}

// Main says whether it is the figure by which its metric is judged as a whole: the
// only value, or the average. A percentile is told with its verdict, but where one
// verdict is formed of many, metrics count once.
func (w What) Main() bool { return w.Statistic == measure.Value || w.Statistic == measure.Average }

func (w What) equal(other What) bool {
	return w.Metric == other.Metric && w.Statistic == other.Statistic && maps.Equal(w.Labels, other.Labels)
}

// Summary describes the values that a contender's completed runs gave.
type Summary struct {
	Runs   int     `json:"runs"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// Spread is the difference of Max and Min, as a share of the median.
	Spread float64 `json:"spread"`
}

func summarize(sample []float64) Summary {
	if len(sample) == 0 {
		return Summary{}
	}
	s := Summary{Runs: len(sample), Median: median(sample), Min: slices.Min(sample), Max: slices.Max(sample)}
	if s.Median != 0 {
		s.Spread = (s.Max - s.Min) / math.Abs(s.Median)
	}
	return s
}

// Figure is one that a contender showed.
type Figure struct {
	Contender string `json:"contender"`
	What
	Summary
}

// Comparison is what a figure of two contenders says of them.
type Comparison struct {
	Contender string `json:"contender"`
	Against   string `json:"against"`
	What
	Sample        Summary `json:"sample"`
	AgainstSample Summary `json:"againstSample"`
	// Ratio is that of Contender to Against; 0, and left out of the JSON, where there is
	// none.
	Ratio float64 `json:"ratio,omitempty"`
	// Interval is missing where there are too few runs to have one.
	Interval *Interval `json:"interval,omitempty"`
	// NoiseFloor is how far from 1 the ratio of a contender to itself may be: 0.05 is
	// from 1/1.05 to 1.05. It is 0 where it was not measured.
	NoiseFloor float64 `json:"noiseFloor"`
	Verdict    Verdict `json:"verdict"`
	// Reason says why it is NotFoundOut.
	Reason string `json:"reason,omitempty"`
}

// estimate is how a ratio is had from two samples, and the interval that it lies in.
type estimate func(sample, against []float64, confidence float64) (float64, *Interval)

// byRounds compares runs that were made in rounds: it completes a comparison that says
// what is compared.
func (c Comparison) byRounds(own, others []measure.Run, confidence float64) Comparison {
	c.Sample, c.AgainstSample = summarize(values(own, c.What)), summarize(values(others, c.What))
	var sample, against []float64
	for _, run := range own {
		i := slices.IndexFunc(others, func(other measure.Run) bool { return other.Number == run.Number })
		if i < 0 {
			continue
		}
		value, has := valueOf(run, c.What)
		other, otherHas := valueOf(others[i], c.What)
		if has && otherHas {
			sample, against = append(sample, value), append(against, other)
		}
	}
	return c.settled(sample, against, paired, confidence)
}

// byTimes compares runs of now with runs of another time.
func (c Comparison) byTimes(now, before []measure.Run, confidence float64) Comparison {
	sample, against := values(now, c.What), values(before, c.What)
	c.Sample, c.AgainstSample = summarize(sample), summarize(against)
	return c.settled(sample, against, unpaired, confidence)
}

// settled estimates the ratio and forms the verdict.
func (c Comparison) settled(sample, against []float64, ratio estimate, confidence float64) Comparison {
	c.Verdict = NotFoundOut
	all := slices.Concat(sample, against)
	zeros := 0
	for _, value := range all {
		if value == 0 {
			zeros++
		}
	}
	switch {
	case c.Sample.Runs == 0:
		c.Reason = c.Contender + " has no completed run with it"
	case c.AgainstSample.Runs == 0:
		c.Reason = c.Against + " has no completed run with it"
	case min(len(sample), len(against)) < fewest:
		c.Reason = fmt.Sprintf("%d completed runs of both are too few, it takes %d", min(len(sample), len(against)), fewest)
		if len(sample) > 0 && len(against) > 0 && slices.Min(all) > 0 {
			c.Ratio, _ = ratio(sample, against, confidence)
		}
	case zeros == len(all):
		// Nothing happened on either side.
		c.Verdict = NoDifference
	case slices.Min(all) <= 0:
		c.Reason = "there is no ratio of figures that are not all greater than 0"
	default:
		c.Ratio, c.Interval = ratio(sample, against, confidence)
		c.Verdict = c.verdict()
	}
	return c
}

// verdict is what the interval says.
func (c Comparison) verdict() Verdict {
	switch {
	case c.Interval.holds(1), max(c.Ratio, 1/c.Ratio) <= 1+c.NoiseFloor:
		return NoDifference
	case c.Better == measure.Neither:
		return Differs
	case (c.Ratio > 1) == (c.Better == measure.Higher):
		return Better
	default:
		return Worse
	}
}

// reach is how far from 1 the interval goes: the noise floor, if it is of a contender
// against itself.
func (c Comparison) reach() float64 {
	if c.Interval == nil {
		return 0
	}
	return max(c.Interval.High, 1/c.Interval.Low) - 1
}
