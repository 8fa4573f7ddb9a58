// Package measure has the terms in which a benchmark speaks of what it saw: a run of
// a workload by a contender, the metrics that it gave, and how many pods were bound
// when. Their JSON keeps its field names and units: results are kept, and read again
// by later versions to be compared with.
package measure

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Completed is the outcome of a run that did what its workload says. Any other
// outcome says what happened instead, and its figures are not to be averaged in.
const Completed = "completed"

// Run is what was seen when one contender ran one workload once.
type Run struct {
	// Workload is its name, "SchedulingBasic/500Nodes", Contender who ran it, and
	// Profile the circumstances: a figure without them means nothing.
	Workload, Contender, Profile string
	// Number tells the runs of a contender apart, from 1.
	Number int
	Begun  time.Time
	Took   time.Duration
	// Outcome is Completed, or says what happened instead.
	Outcome string
	Metrics []Metric
	// Bound is the curve of pods bound over time.
	Bound []Point
}

// Completed says whether the run did what its workload says.
func (r *Run) Completed() bool { return r.Outcome == Completed }

// Metric finds a metric by its key.
func (r *Run) Metric(key string) (Metric, bool) {
	i := slices.IndexFunc(r.Metrics, func(m Metric) bool { return m.Key() == key })
	if i < 0 {
		return Metric{}, false
	}
	return r.Metrics[i], true
}

// Validate says what is wrong with a run: figures that are no numbers, and metrics
// that cannot be told apart or say nothing.
func (r *Run) Validate() error {
	seen := map[string]bool{}
	for i, metric := range r.Metrics {
		if err := metric.validate(); err != nil {
			return fmt.Errorf("run %d of %s: metrics[%d]: %w", r.Number, r.Contender, i, err)
		}
		key := metric.Key()
		if seen[key] {
			return fmt.Errorf("run %d of %s: metrics[%d]: there are two metrics %s", r.Number, r.Contender, i, key)
		}
		seen[key] = true
	}
	for i, point := range r.Bound {
		if point.After < 0 || point.Pods < 0 {
			return fmt.Errorf("run %d of %s: bound[%d]: %d pods after %s: neither can be negative", r.Number, r.Contender, i, point.Pods, point.After)
		}
	}
	return nil
}

// Direction says which of two figures is the better one.
type Direction string

// The directions. What is Neither is told but never judged.
const (
	Higher  Direction = "higher"
	Lower   Direction = "lower"
	Neither Direction = "neither"
)

// The names of a metric's values: that of a metric which has one, and those of one
// that has a distribution.
const (
	Value   = "Value"
	Average = "Average"
	Perc50  = "Perc50"
	Perc90  = "Perc90"
	Perc95  = "Perc95"
	Perc99  = "Perc99"
)

// The units that are written in a way of their own where people read them, and those
// which upstream's benchmark uses.
const (
	Bytes         = "bytes"
	Seconds       = "s"
	Milliseconds  = "ms"
	PodsPerSecond = "pods/s"
)

// Metric is one thing that was measured.
type Metric struct {
	// Name is a metric's name as upstream's benchmark has it, "SchedulingThroughput",
	// and Labels tell those of one name apart, as {"plugin": "NodeAffinity"}.
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	// Unit is PodsPerSecond, Milliseconds, Seconds, Bytes or another one.
	Unit   string    `json:"unit"`
	Better Direction `json:"better"`
	// Values has Value, or Average, Perc50, Perc90, Perc95 and Perc99.
	Values map[string]float64 `json:"values"`
}

// Key names a metric among those of a run: its name, and its labels if it has any,
// as name{plugin="NodeAffinity"}.
func (m Metric) Key() string {
	if len(m.Labels) == 0 {
		return m.Name
	}
	var labels []string
	for _, label := range slices.Sorted(maps.Keys(m.Labels)) {
		labels = append(labels, fmt.Sprintf("%s=%q", label, m.Labels[label]))
	}
	return m.Name + "{" + strings.Join(labels, ",") + "}"
}

// Statistics are the names of the metric's values: those that this package knows in
// the order in which it declares them, then the others by name.
func (m Metric) Statistics() []string {
	order := []string{Value, Average, Perc50, Perc90, Perc95, Perc99}
	place := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	return slices.SortedFunc(maps.Keys(m.Values), func(a, b string) int {
		return cmp.Or(place(a)-place(b), cmp.Compare(a, b))
	})
}

func (m Metric) validate() error {
	if m.Name == "" {
		return fmt.Errorf("it has no name")
	}
	if m.Better != Higher && m.Better != Lower && m.Better != Neither {
		return fmt.Errorf("%s: better is %q, not %q, %q or %q", m.Key(), m.Better, Higher, Lower, Neither)
	}
	if len(m.Values) == 0 {
		return fmt.Errorf("%s has no values", m.Key())
	}
	for name, value := range m.Values {
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return fmt.Errorf("%s: %s is %v", m.Key(), name, value)
		}
	}
	return nil
}

// Point says how many pods were bound at a moment after the run began.
type Point struct {
	After time.Duration
	Pods  int
}

// Distribution describes a sample by its average and percentiles. A percentile is a
// value of the sample itself, that of the nearest rank: the smallest that is not
// exceeded by less than its share. That of an empty sample has no values.
func Distribution(sample []float64) map[string]float64 {
	if len(sample) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(sample))
	var sum float64
	for _, value := range sorted {
		sum += value
	}
	rank := func(percent float64) float64 {
		return sorted[max(int(math.Ceil(percent/100*float64(len(sorted)))), 1)-1]
	}
	return map[string]float64{
		Average: sum / float64(len(sorted)),
		Perc50:  rank(50), Perc90: rank(90), Perc95: rank(95), Perc99: rank(99),
	}
}

// runJSON is a Run in JSON: times are seconds, and say so.
type runJSON struct {
	Workload  string    `json:"workload"`
	Contender string    `json:"contender"`
	Profile   string    `json:"profile"`
	Number    int       `json:"number"`
	Begun     time.Time `json:"begun"`
	Took      float64   `json:"tookSeconds"`
	Outcome   string    `json:"outcome"`
	Metrics   []Metric  `json:"metrics"`
	Bound     []Point   `json:"bound,omitempty"`
}

// MarshalJSON writes durations as seconds.
func (r Run) MarshalJSON() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return json.Marshal(runJSON{
		Workload: r.Workload, Contender: r.Contender, Profile: r.Profile, Number: r.Number,
		Begun: r.Begun, Took: r.Took.Seconds(), Outcome: r.Outcome, Metrics: r.Metrics, Bound: r.Bound,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Run) UnmarshalJSON(data []byte) error {
	var read runJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*r = Run{
		Workload: read.Workload, Contender: read.Contender, Profile: read.Profile, Number: read.Number,
		Begun: read.Begun, Took: seconds(read.Took), Outcome: read.Outcome, Metrics: read.Metrics, Bound: read.Bound,
	}
	return r.Validate()
}

// pointJSON is a Point in JSON.
type pointJSON struct {
	After float64 `json:"afterSeconds"`
	Pods  int     `json:"pods"`
}

// MarshalJSON writes the moment in seconds.
func (p Point) MarshalJSON() ([]byte, error) {
	return json.Marshal(pointJSON{After: p.After.Seconds(), Pods: p.Pods})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Point) UnmarshalJSON(data []byte) error {
	var read pointJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*p = Point{After: seconds(read.After), Pods: read.Pods}
	return nil
}

// seconds is rounded: what was written comes back to the nanosecond.
func seconds(value float64) time.Duration {
	return time.Duration(math.Round(value * float64(time.Second)))
}
