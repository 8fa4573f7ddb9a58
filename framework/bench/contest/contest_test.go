package contest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/framework/bench/measure"
)

// throughput is a completed run of one figure.
func throughput(value float64) measure.Run {
	return measure.Run{Outcome: measure.Completed, Metrics: []measure.Metric{
		{Name: "Throughput", Unit: measure.PodsPerSecond, Better: measure.Higher, Values: map[string]float64{measure.Average: value}},
	}}
}

// simulated runs contenders of known speeds on a machine of a known noise.
func simulated(seed uint64, deviation float64, speeds map[string]float64) Func {
	random := rand.New(rand.NewPCG(seed, 7))
	return func(_ context.Context, contender string, _ int) (measure.Run, error) {
		return throughput(speeds[contender] * normal(deviation)(random)), nil
	}
}

func contest(t *testing.T, plan Plan, run Func) Result {
	t.Helper()
	result, err := plan.Run(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestAgainstItselfThereIsNoDifference(t *testing.T) {
	const contests = 1000
	for runs, atLeast := range map[int]int{3: 980, 5: 980, 10: 980} {
		plan, seen := Plan{Contenders: []string{"a", "same"}, Runs: runs, FloorRuns: runs}, 0
		for i := range contests {
			result := contest(t, plan, simulated(uint64(i), 0.05, map[string]float64{"a": 100, "same": 100}))
			if result.Comparisons[0].Verdict != NoDifference {
				seen++
			}
		}
		t.Logf("%d runs each: no difference in %d of %d contests", runs, contests-seen, contests)
		if contests-seen < atLeast {
			t.Errorf("%d runs each: no difference was seen in %d of %d contests only, want %d", runs, contests-seen, contests, atLeast)
		}
	}
}

func TestRatioOf13IsSeenWithFiveRuns(t *testing.T) {
	const contests = 1000
	better := 0
	for i := range contests {
		result := contest(t, Plan{Contenders: []string{"swift", "slow"}, Runs: 5, FloorRuns: 5}, simulated(uint64(i), 0.05, map[string]float64{"swift": 130, "slow": 100}))
		if result.Comparisons[0].Verdict == Better {
			better++
		}
	}
	t.Logf("seen in %d of %d contests", better, contests)
	if better < 990 {
		t.Errorf("seen in %d of %d contests only", better, contests)
	}
}

func TestContendersTakeTurns(t *testing.T) {
	var order []string
	result := contest(t, Plan{Workload: "w", Profile: "p", Contenders: []string{"a", "b", "c"}, Runs: 3, FloorRuns: 1},
		func(_ context.Context, contender string, number int) (measure.Run, error) {
			order = append(order, fmt.Sprint(contender, number))
			return throughput(1), nil
		})
	if got, want := strings.Join(order, " "), "a4 a5 a1 b1 c1 b2 c2 a2 c3 a3 b3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(result.FloorRuns) != 2 || len(result.Runs) != 9 {
		t.Fatalf("%d runs of the noise floor and %d others", len(result.FloorRuns), len(result.Runs))
	}
	if run := result.Runs[3]; run.Contender != "b" || run.Number != 2 || run.Workload != "w" || run.Profile != "p" {
		t.Errorf("the fourth run is %+v", run)
	}
}

func TestEveryPairIsCompared(t *testing.T) {
	result := contest(t, Plan{Contenders: []string{"a", "b", "c"}, Runs: 5}, simulated(1, 0.01, map[string]float64{"a": 300, "b": 200, "c": 100}))
	var got []string
	for _, c := range result.Comparisons {
		got = append(got, fmt.Sprintf("%s/%s %.1f %s", c.Contender, c.Against, c.Ratio, c.Verdict))
	}
	if want := []string{"a/b 1.5 better", "a/c 3.0 better", "b/c 2.0 better"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBrokenRunsAreReportedAndNotCounted(t *testing.T) {
	result := contest(t, Plan{Contenders: []string{"good", "bad"}, Runs: 5}, func(_ context.Context, contender string, number int) (measure.Run, error) {
		if contender == "bad" && number == 2 {
			run := throughput(1e6)
			run.Outcome = "the scheduler ended: exit status 2"
			return run, nil
		}
		return throughput(100), nil
	})
	c := result.Comparisons[0]
	if c.Sample.Runs != 5 || c.AgainstSample.Runs != 4 || c.AgainstSample.Max != 100 || c.Verdict != NoDifference {
		t.Errorf("got %+v", c)
	}
	if broken := result.Broken(); len(broken) != 1 || broken[0].Contender != "bad" || broken[0].Number != 2 {
		t.Errorf("broken are %+v", broken)
	}
	var out strings.Builder
	if err := result.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bad completed 4 of 5 runs", "not completed: run 2 of bad, after 0.0 s: the scheduler ended: exit status 2"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestVerdicts(t *testing.T) {
	five := func(value float64) []float64 {
		return []float64{value, value * 1.01, value * 0.99, value * 1.005, value * 0.995}
	}
	for name, test := range map[string]struct {
		better          measure.Direction
		sample, against []float64
		floor           float64
		want            Verdict
		reason          string
	}{
		"more is better":          {measure.Higher, five(2), five(1), 0.1, Better, ""},
		"less is not":             {measure.Higher, five(1), five(2), 0.1, Worse, ""},
		"less is better":          {measure.Lower, five(1), five(2), 0.1, Better, ""},
		"more is worse":           {measure.Lower, five(2), five(1), 0.1, Worse, ""},
		"neither":                 {measure.Neither, five(2), five(1), 0.1, Differs, ""},
		"equal":                   {measure.Higher, five(1), five(1), 0, NoDifference, ""},
		"within the floor":        {measure.Higher, five(1.05), five(1), 0.1, NoDifference, ""},
		"within the floor, less":  {measure.Higher, five(1), five(1.05), 0.1, NoDifference, ""},
		"ratio without the floor": {measure.Higher, five(1.11), five(1), 0.1, Better, ""},
		"no floor":                {measure.Higher, five(1.05), five(1), 0, Better, ""},
		"two runs":                {measure.Higher, five(2)[:2], five(1)[:2], 0, NotFoundOut, "2 completed runs of both are too few, it takes 3"},
		"none":                    {measure.Higher, nil, five(1), 0, NotFoundOut, "a has no completed run with it"},
		"none of the other":       {measure.Higher, five(1), nil, 0, NotFoundOut, "b has no completed run with it"},
		"zero":                    {measure.Higher, five(1), []float64{1, 1, 0, 1, 1}, 0, NotFoundOut, "there is no ratio of figures that are not all greater than 0"},
		"negative":                {measure.Higher, five(1), five(-1), 0, NotFoundOut, "there is no ratio of figures that are not all greater than 0"},
		"zeros":                   {measure.Lower, []float64{0, 0, 0}, []float64{0, 0, 0}, 0, NoDifference, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := Comparison{Contender: "a", Against: "b", NoiseFloor: test.floor, What: What{Metric: "Throughput", Statistic: measure.Average, Better: test.better}}
			series := func(values []float64) (runs []measure.Run) {
				for i, value := range values {
					run := throughput(value)
					run.Number = i + 1
					runs = append(runs, run)
				}
				return runs
			}
			got := c.byRounds(series(test.sample), series(test.against), 0.95)
			if unpaired := c.byTimes(series(test.sample), series(test.against), 0.95); unpaired.Verdict != got.Verdict {
				t.Errorf("by rounds %q, by times %q", got.Verdict, unpaired.Verdict)
			}
			if got.Verdict != test.want || got.Reason != test.reason {
				t.Errorf("got %q for %q, want %q for %q: %+v", got.Verdict, got.Reason, test.want, test.reason, got)
			}
		})
	}
}

func TestNoiseFloorIsThatOfTheFirstAgainstItself(t *testing.T) {
	// The one and the other take turns as one, other, other, one.
	values := []float64{110, 100, 100, 120, 130, 100}
	i := 0
	result := contest(t, Plan{Contenders: []string{"a", "b"}, Runs: 3, FloorRuns: 3}, func(context.Context, string, int) (measure.Run, error) {
		if i++; i <= len(values) {
			return throughput(values[i-1]), nil
		}
		return throughput(100), nil
	})
	c := result.NoiseFloor[0]
	if c.Contender != "a" || c.Against != "a" || c.Sample.Min != 110 || c.Sample.Max != 130 || c.AgainstSample.Min != 100 || c.AgainstSample.Max != 100 {
		t.Errorf("the noise floor is %+v", c)
	}
	if got := result.Comparisons[0].NoiseFloor; got != c.Interval.High-1 || got < 0.4 || got > 0.5 {
		t.Errorf("the comparison's floor is %v, that of %+v", got, c.Interval)
	}
}

func TestWhatWasSeenIsKeptWhenTheContestEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	trouble := errors.New("the API server is gone")
	plan := Plan{Contenders: []string{"a", "b"}, Runs: 5}
	result, err := plan.Run(ctx, func(_ context.Context, contender string, number int) (measure.Run, error) {
		if number == 3 {
			return measure.Run{}, trouble
		}
		return throughput(1), nil
	})
	if !errors.Is(err, trouble) || !strings.Contains(err.Error(), "run 5 of 10: a: ") || len(result.Runs) != 4 || len(result.Comparisons) != 1 {
		t.Errorf("got %d runs, %v", len(result.Runs), err)
	}
	result, err = plan.Run(ctx, func(_ context.Context, contender string, number int) (measure.Run, error) {
		if number == 2 {
			cancel()
		}
		return throughput(1), nil
	})
	if !errors.Is(err, context.Canceled) || len(result.Runs) != 3 {
		t.Errorf("cancelled: got %d runs, %v", len(result.Runs), err)
	}
}

func TestRunsThatSayNothingSensibleEndTheContest(t *testing.T) {
	_, err := Plan{Contenders: []string{"a"}, Runs: 1}.Run(t.Context(), func(context.Context, string, int) (measure.Run, error) {
		run := throughput(1)
		run.Metrics = append(run.Metrics, run.Metrics[0])
		return run, nil
	})
	if err == nil || !strings.Contains(err.Error(), "metrics[1]: there are two metrics Throughput") {
		t.Errorf("got %v", err)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	good := Plan{Contenders: []string{"a", "b"}, Runs: 5}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Plan){
		"Contenders":    func(p *Plan) { p.Contenders = nil },
		"Contenders[1]": func(p *Plan) { p.Contenders = []string{"a", "a"} },
		"Contenders[0]": func(p *Plan) { p.Contenders = []string{""} },
		"Runs":          func(p *Plan) { p.Runs = 0 },
		"FloorRuns":     func(p *Plan) { p.FloorRuns = -1 },
		"Confidence":    func(p *Plan) { p.Confidence = 95 },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+": ") {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestProgressNamesTheRun(t *testing.T) {
	var said []string
	plan := Plan{Contenders: []string{"a", "b"}, Runs: 1, FloorRuns: 1, Progress: func(text string) { said = append(said, text) }}
	contest(t, plan, func(context.Context, string, int) (measure.Run, error) { return throughput(1), nil })
	want := []string{"noise floor, run 1 of 2: a", "noise floor, run 2 of 2: a", "run 1 of 2: a", "run 2 of 2: b"}
	if !reflect.DeepEqual(said, want) {
		t.Errorf("got %q, want %q", said, want)
	}
}
