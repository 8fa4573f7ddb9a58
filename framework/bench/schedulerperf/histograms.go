package schedulerperf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/plumbline/plumbline/framework/bench/measure"
)

// histogramNames are the scheduler's metrics that are told, under upstream's names:
// attempts, extension points and plugins; how long pods were in the queue and what the
// queue cost; and how long it took to take events in.
func histogramNames() []string {
	return []string{
		"scheduler_scheduling_attempt_duration_seconds",
		"scheduler_scheduling_algorithm_duration_seconds",
		"scheduler_framework_extension_point_duration_seconds",
		"scheduler_plugin_execution_duration_seconds",
		"scheduler_pod_scheduling_sli_duration_seconds",
		"scheduler_queueing_hint_execution_duration_seconds",
		"scheduler_event_handling_duration_seconds",
		"scheduler_podgroup_scheduling_attempt_duration_seconds",
		"scheduler_podgroup_scheduling_algorithm_duration_seconds",
	}
}

// decisive are those of them that a scheduler is judged by. The others say where its
// time goes: one that does more in one place may do less in all.
func decisive() []string {
	return []string{"scheduler_scheduling_attempt_duration_seconds", "scheduler_pod_scheduling_sli_duration_seconds"}
}

// labelNames are those by which the histograms of one name are told apart; by the
// others, such as how often a pod was tried before, they are added up.
func labelNames() []string { return []string{"result", "extension_point", "plugin", "event"} }

// histogram counts observations by their size, as Prometheus does.
type histogram struct {
	name   string
	labels map[string]string
	count  uint64
	sum    float64
	// bounds are upper bounds in ascending order, and atMost how many observations
	// there are up to each.
	bounds []float64
	atMost []uint64
}

// histograms are what a scheduler has told so far, by name and labels.
type histograms map[string]*histogram

// scrape asks the scheduler for its metrics.
func (s *session) scrape(ctx context.Context) (histograms, error) {
	component := s.scheduler.Component()
	address, err := url.Parse(component.Ready.URL)
	if err != nil {
		return nil, err
	}
	address.Path = "/metrics"
	transport := &http.Transport{DialContext: component.Machine.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("the scheduler's metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		// A scheduler need not tell anything.
		if response.StatusCode == http.StatusNotFound {
			return histograms{}, nil
		}
		return nil, fmt.Errorf("the scheduler's metrics: it answers %s", response.Status)
	}
	return parseHistograms(response.Body)
}

// parseHistograms reads Prometheus' text format.
func parseHistograms(text io.Reader) (histograms, error) {
	families, err := parseFamilies(text)
	if err != nil {
		return nil, fmt.Errorf("the scheduler's metrics: %w", err)
	}
	all := histograms{}
	for name, family := range families {
		if family.GetType() != dto.MetricType_HISTOGRAM {
			continue
		}
		for _, metric := range family.GetMetric() {
			all.add(name, metric)
		}
	}
	return all, nil
}

// parseFamilies turns the library's panics, which samples without a name cause, into errors.
func parseFamilies(text io.Reader) (families map[string]*dto.MetricFamily, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("not in Prometheus' text format: %v", fault)
		}
	}()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(text)
}

func (all histograms) add(name string, metric *dto.Metric) {
	labels := map[string]string{}
	for _, pair := range metric.GetLabel() {
		if slices.Contains(labelNames(), pair.GetName()) {
			labels[pair.GetName()] = pair.GetValue()
		}
	}
	read := histogram{name: name, labels: labels, count: metric.GetHistogram().GetSampleCount(), sum: metric.GetHistogram().GetSampleSum()}
	for _, bucket := range metric.GetHistogram().GetBucket() {
		read.bounds = append(read.bounds, bucket.GetUpperBound())
		read.atMost = append(read.atMost, bucket.GetCumulativeCount())
	}
	key := measure.Metric{Name: name, Labels: labels}.Key()
	known := all[key]
	if known == nil {
		all[key] = &read
		return
	}
	known.count, known.sum = known.count+read.count, known.sum+read.sum
	for i := range min(len(known.atMost), len(read.atMost)) {
		known.atMost[i] += read.atMost[i]
	}
}

// since is what was observed after before was told, in milliseconds: the usual
// histograms and those asked for.
func (all histograms) since(before histograms, more []string) []measure.Metric {
	var metrics []measure.Metric
	for _, key := range slices.Sorted(maps.Keys(all)) {
		h := all[key]
		if !slices.Contains(histogramNames(), h.name) && !slices.Contains(more, h.name) {
			continue
		}
		h = h.minus(before[key])
		values, err := h.values()
		if err != nil {
			continue
		}
		metric := measure.Metric{Name: h.name, Unit: "ms", Better: measure.Neither, Values: values}
		if slices.Contains(decisive(), h.name) {
			metric.Better = measure.Lower
		}
		if !strings.HasSuffix(h.name, "_seconds") {
			metric.Unit = ""
		}
		if len(h.labels) > 0 {
			metric.Labels = h.labels
		}
		for name := range metric.Values {
			if metric.Unit == "ms" {
				metric.Values[name] *= 1000
			}
		}
		metrics = append(metrics, metric)
	}
	return metrics
}

// minus leaves out what an earlier state of the histogram had; nil had nothing.
func (h *histogram) minus(earlier *histogram) *histogram {
	if earlier == nil || earlier.count > h.count { // a program that was started anew
		return h
	}
	rest := *h
	rest.count, rest.sum = h.count-earlier.count, h.sum-earlier.sum
	rest.atMost = slices.Clone(h.atMost)
	for i := range min(len(rest.atMost), len(earlier.atMost)) {
		rest.atMost[i] -= earlier.atMost[i]
	}
	return &rest
}

var errNothing = errors.New("nothing was observed")

// values are the average and the percentiles.
func (h *histogram) values() (map[string]float64, error) {
	if h.count == 0 || len(h.bounds) == 0 {
		return nil, errNothing
	}
	return map[string]float64{
		measure.Average: h.sum / float64(h.count),
		measure.Perc50:  h.quantile(0.50), measure.Perc90: h.quantile(0.90),
		measure.Perc95: h.quantile(0.95), measure.Perc99: h.quantile(0.99),
	}, nil
}

// quantile is Prometheus' histogram_quantile: it takes the observations of a bucket to
// be spread evenly over it, and those beyond the last bound to be at it.
func (h *histogram) quantile(q float64) float64 {
	rank := q * float64(h.count)
	last := len(h.bounds) - 1
	if h.bounds[last] > 1e300 { // +Inf
		last--
	}
	if last < 0 {
		return h.sum / float64(h.count)
	}
	for i := 0; i <= last; i++ {
		if float64(h.atMost[i]) < rank {
			continue
		}
		var lower, below float64
		if i > 0 {
			lower, below = h.bounds[i-1], float64(h.atMost[i-1])
		}
		if in := float64(h.atMost[i]) - below; in > 0 {
			return lower + (h.bounds[i]-lower)*(rank-below)/in
		}
		return h.bounds[i]
	}
	return h.bounds[last]
}
