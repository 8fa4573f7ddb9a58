package bench

import (
	"math"
	"slices"
	"sync"
	"time"
)

// Unit is what a figure counts.
type Unit string

// The units.
const (
	Seconds Unit = "seconds"
	Bytes   Unit = "bytes"
)

// Figure is one thing that was measured several times.
type Figure struct {
	// Group says what kind of thing it is, "boot", and Name which one, "nodes".
	Group string `json:"group"`
	Name  string `json:"name"`
	Unit  Unit   `json:"unit"`
	Summary
}

// Summary describes a sample. A percentile is a value of the sample itself, that of
// the nearest rank: the smallest that is not exceeded by less than its share.
type Summary struct {
	Count  int     `json:"count"`
	Min    float64 `json:"min"`
	Median float64 `json:"p50"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// Summarize describes a sample; that of an empty one is zero.
func Summarize(sample []float64) Summary {
	if len(sample) == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(sample))
	return Summary{
		Count:  len(sorted),
		Min:    sorted[0],
		Median: percentile(sorted, 50),
		P99:    percentile(sorted, 99),
		Max:    sorted[len(sorted)-1],
	}
}

// percentile is that of the nearest rank in a sorted sample that is not empty.
func percentile(sorted []float64, percent float64) float64 {
	rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// record collects samples of several figures.
type record struct {
	mu      sync.Mutex
	samples []*sample
}

type sample struct {
	group, name string
	unit        Unit
	values      []float64
}

func (r *record) duration(group, name string, took time.Duration) {
	r.add(group, name, Seconds, took.Seconds())
}

func (r *record) bytes(group, name string, count int64) { r.add(group, name, Bytes, float64(count)) }

func (r *record) add(group, name string, unit Unit, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.samples, func(s *sample) bool { return s.group == group && s.name == name })
	if i < 0 {
		i = len(r.samples)
		r.samples = append(r.samples, &sample{group: group, name: name, unit: unit})
	}
	r.samples[i].values = append(r.samples[i].values, value)
}

// figures summarizes the samples, the groups in the order in which they appeared.
func (r *record) figures() []Figure {
	r.mu.Lock()
	defer r.mu.Unlock()
	var groups []string
	for _, s := range r.samples {
		if !slices.Contains(groups, s.group) {
			groups = append(groups, s.group)
		}
	}
	var figures []Figure
	for _, group := range groups {
		for _, s := range r.samples {
			if s.group == group {
				figures = append(figures, Figure{Group: group, Name: s.name, Unit: s.unit, Summary: Summarize(s.values)})
			}
		}
	}
	return figures
}
