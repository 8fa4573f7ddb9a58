package main

import (
	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/framework/supervisor"
)

func faultCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "fault", Short: "Kill, pause or stop a component, or cut a machine off"}
	actions := []struct {
		action supervisor.Action
		short  string
	}{
		{supervisor.Kill, "Kill a component; it is started again"},
		{supervisor.Pause, "Stop a component in its tracks"},
		{supervisor.Resume, "Let a paused component go on"},
		{supervisor.Stop, "End a component for good"},
		{supervisor.Start, "Start a stopped component again"},
	}
	for _, a := range actions {
		cmd.AddCommand(componentFault(a.action, a.short))
	}
	cmd.AddCommand(
		linkFault("partition", "Cut a machine off from all others", false),
		linkFault("heal", "Connect a machine that was cut off", true),
	)
	return cmd
}

func componentFault(action supervisor.Action, short string) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   string(action) + " MACHINE COMPONENT",
		Short: short,
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := supervisor.Connect(name)
			if err != nil {
				return err
			}
			return client.Act(cmd.Context(), args[0], args[1], action)
		},
	}
	addName(cmd, &name)
	return cmd
}

func linkFault(use, short string, connected bool) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   use + " MACHINE",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := supervisor.Connect(name)
			if err != nil {
				return err
			}
			return client.SetConnected(cmd.Context(), args[0], connected)
		},
	}
	addName(cmd, &name)
	return cmd
}
