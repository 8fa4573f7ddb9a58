package bench

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plumbline/plumbline/framework/bench/measure"
)

// record collects what one run shows. Less is better of all of it.
type record struct {
	mu      sync.Mutex
	figures []*figure
}

// figure is the values that were had of one thing: of one that happens once a run, of
// each of several pods, or of each node's component.
type figure struct {
	name, unit string
	many       bool // the values are told as a distribution, and as their mean otherwise
	values     []float64
}

// duration records how long something took that happens once a run.
func (r *record) duration(name string, took time.Duration) {
	r.add(figure{name: name, unit: measure.Seconds}, took.Seconds())
}

// sample records how long one of many took.
func (r *record) sample(name string, took time.Duration) {
	r.add(figure{name: name, unit: measure.Seconds, many: true}, took.Seconds())
}

// bytes records what a component holds.
func (r *record) bytes(name string, count int64) {
	r.add(figure{name: name, unit: measure.Bytes}, float64(count))
}

func (r *record) add(like figure, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.figures, func(f *figure) bool { return f.name == like.name })
	if i < 0 {
		i = len(r.figures)
		r.figures = append(r.figures, &like)
	}
	r.figures[i].values = append(r.figures[i].values, value)
}

// metrics are what was recorded: durations in the order in which they ended, and
// below them memory by name.
func (r *record) metrics() []measure.Metric {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(r.figures, func(a, b *figure) int {
		if a.unit != b.unit {
			return -strings.Compare(a.unit, b.unit) // seconds before bytes
		}
		if a.unit == measure.Bytes {
			return strings.Compare(a.name, b.name)
		}
		return 0
	})
	var metrics []measure.Metric
	for _, f := range r.figures {
		values := measure.Distribution(f.values)
		if !f.many {
			values = map[string]float64{measure.Value: values[measure.Average]}
		}
		metrics = append(metrics, measure.Metric{Name: f.name, Unit: f.unit, Better: measure.Lower, Values: values})
	}
	return metrics
}
