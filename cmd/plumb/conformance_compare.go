package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/compare"
	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/report"
	"github.com/plumbline/plumbline/conformance/session"
	"github.com/plumbline/plumbline/framework/cache"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

func conformanceCompareCommand() *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "compare BASELINE CANDIDATE",
		Short: "Show what changed between two runs",
		Long:  "Shows what changed between two runs, given as directories or as results.json. Ends with 2 if something holds no longer.",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var sides [2]report.Results
			for i, path := range args {
				var err error
				if sides[i], err = readResults(path); err != nil {
					return err
				}
			}
			if sides[0].Suite != sides[1].Suite {
				return fmt.Errorf("%s is of suite %s and %s of %s: they have no behaviour in common", args[0], sides[0].Suite, args[1], sides[1].Suite)
			}
			return tellDifference(cmd, output, compare.Compare(sides[0].Results, sides[1].Results))
		},
	}
	output.add(cmd.Flags())
	return cmd
}

// readResults reads the results of a run's directory, or from the file itself.
func readResults(path string) (report.Results, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, report.ResultsFile)
	}
	return report.Read(path)
}

func tellDifference(cmd *cobra.Command, output outputFlag, d compare.Difference) error {
	if output.json() {
		if err := printJSON(cmd.OutOrStdout(), d); err != nil {
			return err
		}
	} else {
		compare.Print(cmd.OutOrStdout(), d)
	}
	if d.Worse() {
		return statusBroken
	}
	return nil
}

// comparison is a component's, or several, with ours.
type comparison struct {
	flags *conformanceFlags
	// programs are the candidates' by component.
	programs map[string]string
	// suites are the paths of the compiled suites, parts what is run of each.
	suites map[string]string
	parts  []catalogue.Part
	dir    string
}

// compare runs what judges the components on our cluster and on the candidate's.
func (f *conformanceFlags) compare(cmd *cobra.Command) error {
	c, err := f.comparison(cmd)
	if err != nil {
		return err
	}
	kinds := f.suite.kinds(cmd)
	var baseline []report.Result
	if f.baseline != "" {
		results, err := readResults(f.baseline)
		if err != nil {
			return err
		}
		if results.Shard != "1/1" {
			return fmt.Errorf("--baseline %s is shard %s of a run", f.baseline, results.Shard)
		}
		baseline, kinds = results.Results, []string{results.Suite}
	}
	if err := c.choose(cmd, kinds...); err != nil {
		return err
	}
	if f.baseline == "" {
		if baseline, err = c.side(cmd, "baseline", nil); err != nil {
			return err
		}
	}
	candidate, err := c.side(cmd, "candidate", c.programs)
	if err != nil {
		return err
	}
	difference := compare.Compare(baseline, candidate)
	if f.baseline != "" {
		difference.OnlyBaseline = nil // the rest of it judges other components
	}
	if err := journal.WriteJSON(filepath.Join(c.dir, "difference.json"), difference); err != nil {
		return err
	}
	return tellDifference(cmd, f.output, difference)
}

func (f *conformanceFlags) comparison(cmd *cobra.Command) (*comparison, error) {
	for _, name := range []string{"name", "kubeconfig", "resume", "shard", "clusters", "reference", "in-cluster"} {
		if cmd.Flags().Changed(name) {
			return nil, fmt.Errorf("--component and --%s exclude each other: a comparison boots its own clusters and runs everything that judges the component", name)
		}
	}
	// A difference that does not show again is noise, not a difference.
	if !cmd.Flags().Changed("retries") {
		f.retries = 1
	}
	dir, err := f.directory(cmd)
	if err != nil {
		return nil, err
	}
	c := &comparison{flags: f, programs: map[string]string{}, suites: map[string]string{}, dir: dir}
	for _, swap := range f.components {
		name, path, ok := strings.Cut(swap, "=")
		if !ok || path == "" {
			return nil, fmt.Errorf("--component: %q is not NAME=PATH", swap)
		}
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("--component %s: %w", name, err)
		}
		c.programs[name] = absolute
	}
	description := c.description(c.programs)
	return c, description.Validate()
}

// choose looks, before anything is booted, for the suites and for what of them judges the
// components.
func (c *comparison) choose(cmd *cobra.Command, kinds ...string) error {
	store, err := cache.Default()
	if err != nil {
		return err
	}
	var all []catalogue.Behaviour
	for _, kind := range kinds {
		if c.suites[kind], err = (&suiteFlags{kind: kind, path: c.flags.suite.path}).find(cmd); err != nil {
			return err
		}
		some, _, err := session.Catalogue(cmd.Context(), kind, c.suites[kind], store)
		if err != nil {
			return err
		}
		all = append(all, some...)
	}
	c.parts, err = catalogue.Parts(all, c.flags.focus, slices.Sorted(maps.Keys(c.programs)))
	return err
}

func (c *comparison) description(programs map[string]string) *v1alpha1.Cluster {
	description := descriptionForRun(c.flags.target.nodes)
	description.Spec.Components = map[string]v1alpha1.Component{}
	for name, path := range programs {
		description.Spec.Components[name] = v1alpha1.Component{Program: path}
	}
	return description
}

// side boots one side's cluster and runs what judges the components.
func (c *comparison) side(cmd *cobra.Command, side string, programs map[string]string) ([]report.Result, error) {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s:\n", side)
	target, done, err := bootForRun(cmd, c.description(programs), "the "+side+" of a comparison")
	if err != nil {
		return nil, fmt.Errorf("the cluster of the %s does not boot: %w", side, err)
	}
	defer done()
	var all []report.Result
	for _, part := range c.parts {
		f := *c.flags
		f.suite.kind, f.suite.path = part.Suite, c.suites[part.Suite]
		s, err := f.session(cmd, []session.Target{target}, filepath.Join(c.dir, side, part.Suite))
		if err != nil {
			return nil, err
		}
		s.Choice.Focus, s.Choice.Components = part.Focus, slices.Sorted(maps.Keys(c.programs))
		results, err := s.Run(cmd.Context())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("the %s of %s's behaviours", side, part.Suite), err)
		}
		all = append(all, results.Results...)
	}
	return all, nil
}
