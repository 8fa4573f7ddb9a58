package contest

import (
	"io"
	"slices"
	"time"

	"github.com/plumbline/plumbline/framework/bench/chart"
	"github.com/plumbline/plumbline/framework/bench/host"
	"github.com/plumbline/plumbline/framework/bench/measure"
)

// Result is what a contest showed.
type Result struct {
	Workload string    `json:"workload"`
	Profile  string    `json:"profile"`
	Host     host.Host `json:"host"`
	Begun    time.Time `json:"begun"`
	// Contenders are in the order in which they are compared.
	Contenders []string `json:"contenders"`
	Confidence float64  `json:"confidence"`
	// Figures describe each contender by itself, and Comparisons every two of them.
	Figures     []Figure     `json:"figures"`
	Comparisons []Comparison `json:"comparisons"`
	// NoiseFloor is the first contender compared with itself, from FloorRuns, which are
	// of the one side and of the other in the order one, other, other, one.
	NoiseFloor []Comparison  `json:"noiseFloor,omitempty"`
	Runs       []measure.Run `json:"runs"`
	FloorRuns  []measure.Run `json:"noiseFloorRuns,omitempty"`
	// Judgement is by an earlier result, if there was one.
	Judgement *Judgement `json:"judgement,omitempty"`
}

// Broken are the runs that were not completed, those of the noise floor first.
func (r *Result) Broken() []measure.Run {
	return slices.DeleteFunc(slices.Concat(r.FloorRuns, r.Runs), func(run measure.Run) bool { return run.Completed() })
}

// judge fills in what the runs say.
func (r *Result) judge() {
	whats := figuresOf(r.Runs)
	r.Figures, r.Comparisons, r.NoiseFloor = []Figure{}, []Comparison{}, nil
	if len(r.FloorRuns) > 0 {
		r.NoiseFloor = r.judgeFloor()
	}
	for i, contender := range r.Contenders {
		own := runsOf(r.Runs, contender)
		for _, what := range whats {
			if sample := values(own, what); len(sample) > 0 {
				r.Figures = append(r.Figures, Figure{Contender: contender, What: what, Summary: summarize(sample)})
			}
		}
		for _, against := range r.Contenders[i+1:] {
			others := runsOf(r.Runs, against)
			for _, what := range whats {
				c := Comparison{Contender: contender, Against: against, What: what, NoiseFloor: r.floorOf(what)}
				r.Comparisons = append(r.Comparisons, c.byRounds(own, others, r.Confidence))
			}
		}
	}
}

// judgeFloor compares the first contender with itself.
func (r *Result) judgeFloor() []Comparison {
	var one, other []measure.Run
	for i, run := range r.FloorRuns {
		run.Number = i/2 + 1 // the round
		if (i/2+i%2)%2 == 0 {
			one = append(one, run)
		} else {
			other = append(other, run)
		}
	}
	var floor []Comparison
	for _, what := range figuresOf(r.FloorRuns) {
		c := Comparison{Contender: r.Contenders[0], Against: r.Contenders[0], What: what}
		floor = append(floor, c.byRounds(one, other, r.Confidence))
	}
	return floor
}

// floorOf is the noise floor of a figure; 0 if it is unknown.
func (r *Result) floorOf(what What) float64 {
	i := slices.IndexFunc(r.NoiseFloor, func(c Comparison) bool { return c.equal(what) })
	if i < 0 {
		return 0
	}
	return r.NoiseFloor[i].reach()
}

// figuresOf are all figures of the completed runs, in the order in which they appear.
func figuresOf(runs []measure.Run) []What {
	var whats []What
	seen := map[string]bool{}
	for _, run := range runs {
		if !run.Completed() {
			continue
		}
		for _, metric := range run.Metrics {
			for _, statistic := range metric.Statistics() {
				what := What{Metric: metric.Name, Labels: metric.Labels, Statistic: statistic, Unit: metric.Unit, Better: metric.Better}
				if name := what.key() + " " + statistic; !seen[name] {
					seen[name] = true
					whats = append(whats, what)
				}
			}
		}
	}
	return whats
}

func runsOf(runs []measure.Run, contender string) []measure.Run {
	return slices.DeleteFunc(slices.Clone(runs), func(run measure.Run) bool { return run.Contender != contender })
}

// values are those of a figure in the completed runs that have it.
func values(runs []measure.Run, what What) []float64 {
	var sample []float64
	for _, run := range runs {
		if value, has := valueOf(run, what); has {
			sample = append(sample, value)
		}
	}
	return sample
}

func valueOf(run measure.Run, what What) (float64, bool) {
	if !run.Completed() {
		return 0, false
	}
	metric, has := run.Metric(what.key())
	if !has {
		return 0, false
	}
	value, has := metric.Values[what.Statistic]
	return value, has
}

// WriteSVG draws the pods bound over time of every contender.
func (r *Result) WriteSVG(to io.Writer) error {
	drawing := chart.Chart{Title: r.Workload, X: "seconds", Y: "pods bound"}
	if drawing.Title == "" {
		drawing.Title = "Pods bound over time"
	}
	if r.Profile != "" {
		drawing.Subtitle = "profile " + r.Profile + ", " + r.Host.Machine()
	}
	for _, contender := range r.Contenders {
		series := chart.Series{Name: contender}
		for _, run := range runsOf(r.Runs, contender) {
			line := chart.Line{Broken: !run.Completed()}
			for _, point := range run.Bound {
				line.Points = append(line.Points, chart.Point{X: point.After.Seconds(), Y: float64(point.Pods)})
			}
			series.Lines = append(series.Lines, line)
		}
		drawing.Series = append(drawing.Series, series)
	}
	return drawing.WriteSVG(to)
}
