package controllers

import (
	"flag"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
)

// Command is the kube-controller-manager with upstream's command line.
func Command() *cobra.Command {
	config, err := DefaultConfig()
	cmd := &cobra.Command{
		Use:           "kube-controller-manager",
		Short:         "Run the control loops of Kubernetes",
		Long:          "The controller manager runs the loops that watch the cluster's state through the API server and move it towards what is desired.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err != nil {
				return err
			}
			if err := config.Validate(); err != nil {
				return err
			}
			manager, err := New(config)
			if err != nil {
				return err
			}
			return manager.Run(cmd.Context())
		},
	}
	if err != nil {
		return cmd
	}
	config.AddFlags(cmd.Flags())
	logging := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(logging)
	for _, name := range []string{"v", "vmodule"} {
		cmd.Flags().AddGoFlag(logging.Lookup(name))
	}
	return cmd
}
