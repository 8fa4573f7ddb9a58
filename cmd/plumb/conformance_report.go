package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/report"
	"github.com/plumbline/plumbline/conformance/session"
	"github.com/plumbline/plumbline/conformance/status"
)

func conformanceReportCommand() *cobra.Command {
	var into string
	cmd := &cobra.Command{
		Use:   "report RUN [RUN...]",
		Short: "Write the report of a run anew, or one report of several shards",
		Example: `  plumb conformance report artifacts/conformance/20261123-101500
  plumb conformance report shard-1 shard-2 --into whole`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if into == "" {
				if len(args) > 1 {
					return errors.New("--into: name a directory for the report of several shards")
				}
				into = args[0]
			}
			var plans []journal.Plan
			var records [][]journal.Record
			for _, dir := range args {
				plan, some, err := journal.Load(dir)
				if err != nil {
					return err
				}
				plans, records = append(plans, plan), append(records, some)
			}
			plan, all, err := journal.Merge(plans, records)
			if err != nil {
				return err
			}
			results, err := session.Report(into, plan, all)
			if err != nil {
				return err
			}
			report.Summarize(cmd.OutOrStdout(), results)
			if len(args) > 1 && results.Shard != (catalogue.Shard{Index: 1, Of: 1}).String() {
				fmt.Fprintf(cmd.ErrOrStderr(), "these are shards %s: not the whole run\n", results.Shard)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&into, "into", "", "directory for the report (default: the run's own)")
	return cmd
}

func conformanceStatusCommand() *cobra.Command {
	var reasonsPath, out string
	cmd := &cobra.Command{
		Use:   "status RUN",
		Short: "Write the page that shows where our components stand, from a run of all behaviours",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			results, err := report.Read(filepath.Join(args[0], report.ResultsFile))
			if err != nil {
				return err
			}
			reasons, err := status.ReadReasons(reasonsPath)
			if err != nil {
				return err
			}
			for _, stale := range reasons.Stale(results) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %q does not fail any more: strike the reason\n", reasonsPath, stale)
			}
			page, err := status.Page(results, reasons)
			if err != nil {
				return err
			}
			return journal.WriteFile(out, []byte(page))
		},
	}
	cmd.Flags().StringVar(&reasonsPath, "reasons", "conformance/reasons.yaml", "file with the reasons for failures")
	cmd.Flags().StringVar(&out, "out", "conformance/STATUS.md", "page to write")
	return cmd
}
