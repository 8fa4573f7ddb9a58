package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/plumbline/plumbline/conformance/reference"
	"github.com/plumbline/plumbline/framework/bench"
)

func benchCommand() *cobra.Command {
	var results benchResults
	var contenders []string
	floor := -1
	config := bench.Config{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure boot, memory and pod start-up",
		Long: `Boots one cluster after the other and measures, in seconds after the command: machines up, API
answering, nodes Ready, a first application running, DNS answering; what each component holds in
memory when idle; a Deployment from its creation to all pods Ready; single pods from their creation
until a watch shows them Running, one by one and many at once, their image being present.

Contenders take turns, and what is said of two is their ratio: of our components to Kubernetes' own,
or of one build of plumb to another.

` + exitCodes,
		Example: `  plumb bench
  plumb bench --contender ours --contender reference --runs 5
  plumb bench --contender ours --contender before=../before/bin/plumb`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := results.readBaseline(); err != nil {
				return err
			}
			log.SetLogger(klog.Background()) // for controller-runtime's client
			screen := newScreen(cmd, results.output)
			defer screen.clear()
			for _, value := range contenders {
				c, err := clusterContender(cmd.Context(), value, screen.step)
				if err != nil {
					return fmt.Errorf("--contender %s: %w", value, err)
				}
				config.Contenders = append(config.Contenders, c)
			}
			config.FloorRuns = floorRuns(floor, len(contenders), config.Runs)
			config.Progress = screen.step
			report, err := bench.Run(cmd.Context(), config)
			screen.clear()
			if err != nil {
				// What was measured until then is not lost.
				return errors.Join(err, results.keep(report))
			}
			return results.tell(cmd.OutOrStdout(), report)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&contenders, "contender", []string{ours}, "ours, reference (all of Kubernetes' own components), or [NAME=]PATH of a plumb program; may be given several times")
	flags.StringVar(&config.Name, "name", "bench", "name of the clusters")
	flags.IntVar(&config.Runs, "runs", 5, "number of clusters that each contender boots")
	flags.IntVar(&floor, "floor-runs", -1, floorRunsUsage)
	flags.IntVar(&config.Nodes, "nodes", 2, "nodes of each")
	flags.IntVar(&config.Replicas, "replicas", 10, "pods of the Deployment")
	flags.IntVar(&config.OneByOne, "pods", 100, "pods to start one by one")
	flags.IntVar(&config.AtOnce, "burst", 30, "pods to start at once")
	flags.DurationVar(&config.Settle, "settle", 15*time.Second, "how long to leave a cluster alone before its memory is read")
	results.add(flags)
	cmd.AddCommand(benchSchedulerCommand())
	return cmd
}

// clusterContender is what a value of --contender stands for where clusters are
// measured.
func clusterContender(ctx context.Context, value string, progress func(string)) (bench.Contender, error) {
	const this = "/proc/self/exe"
	switch value {
	case ours:
		return bench.Contender{Name: ours, Program: this}, nil
	case referenceAlone:
		// They are built before anything is timed.
		for _, name := range reference.Names() {
			if _, err := reference.Component(ctx, name, progress); err != nil {
				return bench.Contender{}, err
			}
		}
		return bench.Contender{Name: referenceAlone, Program: this, Flags: []string{"--reference", reference.All}}, nil
	}
	name, path, named := strings.Cut(value, "=")
	if !named {
		name, path = filepath.Base(value), value
	}
	program, err := exec.LookPath(path)
	if err != nil {
		return bench.Contender{}, fmt.Errorf("it is neither %s nor %s, and as a program: %w", ours, referenceAlone, err)
	}
	program, err = filepath.Abs(program)
	return bench.Contender{Name: name, Program: program, Dir: filepath.Dir(program)}, err
}
