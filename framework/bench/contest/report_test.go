package contest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/framework/bench/measure"
)

// measured is a report of one contest, whose contenders have these speeds.
func measured(t *testing.T, speeds map[string]float64, runs int) Report {
	t.Helper()
	plan := Plan{Workload: "SchedulingBasic/500Nodes", Profile: "cluster", Runs: runs, FloorRuns: runs}
	for contender := range speeds {
		plan.Contenders = append(plan.Contenders, contender)
	}
	slices.Sort(plan.Contenders)
	return Report{Results: []Result{contest(t, plan, simulated(3, 0.03, speeds))}}
}

func TestJSON(t *testing.T) {
	report := measured(t, map[string]float64{"ours": 200, "reference": 100}, 5)
	report.Results[0].Runs[0].Bound = []measure.Point{{After: 1500 * time.Millisecond, Pods: 10}}
	data, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Results []struct {
			Workload    string
			Comparisons []map[string]any
		}
	}
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	c := read.Results[0].Comparisons[0]
	for field, want := range map[string]any{
		"contender": "ours", "against": "reference", "metric": "Throughput", "statistic": "Average", "unit": "pods/s", "better": "higher", "verdict": "better",
	} {
		if c[field] != want {
			t.Errorf("%s is %v, want %v", field, c[field], want)
		}
	}
	if ratio, is := c["ratio"].(float64); !is || ratio < 1.8 || ratio > 2.2 {
		t.Errorf("ratio is %v", c["ratio"])
	}
	again, err := Read(bytes.NewReader(data))
	if err != nil || !reflect.DeepEqual(again, report) {
		t.Errorf("read again: %v\n got %+v\nwant %+v", err, again, report)
	}
}

func TestWhatIsSavedCanBeRead(t *testing.T) {
	report := measured(t, map[string]float64{"ours": 200, "reference": 100}, 3)
	report.Results[0].Runs[0].Bound = []measure.Point{{After: time.Second, Pods: 10}}
	directory := filepath.Join(t.TempDir(), "kept")
	if err := report.Save(directory); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(directory, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if again, err := Read(file); err != nil || !reflect.DeepEqual(again, report) {
		t.Errorf("read again: %v, %+v", err, again)
	}
	for name, begins := range map[string]string{"perfdash.json": "{\n  \"version\": \"v1\",", "SchedulingBasic_500Nodes_cluster.svg": "<svg "} {
		if data, err := os.ReadFile(filepath.Join(directory, name)); err != nil || !strings.HasPrefix(string(data), begins) {
			t.Errorf("%s: %v, %.80s", name, err, data)
		}
	}
}

func TestWhatIsNoReportIsNotRead(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "it is not the JSON of a benchmark: EOF",
		"{}":                               "results: there must be at least one",
		`{"results":[{}]}`:                 "results[0].contenders: there must be at least one",
		`{"results":[{"contenders":"a"}]}`: "cannot unmarshal string",
		`{"results":[{"contenders":["a"],"runs":[{"contender":"b"}]}]}`:                                `results[0].runs[0].contender: "b" is none of`,
		`{"results":[{"contenders":["a"],"runs":[{"contender":"a","metrics":[{"name":"x"}]}]}]}`:       `x: better is ""`,
		`{"results":[{"contenders":["a"],"runs":[{"contender":"a","bound":[{"afterSeconds":"x"}]}]}]}`: "cannot unmarshal string",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestAgainstABaseline(t *testing.T) {
	twice := func(r *Report) { r.Results[0].Host.Cores *= 2 }
	broken := func(r *Report) {
		for i := range r.Results[0].Runs {
			if run := &r.Results[0].Runs[i]; run.Contender == "ours" && run.Number == 1 {
				run.Outcome = "a node was overfilled"
			}
		}
	}
	uneven := func(r *Report) {
		for i, run := range r.Results[0].Runs {
			run.Metrics[0].Values[measure.Average] *= float64(i + 1)
		}
	}
	for name, test := range map[string]struct {
		then, now map[string]float64
		runs      int
		change    func(now *Report)
		want      Verdict
		yardstick string
		reason    string
	}{
		"the same":                        {map[string]float64{"ours": 100}, map[string]float64{"ours": 100}, 5, nil, NoDifference, "", ""},
		"slower":                          {map[string]float64{"ours": 100}, map[string]float64{"ours": 80}, 5, nil, Worse, "", ""},
		"faster":                          {map[string]float64{"ours": 100}, map[string]float64{"ours": 120}, 5, nil, Better, "", ""},
		"too few runs":                    {map[string]float64{"ours": 100}, map[string]float64{"ours": 50}, 2, nil, NotFoundOut, "", "Throughput Average: 2 completed runs of both are too few, it takes 3"},
		"another machine":                 {map[string]float64{"ours": 100}, map[string]float64{"ours": 50}, 5, twice, NotFoundOut, "", "the machines differ"},
		"another machine, by a yardstick": {map[string]float64{"ours": 100, "reference": 50}, map[string]float64{"ours": 200, "reference": 100}, 5, twice, NoDifference, "reference", ""},
		"slower by a yardstick":           {map[string]float64{"ours": 100, "reference": 50}, map[string]float64{"ours": 150, "reference": 100}, 5, twice, Worse, "reference", ""},
		"too much noise":                  {map[string]float64{"ours": 100}, map[string]float64{"ours": 100}, 3, uneven, NotFoundOut, "", "Throughput Average: the interval is too wide to tell, it goes as far as"},
		"a broken run":                    {map[string]float64{"ours": 100}, map[string]float64{"ours": 100}, 5, broken, NotFoundOut, "", "run 1 of ours: a node was overfilled"},
		"slower, and a broken run":        {map[string]float64{"ours": 100}, map[string]float64{"ours": 70}, 5, broken, Worse, "", "run 1 of ours: a node was overfilled"},
		"a contender that is new":         {map[string]float64{"ours": 100}, map[string]float64{"alpha": 1, "ours": 100}, 5, nil, NoDifference, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			baseline, now := measured(t, test.then, test.runs), measured(t, test.now, test.runs)
			if test.change != nil {
				test.change(&now)
			}
			if err := now.Against(baseline); err != nil {
				t.Fatal(err)
			}
			j := now.Results[0].Judgement
			if j.Contender != "ours" || j.Verdict != test.want || j.Yardstick != test.yardstick {
				t.Errorf("got %+v", j)
			}
			if reasons := strings.Join(j.Reasons, "\n"); !strings.Contains(reasons, test.reason) || test.reason == "" && reasons != "" {
				t.Errorf("the reasons are %q, want %q", reasons, test.reason)
			}
			if got, want := now.ExitCode(), map[Verdict]int{Worse: 2, NotFoundOut: 1}[test.want]; got != want {
				t.Errorf("exit code %d, want %d", got, want)
			}
			var out strings.Builder
			if err := now.WriteTable(&out); err != nil || !strings.Contains(out.String(), "verdict: "+string(test.want)+"\n") {
				t.Errorf("%v:\n%s", err, out.String())
			}
		})
	}
}

func TestABaselineOfSomethingElse(t *testing.T) {
	now, other := measured(t, map[string]float64{"ours": 100}, 4), measured(t, map[string]float64{"ours": 100}, 4)
	other.Results[0].Profile = "scheduler_perf"
	if err := now.Against(other); err == nil || !strings.Contains(err.Error(), `none of the workloads, but ["SchedulingBasic/500Nodes" in profile "scheduler_perf"]`) {
		t.Errorf("got %v", err)
	}
	both := Report{Results: []Result{now.Results[0], other.Results[0]}}
	if err := both.Against(now); err != nil {
		t.Fatal(err)
	}
	if both.Results[0].Judgement.Verdict != NoDifference || both.Results[1].Judgement.Verdict != NotFoundOut || both.ExitCode() != 1 {
		t.Errorf("got %+v", both)
	}
	stranger := measured(t, map[string]float64{"theirs": 1}, 4)
	if err := now.Against(stranger); err == nil || !strings.Contains(err.Error(), `the baseline has contenders ["theirs"], none of which is among ["ours"]`) {
		t.Errorf("got %v", err)
	}
	if code := (&Report{Results: []Result{{}}}).ExitCode(); code != 0 {
		t.Errorf("nothing was asked, and the exit code is %d", code)
	}
}

func TestTables(t *testing.T) {
	values := map[string][]float64{"ours": {200, 210, 190, 205, 195}, "reference": {100, 101, 99, 100.5, 99.5}}
	plan := Plan{Workload: "W", Profile: "cluster", Contenders: []string{"ours", "reference"}, Runs: 5}
	run := func(_ context.Context, contender string, number int) (measure.Run, error) {
		made := throughput(values[contender][number-1])
		made.Metrics = append(made.Metrics, measure.Metric{Name: "Memory", Unit: measure.Bytes, Better: measure.Lower, Values: map[string]float64{measure.Value: 64 << 20}})
		return made, nil
	}
	for _, test := range []struct {
		contenders []string
		want       []string
	}{
		{plan.Contenders, []string{
			"W, profile cluster, ours 5 runs, reference 5 runs\non ",
			"FIGURE              ours         SPREAD  reference    SPREAD  RATIO  95% INTERVAL    FLOOR  ours IS\n",
			"Throughput Average  200.0 pods/s 10.0%   100.0 pods/s 2.0%    1.999  1.922 to 2.079  -      better\n",
			"Memory              64.00 MiB    0.0%    64.00 MiB    0.0%    1.000  1.000 to 1.000  -      no difference seen\n",
		}},
		{plan.Contenders[:1], []string{
			"FIGURE              RUNS  MEDIAN        MIN           MAX           SPREAD\n",
			"Throughput Average  5     200.0 pods/s  190.0 pods/s  210.0 pods/s  10.0%\n",
		}},
	} {
		plan.Contenders = test.contenders
		result := contest(t, plan, run)
		var out strings.Builder
		if err := result.WriteTable(&out); err != nil {
			t.Fatal(err)
		}
		for _, want := range test.want {
			if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), strings.Join(strings.Fields(want), " ")) {
				t.Errorf("%q is missing in\n%s", want, out.String())
			}
		}
	}
}

func TestFiguresThatAreNotCaredForAreNotShown(t *testing.T) {
	report := measured(t, map[string]float64{"ours": 100, "reference": 50}, 3)
	if err := report.Against(report); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	shown := report.Without(func(what What) bool { return what.Metric == "Throughput" })
	if err := shown.WriteTable(&out); err != nil || strings.Contains(out.String(), "Throughput") {
		t.Errorf("%v:\n%s", err, out.String())
	}
	result := report.Results[0]
	if len(result.Figures) != 2 || len(result.Comparisons) != 1 || len(result.NoiseFloor) != 1 || len(result.Judgement.Comparisons) != 1 {
		t.Errorf("what is not shown is gone: %+v", result)
	}
	out.Reset()
	if err := report.WriteTable(&out); err != nil || !strings.Contains(out.String(), "noise floor, ours against itself: a difference seen in 0 of 1 main figures; the highest is ±") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestTooFewRunsForANoiseFloorAreToldOf(t *testing.T) {
	plan := Plan{Contenders: []string{"ours", "reference"}, Runs: 3, FloorRuns: 2}
	result := contest(t, plan, simulated(1, 0.01, map[string]float64{"ours": 100, "reference": 50}))
	var out strings.Builder
	const want = "noise floor, ours against itself: not found out, 2 completed runs of both are too few, it takes 3\n"
	if err := result.WriteTable(&out); err != nil || !strings.Contains(out.String(), want) {
		t.Errorf("%v: %q lacks %q", err, out.String(), want)
	}
}

func TestHeightOfANoiseFloor(t *testing.T) {
	for floor, want := range map[float64]string{0: "-", 0.031: "±3.1%", 0.5: "±50.0%", 1: "2.0 times", 7.6: "8.6 times"} {
		if got := height(floor); got != want {
			t.Errorf("%v: got %s, want %s", floor, got, want)
		}
	}
}

func TestSVGHasTheContenders(t *testing.T) {
	report := measured(t, map[string]float64{"ours": 200, "reference": 100}, 4)
	result := &report.Results[0]
	for i := range result.Runs {
		result.Runs[i].Bound = []measure.Point{{After: time.Second, Pods: 100}, {After: 2 * time.Second, Pods: 300}}
	}
	var out strings.Builder
	if err := result.WriteSVG(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{">SchedulingBasic/500Nodes<", ">ours (median of 4 runs)<", ">reference (median of 4 runs)<", ">pods bound<", "profile cluster"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
}

// FuzzRead reads any file as earlier results, and judges real ones by them.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"results":[{"contenders":["a"],"workload":"w","runs":[{"contender":"a","metrics":[{"name":"m","values":{"Average":1}}]}]}]}`))
	f.Add([]byte(`{"results":[{"contenders":["a","b"],"runs":[{"contender":"b"},{"contender":"a"}],"confidence":7}]}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		earlier, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		later, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		_ = later.Against(earlier)
	})
}
