package schedulerperf

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/framework/bench/measure"
)

// at is a collection in which pods were bound so many seconds after its beginning.
func at(seconds ...float64) *collection {
	c := &collection{begun: time.Unix(1000, 0)}
	for _, s := range seconds {
		bound := c.begun.Add(time.Duration(s * float64(time.Second)))
		c.add(&pod{created: bound.Add(-200 * time.Millisecond), bound: bound})
	}
	return c
}

func TestSamplesAreThoseOfUpstreamsCollector(t *testing.T) {
	for name, test := range map[string]struct {
		bound []float64
		ended float64
		want  []float64
	}{
		"nothing":                      {nil, 5, nil},
		"the first second is left out": {[]float64{0.1, 0.2, 0.3}, 3, nil},
		"one a second":                 {[]float64{0.5, 1.2, 1.4, 2.5, 3.1}, 3, []float64{2, 1}},
		"nothing at first":             {[]float64{2.5, 3.5, 4.5, 4.6}, 5, []float64{1, 2}},
		"a pause is spread":            {[]float64{0.5, 1.5, 5.1, 5.2, 5.3}, 6, []float64{1, 0.75, 0.75, 0.75, 0.75}},
		"a pause at the end is not":    {[]float64{0.5, 1.5}, 9, []float64{1}},
	} {
		t.Run(name, func(t *testing.T) {
			c := at(test.bound...)
			if got := c.samples(c.begun.Add(time.Duration(test.ended * float64(time.Second)))); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestThroughputNeedsNoWholeSecond(t *testing.T) {
	c := at(0.1, 0.2, 0.3, 0.4)
	metrics := map[string]measure.Metric{}
	for _, m := range c.throughput(c.begun.Add(time.Second / 2)) {
		metrics[m.Name] = m
	}
	if _, ok := metrics["SchedulingThroughput"]; ok {
		t.Error("there is a throughput without a sample")
	}
	if rate := metrics["BindingRate"].Values[measure.Value]; math.Abs(rate-10) > 1e-6 {
		t.Errorf("%v pods a second, want 10", rate)
	}
	if latency := metrics["CreationToBinding"]; math.Abs(latency.Values[measure.Perc99]-200) > 1e-6 || latency.Unit != "ms" {
		t.Errorf("latency %+v", latency)
	}
}

func TestCurveEndsWithTheLastPod(t *testing.T) {
	var seconds []float64
	for i := range 1999 {
		seconds = append(seconds, float64(i)/100)
	}
	curve := at(seconds...).curve()
	if first, last := curve[0], curve[len(curve)-1]; first.Pods != 0 || last.Pods != 1999 || last.After != 19980*time.Millisecond {
		t.Errorf("from %+v to %+v", first, last)
	}
	if len(curve) > 2*points {
		t.Errorf("%d points", len(curve))
	}
}

const before = `# TYPE scheduler_plugin_execution_duration_seconds histogram
scheduler_plugin_execution_duration_seconds_bucket{plugin="A",status="Success",le="0.001"} 5
scheduler_plugin_execution_duration_seconds_bucket{plugin="A",status="Success",le="+Inf"} 5
scheduler_plugin_execution_duration_seconds_sum{plugin="A",status="Success"} 0.002
scheduler_plugin_execution_duration_seconds_count{plugin="A",status="Success"} 5
# TYPE other_seconds histogram
other_seconds_bucket{le="+Inf"} 1
other_seconds_sum 1
other_seconds_count 1
# TYPE go_goroutines gauge
go_goroutines 7
`

const after = `# TYPE scheduler_plugin_execution_duration_seconds histogram
scheduler_plugin_execution_duration_seconds_bucket{plugin="A",status="Success",le="0.001"} 10
scheduler_plugin_execution_duration_seconds_bucket{plugin="A",status="Success",le="0.002"} 13
scheduler_plugin_execution_duration_seconds_bucket{plugin="A",status="Success",le="+Inf"} 13
scheduler_plugin_execution_duration_seconds_sum{plugin="A",status="Success"} 0.014
scheduler_plugin_execution_duration_seconds_count{plugin="A",status="Success"} 13
scheduler_plugin_execution_duration_seconds_bucket{plugin="A",status="Unschedulable",le="0.001"} 0
scheduler_plugin_execution_duration_seconds_bucket{plugin="A",status="Unschedulable",le="0.002"} 1
scheduler_plugin_execution_duration_seconds_bucket{plugin="A",status="Unschedulable",le="+Inf"} 2
scheduler_plugin_execution_duration_seconds_sum{plugin="A",status="Unschedulable"} 0.008
scheduler_plugin_execution_duration_seconds_count{plugin="A",status="Unschedulable"} 2
`

func parsed(t *testing.T, text string) histograms {
	t.Helper()
	all, err := parseHistograms(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestHistograms takes what was observed between two looks, whatever the status: five,
// four and one in the three buckets, in this order.
func TestHistograms(t *testing.T) {
	was := parsed(t, strings.Replace(before, `le="+Inf"} 5`, "le=\"0.002\"} 5\nscheduler_plugin_execution_duration_seconds_bucket{plugin=\"A\",status=\"Success\",le=\"+Inf\"} 5", 1))
	metrics := parsed(t, after).since(was, nil)
	if len(metrics) != 1 || metrics[0].Key() != `scheduler_plugin_execution_duration_seconds{plugin="A"}` {
		t.Fatalf("got %+v", metrics)
	}
	want := map[string]float64{
		measure.Average: 2, measure.Perc50: 1, measure.Perc90: 2,
		// The last observation is beyond the last bound, and taken to be at it.
		measure.Perc95: 2, measure.Perc99: 2,
	}
	for name, value := range want {
		if got := metrics[0].Values[name]; math.Abs(got-value) > 1e-9 {
			t.Errorf("%s is %v ms, want %v", name, got, value)
		}
	}
	if metrics := was.since(was, nil); len(metrics) != 0 {
		t.Errorf("nothing happened, and yet: %+v", metrics)
	}
	if metrics := was.since(nil, []string{"other_seconds"}); len(metrics) != 2 {
		t.Errorf("since the start, with another one asked for: %+v", metrics)
	}
}

func TestParseUsage(t *testing.T) {
	const stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 100 0 0"
	u, err := parseUsage([]byte(stat), []byte("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"))
	if err != nil {
		t.Fatal(err)
	}
	if u.cpu != 2*time.Second || u.peak != 2<<20 {
		t.Errorf("got %+v", u)
	}
	for _, bad := range [][2]string{{"7 (a) S 1", "VmHWM: 1 kB"}, {stat, "Name: x"}, {stat, "VmHWM: much kB"}} {
		if _, err := parseUsage([]byte(bad[0]), []byte(bad[1])); err == nil {
			t.Errorf("read %q", bad)
		}
	}
	metrics := u.since(usage{cpu: time.Second}, "kube-scheduler", 500)
	if len(metrics) != 3 || metrics[1].Name != "CPUTimePerPod" || metrics[1].Values[measure.Value] != 2 {
		t.Errorf("got %+v", metrics)
	}
}
