package main

import (
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/conformance/differential"
)

type cycleFlags struct {
	differentialFlags
	nodes  []int
	rounds int
	only   string
}

func differentialCycleCommand() *cobra.Command {
	f := cycleFlags{}
	cmd := &cobra.Command{
		Use:   "cycle",
		Short: "Compare how fast our scheduler and Kubernetes' own schedule, without an API server",
		Long: `Schedule the same pods with our scheduler and with Kubernetes' own, by turns, each pod from its entering
the queue to its binding, which is accepted at once. The workloads are those of scheduler_perf in which the
scheduler computes most. Times are medians of the rounds, a pod; ratios are theirs divided by ours.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.IntSliceVar(&f.nodes, "nodes", []int{500, 5000}, "sizes of the cluster")
	flags.IntVar(&f.pods, "pods", 1000, "pods to measure; half as many run before")
	flags.IntVar(&f.rounds, "rounds", 3, "rounds")
	flags.StringVar(&f.only, "workload", "", "this workload only")
	flags.StringVar(&f.theirs, "against", "", "another program that speaks the protocol, in the place of Kubernetes' own scheduler")
	return cmd
}

func (f *cycleFlags) run(cmd *cobra.Command) (err error) {
	if f.pods < 2 || f.rounds < 1 {
		return fmt.Errorf("--pods must be at least 2 and --rounds 1: they are %d and %d", f.pods, f.rounds)
	}
	workloads := differential.Workloads()
	if f.only != "" {
		workloads = slices.DeleteFunc(workloads, func(w differential.Workload) bool { return w.Name != f.only })
		if len(workloads) == 0 {
			return fmt.Errorf("--workload: unknown workload %q", f.only)
		}
	}
	screen := newScreen(cmd, outputFlag{})
	defer screen.clear()
	against, err := f.program(cmd.Context(), screen.step)
	if err != nil {
		return err
	}
	ours, err := differential.Start(cmd.Context(), "/proc/self/exe", verdictsCommand().Name())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.Close()) }()
	theirs, err := differential.Start(cmd.Context(), against)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, theirs.Close()) }()
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "workload\tnodes\tours µs\ttheirs µs\tratio\tours CPU µs\ttheirs CPU µs\tratio\t")
	for _, w := range workloads {
		for _, nodes := range f.nodes {
			screen.step(fmt.Sprintf("%s, %d nodes", w.Name, nodes))
			rounds, err := differential.Measure(cmd.Context(), ours, theirs, w, differential.Size{Nodes: nodes, Pods: min(f.pods, nodes/2), Rounds: f.rounds})
			if err != nil {
				return err
			}
			micro := func(of func(differential.Round) float64) float64 {
				var list []float64
				for _, r := range rounds {
					list = append(list, of(r)*1e6/float64(min(f.pods, nodes/2)))
				}
				slices.Sort(list)
				return list[len(list)/2]
			}
			a, b := micro(func(r differential.Round) float64 { return r.Ours.Seconds }), micro(func(r differential.Round) float64 { return r.Theirs.Seconds })
			c, d := micro(func(r differential.Round) float64 { return r.Ours.CPU }), micro(func(r differential.Round) float64 { return r.Theirs.CPU })
			fmt.Fprintf(table, "%s\t%d\t%.0f\t%.0f\t%.1f\t%.0f\t%.0f\t%.1f\t\n", w.Name, nodes, a, b, b/a, c, d, d/c)
		}
	}
	screen.clear()
	return table.Flush()
}
