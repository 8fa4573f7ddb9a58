package main

import (
	"time"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/plumbline/plumbline/framework/bench"
)

func benchCommand() *cobra.Command {
	var results benchResults
	config := bench.Config{Program: "/proc/self/exe"}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure boot, memory and pod start-up",
		Long: `Boots one cluster after the other and measures, in seconds after the command: machines up, API
answering, nodes Ready, a first application running, DNS answering; what each component holds in
memory when idle; a Deployment from its creation to all pods Ready; single pods from their creation
until a watch shows them Running, one by one and many at once, their image being present.

` + exitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := results.readBaseline(); err != nil {
				return err
			}
			log.SetLogger(klog.Background()) // for controller-runtime's client
			screen := newScreen(cmd, results.output)
			config.Progress = screen.step
			report, err := bench.Run(cmd.Context(), config)
			screen.clear()
			if err != nil {
				return err
			}
			return results.tell(cmd.OutOrStdout(), report)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config.Name, "name", "bench", "name of the clusters")
	flags.IntVar(&config.Runs, "runs", 5, "number of clusters to boot")
	flags.IntVar(&config.Nodes, "nodes", 2, "nodes of each")
	flags.IntVar(&config.Replicas, "replicas", 10, "pods of the Deployment")
	flags.IntVar(&config.OneByOne, "pods", 100, "pods to start one by one")
	flags.IntVar(&config.AtOnce, "burst", 30, "pods to start at once")
	flags.DurationVar(&config.Settle, "settle", 15*time.Second, "how long to leave a cluster alone before its memory is read")
	results.add(flags)
	cmd.AddCommand(benchSchedulerCommand())
	return cmd
}
