package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/framework/doctor"
)

func doctorCommand() *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine whether this host can run clusters, and say what to do if not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := doctor.Examine(cmd.Context(), "/proc/self/exe")
			failed := false
			for _, f := range findings {
				failed = failed || f.Verdict == doctor.Failed
				if output.json() {
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-8s %-20s %s\n", f.Verdict, f.Name, f.Detail)
				if f.Remedy != "" {
					fmt.Fprintf(cmd.OutOrStdout(), "%-8s %-20s → %s\n", "", "", f.Remedy)
				}
			}
			if output.json() {
				if err := printJSON(cmd.OutOrStdout(), findings); err != nil {
					return err
				}
			}
			if failed {
				return exitStatus(1)
			}
			return nil
		},
	}
	output.add(cmd.Flags())
	return cmd
}
