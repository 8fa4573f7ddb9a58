package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/conformance/differential"
	"github.com/plumbline/plumbline/conformance/reference"
)

// shownDifferences is how many differences are told in full.
const shownDifferences = 10

type differentialFlags struct {
	pods   int
	seed   uint64
	theirs string
	record string
}

func differentialCommand() *cobra.Command {
	var f differentialFlags
	cmd := &cobra.Command{
		Use:   "differential",
		Short: "Compare our scheduler with Kubernetes' own over random clusters and pods",
		Long: `Give the same random clusters and pods to our scheduler and to Kubernetes' own, and compare, pod by
pod, which nodes do, why the others do not, and how every plugin scores those that do. Each pod is placed
before the next, while other pods and nodes come, go and change. Kubernetes' side is a program in
conformance/upstream; it is built first where the cache lacks it.`,
		Example: `  plumb differential --pods 20000
  plumb differential --seed 4711 --pods 25`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.pods, "pods", 20000, "pods to compare")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the first cluster; 0 takes a fresh one")
	flags.StringVar(&f.theirs, "against", "", "another program that speaks the protocol, in the place of Kubernetes' own scheduler")
	flags.StringVar(&f.record, "record", "", "write all requests and Kubernetes' verdicts to this file, for our scheduler's unit test")
	cmd.AddCommand(differentialCycleCommand())
	return cmd
}

func (f *differentialFlags) run(cmd *cobra.Command) (err error) {
	if f.pods < 1 {
		return fmt.Errorf("--pods must be at least 1: it is %d", f.pods)
	}
	if f.seed == 0 {
		f.seed = uint64(time.Now().UnixNano())
	}
	ctx := cmd.Context()
	screen := newScreen(cmd, outputFlag{})
	defer screen.clear()
	against, err := f.program(ctx, screen.step)
	if err != nil {
		return err
	}
	ours, err := differential.Start(ctx, "/proc/self/exe", verdictsCommand().Name())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.Close()) }()
	program, err := differential.Start(ctx, against)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, program.Close()) }()
	var theirs differential.Contender = program
	if f.record != "" {
		file, err := os.Create(f.record)
		if err != nil {
			return fmt.Errorf("--record: %w", err)
		}
		recording := differential.NewRecording(file, program)
		defer func() { err = errors.Join(err, recording.Close(), file.Close()) }()
		theirs = recording
	}
	screen.step(fmt.Sprintf("%d pods, seed %d", f.pods, f.seed))
	result, err := differential.Run(ctx, ours, theirs, f.seed, f.pods)
	screen.clear()
	if err != nil {
		return err
	}
	for i, difference := range result.Differences {
		if i < shownDifferences {
			fmt.Fprintln(cmd.OutOrStdout(), difference)
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "seed %d: %d pods in %d clusters, %d of them placed, %d pairs of pod and node compared: %d differences\n",
		f.seed, result.Pods, result.Cases, result.Placed, result.Choices, len(result.Differences))
	if len(result.Differences) > 0 {
		return exitStatus(1)
	}
	return nil
}

// program is the other side.
func (f *differentialFlags) program(ctx context.Context, progress func(string)) (string, error) {
	if f.theirs != "" {
		return f.theirs, nil
	}
	set, err := reference.Build(ctx, reference.Verdict(), progress)
	return set.Path(reference.VerdictProgram), err
}
