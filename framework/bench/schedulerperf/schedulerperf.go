// Package schedulerperf measures schedulers: it boots a control plane with a
// contender's scheduler in it, has a workload create nodes and pods as upstream's
// scheduler_perf does, and tells how fast the pods were bound, what that cost, and
// whether it was done at all. Each run has a cluster of its own:
//
//	run, err := schedulerperf.Config{Workload: w, Profile: schedulerperf.Isolated()}.Run(ctx, contender, 1)
//
// Any program with kube-scheduler's command line can contend. One that crashes, binds
// a pod to a full node, or stops binding is told of in the run's outcome; the error is
// for what went wrong with the measurement itself.
package schedulerperf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/framework/bench/measure"
	"github.com/plumbline/plumbline/framework/bench/workload"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/expect"
)

// DefaultPatience is how long a wait lasts in which nothing gets on.
const DefaultPatience = time.Minute

// Config says what is run, and under which circumstances.
type Config struct {
	// Workload is what is to be scheduled.
	Workload *workload.Workload
	// Profile says what else is in the cluster.
	Profile Profile
	// PodsFirst has all measured pods created before the scheduler is started.
	PodsFirst bool
	// Patience is how long pods are waited for while none of them gets on: bound, tried
	// or gone. After that the run ends, and its outcome says so. 0 is DefaultPatience.
	Patience time.Duration
	// Start is how long the scheduler may take until it serves; 0 is expect.Medium, scaled.
	Start time.Duration
	// Cluster is the name of the clusters; empty means "bench".
	Cluster string
	// Options are for the clusters.
	Options []cluster.Option
	// Inspect is called while the cluster of a run still stands, once it has been
	// measured; it may be nil.
	Inspect func(context.Context, *cluster.Cluster) error
	// Progress is told what is going on; it may be nil.
	Progress func(text string)
}

// Validate says what is missing.
func (c Config) Validate() error {
	var errs field.ErrorList
	if c.Workload == nil {
		errs = append(errs, field.Required(field.NewPath("Workload"), "what is to be scheduled"))
	}
	if c.Profile.Name == "" {
		errs = append(errs, field.Required(field.NewPath("Profile"), "one of Profiles()"))
	}
	for name, limit := range map[string]time.Duration{"Patience": c.Patience, "Start": c.Start} {
		if limit < 0 {
			errs = append(errs, field.Invalid(field.NewPath(name), limit.String(), "must not be negative"))
		}
	}
	if c.PodsFirst && c.Workload != nil && !measuresOnce(c.Workload) {
		errs = append(errs, field.Invalid(field.NewPath("PodsFirst"), c.Workload.Name, "must be a workload with one operation createPods that collects metrics and is no steady state"))
	}
	return errs.ToAggregate()
}

// measuresOnce reports whether it is one operation whose pods are measured.
func measuresOnce(w *workload.Workload) bool {
	measured := 0
	for _, o := range w.Operations {
		if pods, ok := o.Action.(*workload.CreatePods); ok && pods.CollectMetrics && !pods.SteadyState {
			measured++
		}
	}
	return measured == 1
}

// Contender is a scheduler, perhaps with more that is compared together with it.
type Contender struct {
	// Name is what results call it.
	Name string
	// Components are the programs that run in the place of ours.
	Components map[string]v1alpha1.Component
	// FeatureGates says that its scheduler and its API server take upstream's
	// --feature-gates; those of a workload are not set otherwise.
	FeatureGates bool
}

// outcome is how a run ended that was not completed: the contender's doing.
type outcome struct{ text string }

func (o *outcome) Error() string { return o.text }

func outcomef(format string, values ...any) error {
	return &outcome{fmt.Sprintf(format, values...)}
}

// Run runs the workload once, on a cluster made for it.
func (c Config) Run(ctx context.Context, contender Contender, number int) (run measure.Run, err error) {
	if err := c.Validate(); err != nil {
		return run, err
	}
	c.Patience = cmp.Or(c.Patience, DefaultPatience)
	c.Start = cmp.Or(c.Start, expect.Scaled(expect.Medium))
	run = measure.Run{
		Workload: c.Workload.Name, Contender: contender.Name, Profile: c.Profile.Name,
		Number: number, Begun: time.Now(), Outcome: measure.Completed,
	}
	var end *outcome
	s, err := c.begin(ctx, contender)
	if errors.As(err, &end) {
		run.Outcome, run.Took = end.text, time.Since(run.Begun)
		return run, nil
	}
	if err != nil {
		return run, fmt.Errorf("%s, run %d of %s: %w", run.Workload, number, run.Contender, err)
	}
	defer func() { err = errors.Join(err, s.end()) }()
	run.Begun = time.Now()
	err = s.perform()
	run.Took = time.Since(run.Begun)
	if errors.As(err, &end) {
		run.Outcome, err = end.text, nil
	}
	run.Metrics, run.Bound = s.results()
	if err == nil && c.Inspect != nil {
		err = c.Inspect(ctx, s.cluster)
	}
	if err != nil {
		err = fmt.Errorf("%s, run %d of %s: %w", run.Workload, number, run.Contender, err)
	}
	return run, err
}

func (c Config) say(format string, values ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, values...))
	}
}
