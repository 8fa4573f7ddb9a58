package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumbline/plumbline/conformance/matrix"
	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/supervisor"
)

// ginkgoProgram runs compiled suites in several processes. Beside this program
// make puts one that was built from the version that the suites are built with.
const ginkgoProgram = "ginkgo"

// ownCluster is the label of specs that boot clusters of their own, see e2e/own.
const ownCluster = "own-cluster"

type matrixFlags struct {
	combinations []string
	focus        string
	procs        int
	nodes        int
	output       outputFlag
}

func matrixCommand() *cobra.Command {
	var f matrixFlags
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Run the suites on clusters that mix our components with Kubernetes' own",
		Long: `Run the suites on clusters that mix our components with Kubernetes' own: all ours,
all Kubernetes' own, and each component swapped by itself either way. Specs that
boot clusters of their own are left out: they would not run on the mixture. At last
the API server is swapped to and fro while its data stay: nothing may be lost.`,
		Example: `  plumb matrix
  plumb matrix --combination reference --combination ours-kube-proxy --focus '\[network\.'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runMatrix(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.combinations, "combination", nil, "run this one only; may be given several times")
	flags.StringVar(&f.focus, "focus", "", "run the specs that match this regular expression only")
	flags.IntVar(&f.procs, "procs", 4, "processes that run specs side by side")
	flags.IntVar(&f.nodes, "nodes", 2, "number of nodes")
	f.output.add(flags)
	return cmd
}

func runMatrix(cmd *cobra.Command, f matrixFlags) error {
	chosen, err := matrix.Choose(f.combinations)
	if err != nil {
		return fmt.Errorf("--combination: %w", err)
	}
	if f.procs < 1 || f.nodes < 1 {
		return fmt.Errorf("--procs and --nodes must be at least 1: they are %d and %d", f.procs, f.nodes)
	}
	program, err := findSuite("")
	if err != nil {
		return err
	}
	var verdicts []matrix.Verdict
	good := true
	for _, c := range chosen {
		v := matrix.Verdict{Combination: c}
		if err := f.try(cmd, program, &v); err != nil {
			v.Error = err.Error()
		}
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		verdicts, good = append(verdicts, v), good && v.OK()
	}
	if f.output.json() {
		err = printJSON(cmd.OutOrStdout(), verdicts)
	} else {
		err = matrix.Table(cmd.OutOrStdout(), verdicts)
	}
	if err == nil && !good {
		return exitStatus(1)
	}
	return err
}

// try boots one combination, runs the suites on it, and takes it down.
func (f matrixFlags) try(cmd *cobra.Command, program string, v *matrix.Verdict) (err error) {
	screen := newScreen(cmd, f.output)
	screen.step("combination " + v.Name)
	defer screen.clear()
	ctx := cmd.Context()
	description := v1alpha1.New("matrix-"+v.Name, f.nodes)
	if err := reference.Place(ctx, description, v.Reference, screen.step); err != nil {
		return err
	}
	order := supervisor.Order{Cluster: description}
	argv := []string{"plumb", "supervise", "--name", description.Metadata.Name}
	if err := supervisor.Spawn(ctx, argv, order, func(supervisor.Progress) {}); err != nil {
		return err
	}
	client, err := supervisor.Connect(description.Metadata.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Down(context.WithoutCancel(ctx))) }()
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	for _, phase := range status.Phases {
		v.Boot = max(v.Boot, phase.After)
	}
	if v.Name == matrix.LiveSwap {
		return swapLive(ctx, client, v, screen.step)
	}
	dir, err := os.MkdirTemp("", "plumb-matrix-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	const report = "report.json"
	run := f.command(ctx, program, dir, report)
	run.Env = append(os.Environ(), "KUBECONFIG="+client.Kubeconfig(), clusterVariable+"="+client.Name())
	run.Stdout, run.Stderr = cmd.ErrOrStderr(), cmd.ErrOrStderr()
	// That specs fail is not an error: the report says which.
	runErr := runSuites(run, suitesGrace)
	if err := v.ReadReport(filepath.Join(dir, report)); err != nil {
		return errors.Join(fmt.Errorf("the suites made no report: %w", err), runErr)
	}
	return nil
}

// swapLive swaps the API server to and fro; each swap that loses nothing is a success.
func swapLive(ctx context.Context, client *supervisor.Client, v *matrix.Verdict, step func(string)) error {
	theirs, err := reference.Component(ctx, cluster.APIServer, step)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", client.Kubeconfig())
	if err != nil {
		return err
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	// What still comes up would count as changed by a swap.
	if err := waitForDNS(ctx, client); err != nil {
		return err
	}
	begun := time.Now()
	v.Failed, err = matrix.Live(ctx, config, func(ctx context.Context, ours bool) error {
		change := theirs
		if ours {
			change = v1alpha1.Component{}
		}
		err := client.Swap(ctx, v1alpha1.ControlPlaneName, cluster.APIServer, change)
		if err == nil {
			v.Passed++
		}
		return err
	})
	v.Suites = time.Since(begun)
	return err
}

// command runs the suites in several processes where there is a program for it.
func (f matrixFlags) command(ctx context.Context, program, dir, report string) *exec.Cmd {
	args := []string{"--label-filter=!" + ownCluster, "--json-report=" + report, "--output-dir=" + dir}
	if f.focus != "" {
		args = append(args, "--focus="+f.focus)
	}
	runner := filepath.Join(filepath.Dir(program), ginkgoProgram)
	if _, err := os.Stat(runner); err == nil {
		args = append([]string{"run", "--procs=" + strconv.Itoa(f.procs)}, append(args, program)...)
	} else {
		runner = program
		for i, arg := range args {
			args[i] = "--ginkgo." + strings.TrimPrefix(arg, "--")
		}
	}
	return exec.CommandContext(ctx, runner, args...)
}
