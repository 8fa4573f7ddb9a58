package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/fixtures/workloads"
	"github.com/plumbline/plumbline/framework/bench/contest"
	"github.com/plumbline/plumbline/framework/bench/measure"
	"github.com/plumbline/plumbline/framework/bench/schedulerperf"
	"github.com/plumbline/plumbline/framework/bench/workload"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

// The contenders that have names.
const (
	ours           = "ours"
	referenceAlone = "reference"
	referenceStack = "reference-stack"
)

type benchSchedulerFlags struct {
	workloads  []string
	file       string
	params     []string
	contenders []string
	runs       int
	profile    string
	name       string
	podsFirst  bool
	patience   time.Duration
	floor      int
	list       bool
	details    bool
	results    benchResults
}

func benchSchedulerCommand() *cobra.Command {
	var f benchSchedulerFlags
	cmd := &cobra.Command{
		Use:   "scheduler",
		Short: "Measure schedulers",
		Long: `Has schedulers bind the pods of a workload, each run on a control plane of its own, the contenders by
turns: how many pods a second, how long after their creation, what attempts and plugins took, and what it
cost in processor time and memory. A scheduler that crashes, binds pods to full nodes or stops binding is
told of as that.

Workloads are written in the language of upstream's scheduler_perf, whose files --workload-file reads as
they are. Results name the profile, which is part of what they say:

` + profileTexts() + `
` + exitCodes,
		Example: `  plumb bench scheduler --list
  plumb bench scheduler --workload SchedulingBasic/500Nodes --contender ours --contender reference --runs 5
  plumb bench scheduler --workload SchedulingBasic/500Nodes --param initNodes=100 --contender mine=./my-scheduler
  plumb bench scheduler --workload-file affinity/performance-config.yaml --workload SchedulingPodAffinity/500Nodes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.results.readBaseline(); err != nil {
				return err
			}
			suites, err := f.suites()
			if err != nil {
				return err
			}
			if f.list {
				for _, suite := range suites {
					for _, name := range suite.Names() {
						fmt.Fprintln(cmd.OutOrStdout(), name)
					}
				}
				return nil
			}
			return f.run(cmd, suites)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.workloads, "workload", nil, "NAME/SIZE of a workload; may be given several times")
	flags.StringVar(&f.file, "workload-file", "", "file of workloads to take instead of those that are built in")
	flags.StringArrayVar(&f.params, "param", nil, "NAME=VALUE: set a parameter of the workloads otherwise; may be given several times")
	flags.StringArrayVar(&f.contenders, "contender", []string{ours}, "ours, reference (Kubernetes' own scheduler), reference-stack (its API server, too), or [NAME=]PATH of a program; may be given several times")
	flags.IntVar(&f.runs, "runs", 1, "runs of each contender")
	flags.StringVar(&f.profile, "profile", schedulerperf.Isolated().Name, "circumstances to measure under: "+strings.Join(profileNames(), ", "))
	flags.StringVar(&f.name, "name", "bench", "name of the clusters")
	flags.BoolVar(&f.podsFirst, "pods-first", false, "create all measured pods before the scheduler is started")
	flags.DurationVar(&f.patience, "patience", schedulerperf.DefaultPatience, "how long a run goes on while no pod is bound or tried")
	flags.BoolVar(&f.list, "list", false, "list the workloads that there are")
	flags.IntVar(&f.floor, "floor-runs", -1, floorRunsUsage)
	flags.BoolVar(&f.details, "details", false, "show the figures of each plugin, extension point and event in the table, too; results always have them")
	f.results.add(flags)
	return cmd
}

func profileTexts() string {
	var text strings.Builder
	for _, p := range schedulerperf.Profiles() {
		fmt.Fprintf(&text, "  %s: %s\n", p.Name, p.Text)
	}
	return text.String()
}

func profileNames() []string {
	var names []string
	for _, p := range schedulerperf.Profiles() {
		names = append(names, p.Name)
	}
	return names
}

// suites are those to choose workloads of.
func (f *benchSchedulerFlags) suites() ([]*workload.Suite, error) {
	if f.file != "" {
		path, err := filepath.Abs(f.file)
		if err != nil {
			return nil, fmt.Errorf("--workload-file: %w", err)
		}
		// From the root, since a file may name others above itself.
		suite, err := workload.Read(os.DirFS("/"), strings.TrimPrefix(path, "/"))
		if err != nil {
			return nil, fmt.Errorf("--workload-file: %w", err)
		}
		return []*workload.Suite{suite}, nil
	}
	paths, err := fs.Glob(workloads.Files, "*.yaml")
	if err != nil {
		return nil, err
	}
	var suites []*workload.Suite
	for _, path := range paths {
		suite, err := workload.Read(workloads.Files, path)
		if err != nil {
			return nil, err
		}
		suites = append(suites, suite)
	}
	return suites, nil
}

// chosen are the workloads that the flags name.
func (f *benchSchedulerFlags) chosen(suites []*workload.Suite) ([]*workload.Workload, error) {
	set := map[string]any{}
	for _, param := range f.params {
		name, value, ok := strings.Cut(param, "=")
		if !ok {
			return nil, fmt.Errorf("--param: %q is not NAME=VALUE", param)
		}
		var parsed any
		if err := yaml.Unmarshal([]byte(value), &parsed); err != nil {
			return nil, fmt.Errorf("--param %s: %w", name, err)
		}
		set[name] = parsed
	}
	if len(f.workloads) == 0 {
		return nil, errors.New("--workload: name one; --list tells which there are")
	}
	var all []*workload.Workload
	for _, name := range f.workloads {
		i := slices.IndexFunc(suites, func(s *workload.Suite) bool { return slices.Contains(s.Names(), name) })
		if i < 0 {
			return nil, fmt.Errorf("--workload: there is no %q; --list tells which there are", name)
		}
		w, err := suites[i].Workload(name, set)
		if err != nil {
			return nil, fmt.Errorf("--workload: %w", err)
		}
		all = append(all, w)
	}
	return all, nil
}

// contender is what a value of --contender stands for.
func contender(ctx context.Context, value string, progress func(string)) (schedulerperf.Contender, error) {
	c := schedulerperf.Contender{Name: value, Components: map[string]v1alpha1.Component{}}
	var names []string
	switch value {
	case ours:
		return c, nil
	case referenceAlone:
		names = []string{cluster.Scheduler}
	case referenceStack:
		names = []string{cluster.Scheduler, cluster.APIServer}
	default:
		name, path, named := strings.Cut(value, "=")
		if !named {
			name, path = filepath.Base(value), value
		}
		absolute, err := filepath.Abs(path)
		if err != nil {
			return c, err
		}
		c.Name, c.FeatureGates = name, true
		c.Components[cluster.Scheduler] = v1alpha1.Component{Program: absolute}
		if err := v1alpha1.ValidateComponent(cluster.Scheduler, c.Components[cluster.Scheduler]); err != nil {
			return c, fmt.Errorf("it is none of %s, %s and %s, and as a program: %w", ours, referenceAlone, referenceStack, err)
		}
		return c, nil
	}
	c.FeatureGates = true
	for _, name := range names {
		component, err := reference.Component(ctx, name, progress)
		if err != nil {
			return c, err
		}
		c.Components[name] = component
	}
	return c, nil
}

func (f *benchSchedulerFlags) run(cmd *cobra.Command, suites []*workload.Suite) error {
	chosen, err := f.chosen(suites)
	if err != nil {
		return err
	}
	profile, err := schedulerperf.ProfileNamed(f.profile)
	if err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	if f.runs < 1 {
		return fmt.Errorf("--runs: %d is less than 1", f.runs)
	}
	if !f.details {
		f.results.hide = detail
	}
	screen := newScreen(cmd, f.results.output)
	defer screen.clear()
	var contenders []schedulerperf.Contender
	for _, value := range f.contenders {
		c, err := contender(cmd.Context(), value, screen.step)
		if err != nil {
			return fmt.Errorf("--contender %s: %w", value, err)
		}
		contenders = append(contenders, c)
	}
	var report contest.Report
	for _, w := range chosen {
		result, err := f.contest(cmd.Context(), w, profile, contenders, screen.step)
		if result.Workload != "" {
			report.Results = append(report.Results, result)
		}
		if err != nil {
			screen.clear()
			// What was measured until then is not lost.
			return errors.Join(err, f.results.keep(report))
		}
	}
	screen.clear()
	return f.results.tell(cmd.OutOrStdout(), report)
}

// contest has all contenders run one workload.
func (f *benchSchedulerFlags) contest(ctx context.Context, w *workload.Workload, profile schedulerperf.Profile, contenders []schedulerperf.Contender, progress func(string)) (contest.Result, error) {
	plan := contest.Plan{Workload: w.Name, Profile: profile.Name, Runs: f.runs, FloorRuns: floorRuns(f.floor, len(contenders), f.runs)}
	if f.podsFirst {
		plan.Profile += ", all pods first"
	}
	byName := map[string]schedulerperf.Contender{}
	for _, c := range contenders {
		plan.Contenders = append(plan.Contenders, c.Name)
		byName[c.Name] = c
	}
	about := ""
	plan.Progress = func(text string) { about = w.Name + ", " + text }
	config := schedulerperf.Config{
		Workload: w, Profile: profile, PodsFirst: f.podsFirst, Patience: f.patience, Cluster: f.name,
		Progress: func(text string) { progress(about + ": " + text) },
	}
	if err := config.Validate(); err != nil {
		return contest.Result{}, err
	}
	return plan.Run(ctx, func(ctx context.Context, contender string, number int) (measure.Run, error) {
		return config.Run(ctx, byName[contender], number)
	})
}

// detail reports whether a figure is left out of the table for people: it is one of the
// many about a part of the scheduler's work.
func detail(what contest.What) bool {
	for _, label := range []string{"plugin", "extension_point", "event"} {
		if what.Labels[label] != "" {
			return true
		}
	}
	return false
}
