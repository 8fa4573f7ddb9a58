package schedulerperf

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/plumbline/plumbline/framework/bench/measure"
	"github.com/plumbline/plumbline/framework/cluster"
)

// sampleInterval is upstream's, and so is leaving the first sample out: creating pods
// and taking samples do not begin at the same moment.
const sampleInterval = time.Second

// points is about how many points a curve has.
const points = 200

// collection is what is measured from one moment to another.
type collection struct {
	// name tells the collections of a workload apart; it may be empty.
	name       string
	namespaces []string
	selector   labels.Selector
	begun      time.Time
	// before is what the scheduler had told, and the components had used, when it began.
	before histograms
	used   map[string]usage

	// bound and latency, in seconds since creation, are in the order of binding. They
	// are covered by the lock of pods.
	bound   []time.Time
	latency []float64
}

// counts reports whether a pod is among those that are measured.
func (c *collection) counts(p *pod) bool {
	return slices.Contains(c.namespaces, p.namespace) && c.selector.Matches(p.labels)
}

func (c *collection) add(p *pod) {
	c.bound = append(c.bound, p.bound)
	c.latency = append(c.latency, p.bound.Sub(p.created).Seconds())
}

// measured are the components whose cost is told.
func measuredComponents() []string {
	return []string{cluster.Scheduler, cluster.APIServer, cluster.Etcd}
}

// start begins to measure. A scheduler that is not running has told and used nothing.
func (s *session) start(name string, namespaces []string, selector map[string]string) error {
	if s.collection != nil {
		return errors.New("what was begun to be collected has not been stopped")
	}
	c := &collection{name: name, namespaces: namespaces, selector: labels.SelectorFromSet(selector), used: map[string]usage{}}
	if s.scheduler.State() == "running" {
		var err error
		if c.before, err = s.scrape(s.ctx); err != nil {
			return err
		}
	}
	for _, component := range measuredComponents() {
		if running := s.component(component); running.State() == "running" {
			var err error
			if c.used[component], err = usageOf(running); err != nil {
				return err
			}
		}
	}
	s.collection = c
	c.begun = time.Now()
	s.pods.collect(c)
	return nil
}

// stop ends what start began.
func (s *session) stop() error {
	if s.collection == nil {
		return errors.New("nothing was begun to be collected")
	}
	return s.finish()
}

// finish works the figures out. Those of a component that is gone are left out.
func (s *session) finish() error {
	ended := time.Now()
	s.pods.collect(nil)
	c := s.collection
	s.collection = nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.Patience)
	defer cancel()
	metrics := c.throughput(ended)
	var errs []error
	for _, component := range measuredComponents() {
		after, err := usageOf(s.component(component))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		metrics = append(metrics, after.since(c.used[component], component, len(c.bound))...)
	}
	if after, err := s.scrape(ctx); err != nil {
		errs = append(errs, err)
	} else {
		metrics = append(metrics, after.since(c.before, s.Workload.Metrics)...)
	}
	for i := range metrics {
		if c.name != "" {
			metrics[i].Labels = withLabel(metrics[i].Labels, "collection", c.name)
		}
	}
	s.mu.Lock()
	s.metrics = append(s.metrics, metrics...)
	s.bound = c.curve()
	s.mu.Unlock()
	return errors.Join(errs...)
}

func withLabel(labels map[string]string, name, value string) map[string]string {
	with := map[string]string{name: value}
	for name, value := range labels {
		with[name] = value
	}
	return with
}

// results are what was collected so far.
func (s *session) results() ([]measure.Metric, []measure.Point) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.metrics, s.bound
}

// throughput tells how fast pods were bound, and how long after their creation.
func (c *collection) throughput(ended time.Time) []measure.Metric {
	single := func(name, unit string, better measure.Direction, value float64) measure.Metric {
		return measure.Metric{Name: name, Unit: unit, Better: better, Values: map[string]float64{measure.Value: value}}
	}
	metrics := []measure.Metric{single("SchedulingDuration", "s", measure.Lower, ended.Sub(c.begun).Seconds())}
	if samples := c.samples(ended); len(samples) > 0 {
		metrics = slices.Insert(metrics, 0, measure.Metric{
			Name: "SchedulingThroughput", Unit: "pods/s", Better: measure.Higher, Values: measure.Distribution(samples),
		})
	}
	if n := len(c.bound); n > 1 {
		if took := c.bound[n-1].Sub(c.bound[0]).Seconds(); took > 0 {
			metrics = append(metrics, single("BindingRate", "pods/s", measure.Higher, float64(n-1)/took))
		}
	}
	if len(c.latency) > 0 {
		var milliseconds []float64
		for _, seconds := range c.latency {
			milliseconds = append(milliseconds, 1000*seconds)
		}
		metrics = append(metrics, measure.Metric{
			Name: "CreationToBinding", Unit: "ms", Better: measure.Lower, Values: measure.Distribution(milliseconds),
		})
	}
	return metrics
}

// samples are the throughputs that upstream's collector would have noted: one a second
// from the first second in which a pod was bound, that one left out; a time without
// any is spread over the seconds until the next pod.
func (c *collection) samples(ended time.Time) []float64 {
	var samples []float64
	last, idle, started := 0, 0, false
	for tick := c.begun.Add(sampleInterval); !tick.After(ended); tick = tick.Add(sampleInterval) {
		now, _ := slices.BinarySearchFunc(c.bound, tick, func(bound, tick time.Time) int {
			if bound.After(tick) {
				return 1
			}
			return -1
		})
		switch {
		case now == 0:
		case !started:
			started, last = true, now
		case now == last:
			idle++
		default:
			rate := float64(now-last) / (sampleInterval * time.Duration(1+idle)).Seconds()
			samples = append(samples, slices.Repeat([]float64{rate}, 1+idle)...)
			last, idle = now, 0
		}
	}
	return samples
}

// curve is how many pods were bound when.
func (c *collection) curve() []measure.Point {
	curve := []measure.Point{{}}
	step := max(1, len(c.bound)/points)
	for i := step - 1; i < len(c.bound); i += step {
		curve = append(curve, measure.Point{After: c.bound[i].Sub(c.begun), Pods: i + 1})
	}
	if n := len(c.bound); n > 0 && curve[len(curve)-1].Pods != n {
		curve = append(curve, measure.Point{After: c.bound[n-1].Sub(c.begun), Pods: n})
	}
	return curve
}
