package scheduler

import (
	"flag"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/scheduler/runtime"
)

// Command is kube-scheduler with upstream's command line. Further plugins can be compiled in.
func Command(plugins ...runtime.Registry) *cobra.Command {
	var given flags
	config, err := DefaultConfig()
	cmd := &cobra.Command{
		Use:           "kube-scheduler",
		Short:         "Choose nodes for pods",
		Long:          "The scheduler watches for pods without a node, chooses the node that suits each best, and binds it there.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err != nil {
				return err
			}
			if err := given.apply(cmd.Flags(), config); err != nil {
				return err
			}
			config.Plugins = runtime.Registry{}
			for _, registry := range plugins {
				for name, factory := range registry {
					config.Plugins[name] = factory
				}
			}
			if err := config.Validate(); err != nil {
				return err
			}
			return Run(cmd.Context(), config)
		},
	}
	if err != nil {
		return cmd
	}
	given.register(cmd.Flags(), config)
	logging := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(logging)
	for _, name := range []string{"v", "vmodule"} {
		cmd.Flags().AddGoFlag(logging.Lookup(name))
	}
	return cmd
}
