package main

import (
	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/components/scheduler/verdict"
)

// verdictsCommand is our side of the comparison of schedulers, which asks any program that speaks its protocol.
func verdictsCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "scheduler-verdicts",
		Short:  "Say what our scheduler thinks of pods and nodes: requests and answers are lines of JSON",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return verdict.Serve(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
