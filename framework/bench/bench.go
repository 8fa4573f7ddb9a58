// Package bench measures clusters the way their users meet them: how long one takes
// to boot, what it holds in memory when nothing happens, and how long pods take to
// start. Every run boots a cluster of its own by a plumb program, so that the
// command's own start counts:
//
//	ours := bench.Contender{Name: "ours", Program: "bin/plumb"}
//	report, err := bench.Run(ctx, bench.Config{Contenders: []bench.Contender{ours}, Runs: 5, Nodes: 2})
//
// Several contenders take turns. What their runs say, and what an earlier report makes
// of them, is package contest's.
package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/framework/bench/contest"
	"github.com/plumbline/plumbline/framework/bench/measure"
	"github.com/plumbline/plumbline/framework/supervisor"
)

// Contender is a way to have a cluster.
type Contender struct {
	// Name is what results call it.
	Name string
	// Program is the plumb executable that boots the cluster, in the directory Dir, from
	// which it finds the sources of what clusters run; empty is the current one.
	Program, Dir string
	// Flags are given to its command up beside the ones for the name and the nodes, as
	// those that put other components in.
	Flags []string
}

// Config says what to measure, and how often.
type Config struct {
	// Contenders are compared in this order: a ratio is of an earlier one to a later.
	Contenders []Contender
	// Name is that of the clusters; empty means "bench".
	Name string
	// Runs is how many clusters each contender boots, one after the other.
	Runs int
	// FloorRuns is how many runs either side has of the first contender against itself,
	// for the machine's noise floor; 0 leaves it unknown.
	FloorRuns int
	// Nodes is how many nodes each has.
	Nodes int
	// OneByOne is how many pods start one after the other in each cluster, AtOnce how
	// many start together, and Replicas how many a Deployment starts; 0 leaves it out.
	OneByOne, AtOnce, Replicas int
	// Settle is how long a cluster is left alone before its memory is read.
	Settle time.Duration
	// Progress is told what is going on; it may be nil.
	Progress func(text string)
}

// Validate says what cannot be measured.
func (c Config) Validate() error {
	var errs field.ErrorList
	contenders := field.NewPath("Contenders")
	if len(c.Contenders) == 0 {
		errs = append(errs, field.Required(contenders, "at least one"))
	}
	for i, contender := range c.Contenders {
		at := contenders.Index(i)
		if contender.Name == "" {
			errs = append(errs, field.Required(at.Child("Name"), "what results call it"))
		}
		if contender.Program == "" {
			errs = append(errs, field.Required(at.Child("Program"), "the path of a plumb executable"))
		}
	}
	atLeast := func(name string, value, least int) {
		if value < least {
			errs = append(errs, field.Invalid(field.NewPath(name), value, fmt.Sprintf("must be at least %d", least)))
		}
	}
	atLeast("Runs", c.Runs, 1)
	atLeast("FloorRuns", c.FloorRuns, 0)
	atLeast("Nodes", c.Nodes, 1)
	atLeast("OneByOne", c.OneByOne, 0)
	atLeast("AtOnce", c.AtOnce, 0)
	atLeast("Replicas", c.Replicas, 0)
	if c.Settle < 0 {
		errs = append(errs, field.Invalid(field.NewPath("Settle"), c.Settle.String(), "must not be negative"))
	}
	return errs.ToAggregate()
}

// workload names what is run: figures of another one are not to be compared with.
func (c Config) workload() string {
	return fmt.Sprintf("Boot/%dNodes_%dReplicas_%dPods_%dAtOnce", c.Nodes, c.Replicas, c.OneByOne, c.AtOnce)
}

// Run measures. What it boots it takes down again, also when it fails.
func Run(ctx context.Context, config Config) (contest.Report, error) {
	if err := config.Validate(); err != nil {
		return contest.Report{}, err
	}
	if config.Name == "" {
		config.Name = "bench"
	}
	plan := contest.Plan{Workload: config.workload(), Profile: "idle for " + config.Settle.String(), Runs: config.Runs, FloorRuns: config.FloorRuns}
	byName := map[string]Contender{}
	for _, c := range config.Contenders {
		plan.Contenders = append(plan.Contenders, c.Name)
		byName[c.Name] = c
	}
	about := ""
	plan.Progress = func(text string) { about = text }
	result, err := plan.Run(ctx, func(ctx context.Context, contender string, _ int) (measure.Run, error) {
		m := &measurement{Config: config, contender: byName[contender], about: about, record: &record{}}
		begun := time.Now()
		err := m.measure(ctx)
		return measure.Run{Begun: begun, Took: time.Since(begun), Outcome: measure.Completed, Metrics: m.record.metrics()}, err
	})
	report := contest.Report{}
	if result.Workload != "" {
		report.Results = append(report.Results, result)
	}
	return report, err
}

// measurement is one run of a contender.
type measurement struct {
	Config
	contender Contender
	about     string
	record    *record
}

func (m *measurement) say(text string) {
	if m.Progress != nil {
		m.Progress(m.about + ": " + text)
	}
}

// measure boots a cluster and looks at it from its start to its end.
func (m *measurement) measure(ctx context.Context) (err error) {
	m.say("boot")
	begun := time.Now()
	status, err := m.up(ctx)
	if err != nil {
		return err
	}
	supervised, err := supervisor.Connect(m.Name)
	if err != nil {
		return err
	}
	defer func() {
		// An interrupted measurement ends its cluster, too.
		err = errors.Join(err, supervised.Down(context.WithoutCancel(ctx)))
	}()
	for _, phase := range status.Phases {
		m.record.duration("boot/"+phase.Name, status.Since.Add(phase.After).Sub(begun))
	}
	w, err := newWorkload(ctx, status.Kubeconfig)
	if err != nil {
		return err
	}
	defer w.close()
	if err := m.firstUse(ctx, begun, w, supervised); err != nil {
		return err
	}
	if err := m.memory(ctx, supervised); err != nil {
		return err
	}
	return m.pods(ctx, w)
}
