package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/framework/supervisor"
)

func listCommand() *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the clusters that run on this host",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, err := supervisor.List()
			if err != nil {
				return err
			}
			if output.json() {
				return printJSON(cmd.OutOrStdout(), append([]string{}, names...))
			}
			for _, name := range names {
				fmt.Fprintln(cmd.OutOrStdout(), name)
			}
			return nil
		},
	}
	output.add(cmd.Flags())
	return cmd
}

func statusCommand() *cobra.Command {
	var name string
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a cluster's machines and components",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := supervisor.Connect(name)
			if err != nil {
				return err
			}
			status, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if output.json() {
				return printJSON(cmd.OutOrStdout(), status)
			}
			return printStatus(cmd.OutOrStdout(), status)
		},
	}
	addName(cmd, &name)
	output.add(cmd.Flags())
	return cmd
}

func printStatus(w io.Writer, s *supervisor.Status) error {
	fmt.Fprintf(w, "cluster %s, up since %s, %s\n", s.Name, s.Since.Format(time.DateTime), s.Server)
	if s.Failure != "" {
		fmt.Fprintf(w, "it did not boot: %s\n", s.Failure)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MACHINE\tADDRESS\tREADY\tCOMPONENT\tSTATE\tRESTARTS\tRESIDENT\tSHARED OUT\tANONYMOUS")
	for _, m := range s.Machines {
		for _, c := range m.Components {
			resident, proportional, anonymous := "-", "-", "-"
			if c.Memory != nil {
				resident, proportional, anonymous = mebibytes(c.Memory.Resident), mebibytes(c.Memory.Proportional), mebibytes(c.Memory.Anonymous)
			}
			ready := m.Ready
			if ready == "" {
				ready = "-"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", m.Name, m.Address, ready, c.Name, c.State, c.Restarts, resident, proportional, anonymous)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if s.Hollow != nil {
		fmt.Fprintf(w, "hollow nodes: %d, %d of them Ready\n", s.Hollow.Nodes, s.Hollow.Ready)
	}
	for _, trouble := range s.Troubles {
		fmt.Fprintf(w, "trouble: %s\n", trouble)
	}
	return nil
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }

func kubeconfigCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print a cluster's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := kubeconfigOf(cmd, name)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
	addName(cmd, &name)
	return cmd
}

// kubeconfigOf is the path of a running cluster's kubeconfig.
func kubeconfigOf(cmd *cobra.Command, name string) (string, error) {
	client, err := supervisor.Connect(name)
	if err != nil {
		return "", err
	}
	return client.Kubeconfig(), nil
}
