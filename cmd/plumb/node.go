package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/supervisor"
)

func nodeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Add a node to a running cluster, or remove one"}
	cmd.AddCommand(nodeAddCommand(), nodeRemoveCommand())
	return cmd
}

func nodeAddCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "add [NODE]",
		Short: "Add a node and wait until it is Ready",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := supervisor.Connect(name)
			if err != nil {
				return err
			}
			var node v1alpha1.Machine
			if len(args) > 0 {
				node.Name = args[0]
			}
			return client.AddNode(cmd.Context(), node)
		},
	}
	addName(cmd, &name)
	return cmd
}

func nodeRemoveCommand() *cobra.Command {
	var name string
	var onlyMachine bool
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "End a node's machine and remove its Node object",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := supervisor.Connect(name)
			if err != nil {
				return err
			}
			if onlyMachine {
				err = client.KillMachine(cmd.Context(), args[0])
			} else {
				err = client.RemoveNode(cmd.Context(), args[0])
			}
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "node %s is gone\n", args[0])
			}
			return err
		},
	}
	addName(cmd, &name)
	cmd.Flags().BoolVar(&onlyMachine, "keep-object", false, "end the machine alone, as a power cut would, and let the cluster notice")
	return cmd
}
