package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/progress"
	"github.com/plumbline/plumbline/conformance/report"
	"github.com/plumbline/plumbline/conformance/runner"
	"github.com/plumbline/plumbline/conformance/session"
	"github.com/plumbline/plumbline/framework/cache"
)

const (
	// runsDirectory is where runs are kept unless another directory is named.
	runsDirectory = "artifacts/conformance"
	// latest is the run that --resume without a directory means.
	latest = "latest"
	// statusBroken ends plumb when behaviours do not hold, as opposed to an error, which
	// means that nothing was found out.
	statusBroken = exitStatus(2)
)

type conformanceFlags struct {
	target     targetFlags
	within     withinFlags
	suite      suiteFlags
	focus      []string
	shard      string
	resume     string
	dir        string
	procs      int
	retries    int
	limit      time.Duration
	components []string
	baseline   string
	output     outputFlag
}

func conformanceCommand() *cobra.Command {
	var f conformanceFlags
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Run Kubernetes' own conformance suite, or compare components by it",
		Long: `Runs the behaviours that define conformance, by Kubernetes' own suite: against a
cluster that is booted for it, one that runs on this host (--name), or any other
(--kubeconfig). What a behaviour came to is on disk before the next begins, so a
run that was interrupted is gone on with by --resume.

Behaviours that must run alone on a cluster mostly wait. With --clusters they run on
clusters of their own, beside the rest. What is submitted to the conformance program
must be of one cluster, so such a run makes no submission.

With --in-cluster the behaviours run from within the cluster, shared among the pods of
a Job; see --image. Everything that is made for it is removed at the end.

With --component NAME=PATH the behaviours that judge the component are run on two
clusters, one of our components and one with the program at PATH in that place, and
the difference is shown.

Ends with 0 if everything holds, with 2 if something does not (in a comparison: does
no longer), and with 1 if that could not be found out.`,
		Example: `  plumb conformance
  plumb conformance --focus sig-apps --focus kube-proxy
  plumb conformance --clusters 3
  plumb conformance --reference all
  plumb conformance --resume
  plumb conformance --kubeconfig ~/.kube/config --shard 1/4
  plumb conformance --kubeconfig ~/.kube/config --in-cluster --shards 3 --image registry.example/runner:v1
  plumb conformance --component kube-proxy=./my-proxy`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(f.components) > 0 {
				return f.compare(cmd)
			}
			return f.run(cmd)
		},
	}
	flags := cmd.Flags()
	f.target.add(flags)
	f.suite.add(flags)
	f.within.add(flags)
	flags.StringArrayVar(&f.focus, "focus", nil, "only behaviours of this area (sig-apps), component, id, or that match this regular expression; may be given several times")
	flags.StringVar(&f.shard, "shard", "", "I/N: only this one of N parts")
	flags.StringVar(&f.resume, "resume", "", "go on with the run in this directory (default: the latest)")
	flags.Lookup("resume").NoOptDefVal = latest
	flags.StringVar(&f.dir, "dir", "", "directory for the run (default: a new one in "+runsDirectory+")")
	flags.IntVar(&f.procs, "procs", 4*runtime.NumCPU(), "behaviours at a time, of those that can run side by side")
	flags.IntVar(&f.retries, "retries", 0, "how often a behaviour that failed is tried again; one that passes then is reported as flaked")
	flags.DurationVar(&f.limit, "limit", runner.DefaultLimits().Spec, "time after which a behaviour is held to hang, and is ended")
	flags.StringArrayVar(&f.components, "component", nil, "NAME=PATH: compare the executable at PATH with our component; may be given several times")
	flags.StringVar(&f.baseline, "baseline", "", "compare with the results of this earlier run instead of running the baseline")
	f.output.add(flags)
	cmd.AddCommand(conformanceListCommand(), conformanceCompareCommand(), conformanceReportCommand(), conformanceStatusCommand(), conformanceShareCommand())
	return cmd
}

func (f *conformanceFlags) run(cmd *cobra.Command) error {
	shard, err := catalogue.ParseShard(f.shard)
	if err != nil {
		return err
	}
	if f.baseline != "" {
		return errors.New("--baseline needs --component: it is what the component is compared with")
	}
	if err := f.within.check(f); err != nil {
		return err
	}
	dir, err := f.directory(cmd)
	if err != nil {
		return err
	}
	if f.resume != "" {
		plan, _, err := journal.Load(dir)
		if err != nil {
			return err
		}
		f.suite.kind, f.target.clusters = plan.Suite, max(1, plan.Clusters)
	}
	targets, done, err := f.target.open(cmd)
	if err != nil {
		return err
	}
	defer done()
	s, err := f.session(cmd, targets, dir)
	if err != nil {
		return err
	}
	s.Choice.Focus, s.Choice.Shard = f.focus, shard
	if s.Conduct.Elsewhere, err = f.within.elsewhere(cmd, s); err != nil {
		return err
	}
	results, err := f.take(cmd, s)
	if err != nil {
		return err
	}
	if f.output.json() {
		err = printJSON(cmd.OutOrStdout(), results)
	} else {
		report.Summarize(cmd.OutOrStdout(), results)
		fmt.Fprintf(cmd.OutOrStdout(), "the run is in %s\n", dir)
	}
	if err == nil && results.Totals.Held() < results.Totals.Chosen {
		return statusBroken
	}
	return err
}

// take begins or resumes a session, and says how to go on when it is interrupted.
func (f *conformanceFlags) take(cmd *cobra.Command, s *session.Session) (report.Results, error) {
	var results report.Results
	var err error
	if f.resume != "" {
		results, err = s.Resume(cmd.Context())
	} else {
		results, err = s.Run(cmd.Context())
	}
	t := results.Totals
	if err != nil && t.Chosen > t.NotRun {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d behaviours have their verdict; go on with: plumb conformance --resume=%s\n", t.Chosen-t.NotRun, t.Chosen, s.Dir)
	}
	if errors.Is(err, context.Canceled) {
		return results, errors.New("interrupted")
	}
	return results, err
}

// directory is where the run is or will be.
func (f *conformanceFlags) directory(cmd *cobra.Command) (string, error) {
	switch {
	case f.resume == "" && f.dir != "":
		return filepath.Abs(f.dir)
	case f.resume == "":
		return filepath.Abs(filepath.Join(runsDirectory, time.Now().UTC().Format("20060102-150405")))
	}
	for _, name := range []string{"focus", "shard", "retries", "procs", "dir", "suite", "clusters"} {
		if cmd.Flags().Changed(name) {
			return "", fmt.Errorf("--resume and --%s exclude each other: a run goes on as it was begun", name)
		}
	}
	if f.resume == latest {
		dir, err := journal.Latest(runsDirectory)
		if err != nil {
			return "", err
		}
		return filepath.Abs(dir)
	}
	return filepath.Abs(f.resume)
}

// session puts together what all runs have in common.
func (f *conformanceFlags) session(cmd *cobra.Command, targets []session.Target, dir string) (*session.Session, error) {
	if f.procs < 1 || f.retries < 0 || f.limit <= 0 {
		return nil, errors.New("--procs and --limit must be more than zero, and --retries not less")
	}
	store, err := cache.Default()
	if err != nil {
		return nil, err
	}
	program, err := f.suite.find(cmd)
	if err != nil {
		return nil, err
	}
	kubectl, err := besideUs("kubectl")
	if err != nil {
		return nil, err
	}
	limits := runner.DefaultLimits()
	limits.Spec = f.limit
	return &session.Session{
		Targets: targets,
		Tools:   session.Tools{Suite: program, Kubectl: kubectl, Store: store},
		Choice:  session.Choice{Suite: f.suite.kind, Shard: catalogue.Shard{Index: 1, Of: 1}},
		Conduct: session.Conduct{Procs: f.procs, Retries: f.retries, Limits: limits, Show: showOn(cmd)},
		Dir:     dir,
	}, nil
}

// showOn shows a run's progress on standard error.
func showOn(cmd *cobra.Command) func(report.Totals, int) (func(runner.Event), func()) {
	return func(soFar report.Totals, retries int) (func(runner.Event), func()) {
		display := progress.New(cmd.ErrOrStderr(), term.IsTerminal(int(os.Stderr.Fd())), soFar, retries)
		return display.Show, display.Close
	}
}

// besideUs is the path of a program in this one's directory.
func besideUs(name string) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(own), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not beside %s, where make build puts it: %w", name, own, err)
	}
	return path, nil
}
