package measure

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func example() Run {
	return Run{
		Workload: "SchedulingBasic/500Nodes", Contender: "ours", Profile: "scheduler_perf", Number: 2,
		Begun: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Took: 1234567891 * time.Nanosecond, Outcome: Completed,
		Metrics: []Metric{
			{Name: "SchedulingThroughput", Unit: "pods/s", Better: Higher, Values: map[string]float64{Average: 320.5, Perc50: 330}},
			{Name: "plugin_duration", Labels: map[string]string{"plugin": "NodeAffinity", "extension_point": "Filter"}, Unit: "ms", Better: Lower,
				Values: map[string]float64{Average: 0.1}},
		},
		Bound: []Point{{After: 0, Pods: 0}, {After: 1500 * time.Millisecond, Pods: 480}},
	}
}

func TestJSONHasStableNamesAndUnits(t *testing.T) {
	const want = `{"workload":"SchedulingBasic/500Nodes","contender":"ours","profile":"scheduler_perf","number":2,` +
		`"begun":"2026-01-02T03:04:05Z","tookSeconds":1.234567891,"outcome":"completed","metrics":[` +
		`{"name":"SchedulingThroughput","unit":"pods/s","better":"higher","values":{"Average":320.5,"Perc50":330}},` +
		`{"name":"plugin_duration","labels":{"extension_point":"Filter","plugin":"NodeAffinity"},"unit":"ms","better":"lower","values":{"Average":0.1}}],` +
		`"bound":[{"afterSeconds":0,"pods":0},{"afterSeconds":1.5,"pods":480}]}`
	run := example()
	data, err := json.Marshal(run)
	if err != nil || string(data) != want {
		t.Errorf("got %s, %v", data, err)
	}
	var again Run
	if err := json.Unmarshal(data, &again); err != nil || !reflect.DeepEqual(again, run) {
		t.Errorf("read again: %+v, %v", again, err)
	}
}

func TestMetricIsFoundByItsKey(t *testing.T) {
	run := example()
	for _, key := range []string{"SchedulingThroughput", `plugin_duration{extension_point="Filter",plugin="NodeAffinity"}`} {
		if metric, found := run.Metric(key); !found || metric.Key() != key {
			t.Errorf("%s: got %v, %v", key, metric, found)
		}
	}
	if _, found := run.Metric("plugin_duration"); found {
		t.Error("a metric was found without its labels")
	}
}

func TestStatisticsAreInOrder(t *testing.T) {
	m := Metric{Values: map[string]float64{Perc99: 1, "Max": 1, Perc50: 1, Average: 1, "Count": 1, Perc90: 1}}
	if got, want := m.Statistics(), []string{Average, Perc50, Perc90, Perc99, "Count", "Max"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDistribution(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for name, test := range map[string]struct {
		sample []float64
		want   map[string]float64
	}{
		"nothing": {nil, nil},
		"one":     {[]float64{4}, map[string]float64{Average: 4, Perc50: 4, Perc90: 4, Perc95: 4, Perc99: 4}},
		"four":    {[]float64{4, 1, 3, 2}, map[string]float64{Average: 2.5, Perc50: 2, Perc90: 4, Perc95: 4, Perc99: 4}},
		"hundred": {hundred, map[string]float64{Average: 50.5, Perc50: 50, Perc90: 90, Perc95: 95, Perc99: 99}},
	} {
		if got := Distribution(test.sample); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	if hundred[0] != 100 {
		t.Error("the sample was sorted")
	}
}

func TestWhatIsNoFigureIsRefused(t *testing.T) {
	for want, spoil := range map[string]func(*Run){
		"metrics[0]: SchedulingThroughput: Average is NaN":       func(r *Run) { r.Metrics[0].Values[Average] = math.NaN() },
		"metrics[0]: SchedulingThroughput: Perc50 is +Inf":       func(r *Run) { r.Metrics[0].Values[Perc50] = math.Inf(1) },
		"metrics[0]: SchedulingThroughput has no values":         func(r *Run) { r.Metrics[0].Values = nil },
		"metrics[0]: it has no name":                             func(r *Run) { r.Metrics[0].Name = "" },
		`metrics[0]: SchedulingThroughput: better is "faster"`:   func(r *Run) { r.Metrics[0].Better = "faster" },
		"metrics[2]: there are two metrics SchedulingThroughput": func(r *Run) { r.Metrics = append(r.Metrics, r.Metrics[0]) },
		"bound[1]: -1 pods after 1.5s":                           func(r *Run) { r.Bound[1].Pods = -1 },
	} {
		run := example()
		spoil(&run)
		if _, err := json.Marshal(run); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestPerfdash(t *testing.T) {
	broken := example()
	broken.Outcome = "the scheduler ended: exit status 2"
	data, err := json.Marshal(Perfdash([]Run{example(), broken}))
	const want = `{"version":"v1","dataItems":[` +
		`{"data":{"Average":320.5,"Perc50":330},"unit":"pods/s","labels":{"Contender":"ours","Metric":"SchedulingThroughput","Name":"SchedulingBasic/500Nodes",` +
		`"Profile":"scheduler_perf","Run":"2","extension_point":"not applicable","plugin":"not applicable"}},` +
		`{"data":{"Average":0.1},"unit":"ms","labels":{"Contender":"ours","Metric":"plugin_duration","Name":"SchedulingBasic/500Nodes",` +
		`"Profile":"scheduler_perf","Run":"2","extension_point":"Filter","plugin":"NodeAffinity"}}]}`
	if err != nil || string(data) != want {
		t.Errorf("got %s, %v", data, err)
	}
	if data, err := json.Marshal(Perfdash(nil)); err != nil || string(data) != `{"version":"v1","dataItems":[]}` {
		t.Errorf("no runs: got %s, %v", data, err)
	}
}
