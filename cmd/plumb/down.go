package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/supervisor"
)

func downCommand() *cobra.Command {
	var name string
	var all bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End a cluster and remove everything of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// What a killed owner left behind goes on the way.
			swept, err := cluster.Sweep()
			if err != nil {
				return err
			}
			for _, name := range swept {
				fmt.Fprintf(cmd.ErrOrStderr(), "swept what cluster %s had left behind\n", name)
			}
			if slices.Contains(swept, name) {
				return nil
			}
			names := []string{name}
			if all {
				if names, err = supervisor.List(); err != nil {
					return err
				}
			}
			var errs []error
			for _, name := range names {
				errs = append(errs, down(cmd, name))
			}
			return errors.Join(errs...)
		},
	}
	addName(cmd, &name)
	cmd.Flags().BoolVar(&all, "all", false, "end all clusters")
	return cmd
}

func down(cmd *cobra.Command, name string) error {
	client, err := supervisor.Connect(name)
	if err != nil {
		return err
	}
	if err := client.Down(cmd.Context()); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "cluster %s is gone\n", client.Name())
	return nil
}

// addName adds the flag that picks a cluster.
func addName(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "name", "", "name of the cluster (default: the only one, or \"default\")")
}
