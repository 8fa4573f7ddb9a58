// Package contest runs contenders against each other on one machine and says what
// can be said of the difference, and no more:
//
//	plan := contest.Plan{Contenders: []string{"ours", "reference"}, Runs: 5, FloorRuns: 5}
//	result, err := plan.Run(ctx, func(ctx context.Context, contender string, number int) (measure.Run, error) { ... })
//
// # What is done
//
// First the machine's noise floor is measured: the first contender against itself,
// FloorRuns runs for either side. Then every round has a run of each contender, and
// the round after begins with the next one, so that what drifts meanwhile (a disk
// that fills, a processor that grows warm, a neighbour that wakes) meets all of them
// and none has always the same place.
//
// # What is said
//
// Each figure of a run, "SchedulingThroughput Perc99", is one value: there are as
// many as a contender has completed runs. A run that was not completed gives none; it
// is reported as what it is. For every figure and every two contenders there are the
// medians, the spreads, and the ratio with its interval of confidence: the geometric
// mean of the rounds' ratios, and Student's interval of the mean of their logarithms
// (Student, "The probable error of a mean", Biometrika 6, 1908; for ratios of
// benchmarks see Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013).
// What a round did to both contenders is in neither. It supposes that the rounds'
// logarithms are spread normally. That they are spread evenly to either side is so of
// any two contenders with noise of one kind, and if outliers are likelier than
// they should be, the interval is rather too wide. In simulated contests whose true
// ratio is 1.3 an interval of 95% holds it, and excludes 1, in
//
//	 3 runs, noise of 5%                     95.0%   87.3%
//	 4 runs, noise of 5%                     95.0%   99.6%
//	 5 runs, noise of 5%                     95.0%    100%
//	10 runs, noise of 5%                     95.0%    100%
//	 5 runs, noise of 5% against 1%          95.0%    100%
//	 5 runs, every round 20% up or down      95.0%    100%
//	 5 runs, delays: 5%, never faster        96.5%   99.5%
//	 5 runs, one in ten 15% instead of 5%    95.7%   97.2%
//	 5 runs, one in four slower by a third   98.7%   36.6%
//
// Below 3 completed rounds there is no interval, since none would tell anything from
// 1, and nothing is found out. With 3 and noise of 5% what can be seen is a ratio of
// about 1.2, with 5 one of 1.1, with 10 one of 1.05, noise permitting.
//
// The verdict is NoDifference where the interval holds 1, and where the ratio lies
// within the noise floor: as far from 1 as the interval of the first contender
// against itself reaches. Two that do not differ are then said to in 2 of 1000
// simulated contests of 5 runs, and 11 of 10 runs; without the floor in 50. Verdicts
// are of one figure each: among hundreds some will be wrong.
//
// A result can be judged by an earlier one, for continuous integration: see
// Report.Against and Judgement. What was measured at different times makes no rounds;
// the ratio is then that of the geometric means, with Welch's interval.
package contest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/framework/bench/host"
	"github.com/plumbline/plumbline/framework/bench/measure"
)

// DefaultConfidence is that of a Plan which does not name one.
const DefaultConfidence = 0.95

// maxRuns bounds what the exact test has to count.
const maxRuns = 100

// Plan says who contends in what, and how often.
type Plan struct {
	// Workload and Profile name what is run, and under which circumstances.
	Workload, Profile string
	// Contenders are compared in this order: the ratio is of an earlier one to a later.
	Contenders []string
	// Runs is how many each of them has.
	Runs int
	// FloorRuns is how many runs either side has of the first contender against itself,
	// which is what the noise floor is taken from; 0 leaves it unknown.
	FloorRuns int
	// Confidence is that of the intervals at least; 0 is DefaultConfidence.
	Confidence float64
	// Progress is told what is going on; it may be nil.
	Progress func(text string)
}

// Func runs a contender once. Numbers tell the runs of one contender apart. An error
// ends the contest: what a contender did to its own run is the run's outcome.
type Func func(ctx context.Context, contender string, number int) (measure.Run, error)

// Validate says what cannot be run.
func (p Plan) Validate() error {
	var errs field.ErrorList
	contenders := field.NewPath("Contenders")
	if len(p.Contenders) == 0 {
		errs = append(errs, field.Required(contenders, "at least one"))
	}
	for i, contender := range p.Contenders {
		if contender == "" {
			errs = append(errs, field.Required(contenders.Index(i), "a name"))
		} else if slices.Index(p.Contenders, contender) < i {
			errs = append(errs, field.Duplicate(contenders.Index(i), contender))
		}
	}
	between := func(name string, value, least int) {
		if value < least || value > maxRuns {
			errs = append(errs, field.Invalid(field.NewPath(name), value, fmt.Sprintf("must be from %d to %d", least, maxRuns)))
		}
	}
	between("Runs", p.Runs, 1)
	between("FloorRuns", p.FloorRuns, 0)
	if !(p.Confidence == 0 || p.Confidence >= 0.5 && p.Confidence < 1) {
		errs = append(errs, field.Invalid(field.NewPath("Confidence"), p.Confidence, "must be at least 0.5 and less than 1, as 0.95"))
	}
	return errs.ToAggregate()
}

// Run runs the contest and judges it. If it cannot be brought to its end, the result
// holds what was seen till then, together with the error.
func (p Plan) Run(ctx context.Context, run Func) (Result, error) {
	if err := p.Validate(); err != nil {
		return Result{}, err
	}
	if p.Confidence == 0 {
		p.Confidence = DefaultConfidence
	}
	machine, err := host.Describe()
	if err != nil {
		return Result{}, err
	}
	result := Result{Workload: p.Workload, Profile: p.Profile, Host: machine, Begun: time.Now().UTC(),
		Contenders: p.Contenders, Confidence: p.Confidence, Runs: []measure.Run{}}
	err = p.runAll(ctx, run, &result)
	if load, loadErr := host.Load(); loadErr == nil {
		result.Host.LoadAfter = load
	}
	result.judge()
	return result, err
}

// runAll runs A against A, and then the contest.
func (p Plan) runAll(ctx context.Context, run Func, result *Result) error {
	next := func(about, contender string, number int) (measure.Run, error) {
		if err := ctx.Err(); err != nil {
			return measure.Run{}, err
		}
		if p.Progress != nil {
			p.Progress(about + ": " + contender)
		}
		made, err := run(ctx, contender, number)
		if err == nil {
			made.Workload, made.Profile, made.Contender, made.Number = p.Workload, p.Profile, contender, number
			err = made.Validate()
		}
		if err != nil {
			return made, fmt.Errorf("%s: %s: %w", about, contender, err)
		}
		return made, nil
	}
	for i := range 2 * p.FloorRuns {
		about := fmt.Sprintf("noise floor, run %d of %d", i+1, 2*p.FloorRuns)
		made, err := next(about, p.Contenders[0], p.Runs+1+i)
		if err != nil {
			return err
		}
		result.FloorRuns = append(result.FloorRuns, made)
	}
	for i := range p.Runs * len(p.Contenders) {
		about := fmt.Sprintf("run %d of %d", i+1, p.Runs*len(p.Contenders))
		round, place := i/len(p.Contenders), i%len(p.Contenders)
		made, err := next(about, p.Contenders[(round+place)%len(p.Contenders)], round+1)
		if err != nil {
			return err
		}
		result.Runs = append(result.Runs, made)
	}
	return nil
}
