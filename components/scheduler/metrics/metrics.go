// Package metrics measures the scheduler under the names kube-scheduler gives its metrics.
// https://kubernetes.io/docs/reference/instrumentation/metrics/
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/component-base/metrics"
	fwk "k8s.io/kube-scheduler/framework"
)

// Extension points as metric labels.
const (
	PreEnqueue = "PreEnqueue"
	PreFilter  = "PreFilter"
	Filter     = "Filter"
	PostFilter = "PostFilter"
	PreScore   = "PreScore"
	Score      = "Score"
	Reserve    = "Reserve"
	Unreserve  = "Unreserve"
	Permit     = "Permit"
	PreBind    = "PreBind"
	Bind       = "Bind"
	PostBind   = "PostBind"
)

// Results of a scheduling attempt.
const (
	Scheduled     = "scheduled"
	Unschedulable = "unschedulable"
	Error         = "error"
)

const subsystem = "scheduler"

// Metrics is one scheduler's set of metrics in a registry of its own.
type Metrics struct {
	registry metrics.KubeRegistry

	attempts          *metrics.CounterVec
	attemptDuration   *metrics.HistogramVec
	algorithm         *metrics.Histogram
	podAttempts       *metrics.Histogram
	sli               *metrics.HistogramVec
	extensionPoint    *metrics.HistogramVec
	plugin            *metrics.HistogramVec
	eventHandling     *metrics.HistogramVec
	incoming          *metrics.CounterVec
	permitWait        *metrics.HistogramVec
	unschedulable     *metrics.GaugeVec
	preemptions       *metrics.Counter
	preemptionVictims *metrics.Histogram
	goroutines        *metrics.GaugeVec
	pending           *metrics.GaugeVec
	cacheSize         *metrics.GaugeVec
}

// New makes and registers all metrics.
func New() *Metrics {
	m := &Metrics{registry: metrics.NewKubeRegistry()}
	counter := func(name, help string, labels ...string) *metrics.CounterVec {
		return metrics.NewCounterVec(&metrics.CounterOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.STABLE}, labels)
	}
	gauge := func(name, help string, labels ...string) *metrics.GaugeVec {
		return metrics.NewGaugeVec(&metrics.GaugeOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.STABLE}, labels)
	}
	opts := func(name, help string, buckets []float64) *metrics.HistogramOpts {
		return &metrics.HistogramOpts{Subsystem: subsystem, Name: name, Help: help, Buckets: buckets, StabilityLevel: metrics.STABLE}
	}
	seconds := metrics.ExponentialBuckets(0.001, 2, 15)
	fine := metrics.ExponentialBuckets(0.0001, 2, 12)

	m.attempts = counter("schedule_attempts_total", "Attempts to schedule pods, by result.", "result", "profile")
	m.incoming = counter("queue_incoming_pods_total", "Pods added to scheduling queues, by event and queue.", "queue", "event")
	m.unschedulable = gauge("unschedulable_pods", "Pods that wait, by the plugin that rejected them.", "plugin", "profile")
	m.goroutines = gauge("goroutines", "Running goroutines, by work.", "operation")
	m.pending = gauge("pending_pods", "Pending pods, by queue (active, backoff, unschedulable, gated).", "queue")
	m.cacheSize = gauge("cache_size", "Nodes, pods and assumed pods in the scheduler cache.", "type")
	m.attemptDuration = metrics.NewHistogramVec(opts("scheduling_attempt_duration_seconds", "Duration of an attempt: algorithm and binding.", seconds), []string{"result", "profile"})
	m.algorithm = metrics.NewHistogram(opts("scheduling_algorithm_duration_seconds", "Duration of the choice of a node.", seconds))
	m.podAttempts = metrics.NewHistogram(opts("pod_scheduling_attempts", "Attempts needed until a pod is scheduled.", metrics.ExponentialBuckets(1, 2, 5)))
	m.sli = metrics.NewHistogramVec(opts("pod_scheduling_sli_duration_seconds", "Time from a pod's first entering the active queue to its binding.", metrics.ExponentialBuckets(0.01, 2, 20)), []string{"attempts"})
	m.extensionPoint = metrics.NewHistogramVec(opts("framework_extension_point_duration_seconds", "Duration of all plugins of an extension point.", fine), []string{"extension_point", "status", "profile"})
	m.plugin = metrics.NewHistogramVec(opts("plugin_execution_duration_seconds", "Duration of one plugin at one extension point.", metrics.ExponentialBuckets(0.00001, 1.5, 20)), []string{"plugin", "extension_point", "status"})
	m.eventHandling = metrics.NewHistogramVec(opts("event_handling_duration_seconds", "Duration of taking in one event.", fine), []string{"event"})
	m.permitWait = metrics.NewHistogramVec(opts("permit_wait_duration_seconds", "Time spent waiting on Permit.", seconds), []string{"result"})
	m.preemptions = metrics.NewCounter(&metrics.CounterOpts{Subsystem: subsystem, Name: "preemption_attempts_total", Help: "Preemption attempts.", StabilityLevel: metrics.STABLE})
	m.preemptionVictims = metrics.NewHistogram(opts("preemption_victims", "Victims of a preemption.", metrics.ExponentialBuckets(1, 2, 7)))

	m.registry.MustRegister(m.attempts, m.attemptDuration, m.algorithm, m.podAttempts, m.sli, m.extensionPoint, m.plugin,
		m.eventHandling, m.incoming, m.permitWait, m.unschedulable, m.preemptions, m.preemptionVictims, m.goroutines, m.pending, m.cacheSize)
	m.registry.RawMustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Sizes are the lengths of queues and cache at one moment.
type Sizes struct {
	Active, Backoff, Unschedulable, Gated int
	Nodes, Pods, Assumed                  int
}

// Handler serves the metrics; sizes is asked at each scrape.
func (m *Metrics) Handler(sizes func() Sizes) http.Handler {
	serve := metrics.HandlerFor(m.registry, metrics.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := sizes()
		for queue, n := range map[string]int{"active": now.Active, "backoff": now.Backoff, "unschedulable": now.Unschedulable, "gated": now.Gated} {
			m.pending.WithLabelValues(queue).Set(float64(n))
		}
		for kind, n := range map[string]int{"nodes": now.Nodes, "pods": now.Pods, "assumed_pods": now.Assumed} {
			m.cacheSize.WithLabelValues(kind).Set(float64(n))
		}
		serve.ServeHTTP(w, r)
	})
}

// Attempt counts a finished attempt.
func (m *Metrics) Attempt(profile, result string, since time.Time) {
	m.attemptDuration.WithLabelValues(result, profile).Observe(time.Since(since).Seconds())
	m.attempts.WithLabelValues(result, profile).Inc()
}

// Algorithm records how long the choice of a node took.
func (m *Metrics) Algorithm(since time.Time) { m.algorithm.Observe(time.Since(since).Seconds()) }

// Bound records a pod's way through the queue.
func (m *Metrics) Bound(attempts int, first time.Time) {
	m.podAttempts.Observe(float64(attempts))
	m.sli.WithLabelValues(attemptsLabel(attempts)).Observe(time.Since(first).Seconds())
}

// ExtensionPoint records one run of all plugins of a point.
func (m *Metrics) ExtensionPoint(point, profile string, code fwk.Code, since time.Time) {
	m.extensionPoint.WithLabelValues(point, code.String(), profile).Observe(time.Since(since).Seconds())
}

// Plugin records one run of one plugin.
func (m *Metrics) Plugin(point, plugin string, code fwk.Code, since time.Time) {
	m.plugin.WithLabelValues(plugin, point, code.String()).Observe(time.Since(since).Seconds())
}

// Event records how long an event took to take in.
func (m *Metrics) Event(label string, since time.Time) {
	m.eventHandling.WithLabelValues(label).Observe(time.Since(since).Seconds())
}

// Incoming counts a pod that enters a queue.
func (m *Metrics) Incoming(queue, event string) { m.incoming.WithLabelValues(queue, event).Inc() }

// Rejected counts pods that wait because of a plugin; delta is +1 or -1.
func (m *Metrics) Rejected(plugin, profile string, delta float64) {
	m.unschedulable.WithLabelValues(plugin, profile).Add(delta)
}

// PermitWait records a wait on Permit.
func (m *Metrics) PermitWait(code fwk.Code, since time.Time) {
	m.permitWait.WithLabelValues(code.String()).Observe(time.Since(since).Seconds())
}

// PreemptionAttempt counts a run of preemption.
func (m *Metrics) PreemptionAttempt() { m.preemptions.Inc() }

// PreemptionVictims records how many pods one preemption chose.
func (m *Metrics) PreemptionVictims(n int) { m.preemptionVictims.Observe(float64(n)) }

// Goroutine counts running goroutines of one kind; delta is +1 or -1.
func (m *Metrics) Goroutine(operation string, delta float64) {
	m.goroutines.WithLabelValues(operation).Add(delta)
}

func attemptsLabel(n int) string {
	if n >= 15 {
		return "15+"
	}
	const digits = "0123456789"
	if n < 10 {
		return digits[n : n+1]
	}
	return "1" + digits[n-10:n-9]
}
