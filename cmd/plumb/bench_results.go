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
that was not found out.`

// benchResults is what becomes of a benchmark's results.
type benchResults struct {
	output    outputFlag
	directory string
	against   string
	baseline  contest.Report
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
	if b.directory != "" {
		if err := report.Save(b.directory); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	show := func() error { return report.WriteTable(out) }
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
