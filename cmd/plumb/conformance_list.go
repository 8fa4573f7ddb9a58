package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/session"
	"github.com/plumbline/plumbline/framework/cache"
)

func conformanceListCommand() *cobra.Command {
	var suites suiteFlags
	var focus []string
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List behaviours, ours and upstream's, with what they promise and judge",
		Example: `  plumb conformance list --focus kube-proxy
  plumb conformance list --suite plumbline -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := cache.Default()
			if err != nil {
				return err
			}
			var all []catalogue.Behaviour
			for _, kind := range suites.kinds(cmd) {
				suites.kind = kind
				path, err := suites.find(cmd)
				if err != nil {
					return err
				}
				some, _, err := session.Catalogue(cmd.Context(), kind, path, store)
				if err != nil {
					return err
				}
				all = append(all, some...)
			}
			chosen, err := catalogue.Focus(all, focus)
			if err != nil {
				return err
			}
			if output.json() {
				return printJSON(cmd.OutOrStdout(), chosen)
			}
			return printBehaviours(cmd.OutOrStdout(), chosen)
		},
	}
	suites.add(cmd.Flags())
	cmd.Flags().StringArrayVar(&focus, "focus", nil, "only behaviours of this area, component, id, or that match this regular expression; may be given several times")
	output.add(cmd.Flags())
	return cmd
}

func printBehaviours(w io.Writer, behaviours []catalogue.Behaviour) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "AREA\tJUDGES\tBEHAVIOUR")
	for _, b := range behaviours {
		fmt.Fprintf(table, "%s\t%s\t%s\n", b.Area, strings.Join(b.Components, ","), b.ID)
	}
	return table.Flush()
}
