package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/plumbline/plumbline/framework/bench/contest"
)

// exitCodes is what the help of a benchmark says of them.
const exitCodes = `With --against the exit code is 0 if nothing is worse than in the baseline, 2 if something is, and 1 if
that was not found out: figures that cannot be compared, intervals that do not even exclude twice as bad.`

// leastForInterval is how many runs say anything about noise.
const leastForInterval = 3

// floorRunsUsage is what the help of a benchmark says of --floor-runs.
const floorRunsUsage = "runs of the first contender against itself, on either side, for the machine's noise; -1 is as many as --runs where contenders are compared by 3 or more"

// floorRuns is how many runs the noise floor takes, as --floor-runs has it.
func floorRuns(asked, contenders, runs int) int {
	switch {
	case asked >= 0:
		return asked
	case contenders > 1 && runs >= leastForInterval:
		return runs
	}
	return 0
}

// benchResults is what becomes of a benchmark's results.
type benchResults struct {
	output    outputFlag
	directory string
	against   string
	baseline  contest.Report
	// hide says which figures are left out of the table for people; it may be nil.
	hide func(contest.What) bool
}

func (b *benchResults) add(flags *pflag.FlagSet) {
	flags.StringVar(&b.directory, "out", "", "directory to keep results.json, perfdash.json and charts in")
	flags.StringVar(&b.against, "against", "", "earlier results, as of -o json or --out, to judge by")
	b.output.add(flags)
}

// readBaseline comes before anything is measured: who gave a wrong file is told at once.
func (b *benchResults) readBaseline() error {
	if b.against == "" {
		return nil
	}
	file, err := os.Open(b.against)
	if err != nil {
		return fmt.Errorf("--against: %w", err)
	}
	defer file.Close()
	if b.baseline, err = contest.Read(file); err != nil {
		return fmt.Errorf("--against %s: %w", b.against, err)
	}
	return nil
}

// tell judges the results, keeps them and shows them. What it returns is this
// program's exit code, if it is not 0.
func (b *benchResults) tell(out io.Writer, report contest.Report) error {
	if b.against != "" {
		if err := report.Against(b.baseline); err != nil {
			return fmt.Errorf("--against %s: %w", b.against, err)
		}
	}
	if err := b.keep(report); err != nil {
		return err
	}
	show := func() error {
		shown := report
		if b.hide != nil {
			shown = report.Without(b.hide)
		}
		return shown.WriteTable(out)
	}
	if b.output.json() {
		show = func() error { return printJSON(out, report) }
	}
	if err := show(); err != nil {
		return err
	}
	if code := report.ExitCode(); code != 0 {
		return exitStatus(code)
	}
	return nil
}

// keep writes the results into a directory, if one is named.
func (b *benchResults) keep(report contest.Report) error {
	if b.directory == "" || len(report.Results) == 0 {
		return nil
	}
	if err := report.Save(b.directory); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}
