// Package matrix runs the suites on clusters of mixed descent: all components ours,
// all of them Kubernetes' own, and each one swapped by itself either way. A suite that
// fails where everything is Kubernetes' own is wrong itself; one that fails only where
// one component was swapped has found out something about that component.
package matrix

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/conformance/reference"
)

// Combination is one mixture of components.
type Combination struct {
	Name string `json:"name"`
	// Reference are the components that are Kubernetes' own; the others are ours.
	Reference []string `json:"reference"`
}

// LiveSwap is the combination in which the API server is swapped while its data stay.
const LiveSwap = "swap-kube-apiserver"

// Combinations are all that the matrix has.
func Combinations() []Combination {
	all := reference.Names()
	list := []Combination{{Name: "ours"}, {Name: "reference", Reference: all}}
	for _, name := range all {
		list = append(list, Combination{Name: "reference-" + name, Reference: []string{name}})
	}
	for _, name := range all {
		others := slices.DeleteFunc(slices.Clone(all), func(other string) bool { return other == name })
		list = append(list, Combination{Name: "ours-" + name, Reference: others})
	}
	return append(list, Combination{Name: LiveSwap})
}

// Choose picks combinations by name; no name means all of them.
func Choose(names []string) ([]Combination, error) {
	all := Combinations()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []Combination
	for _, name := range names {
		i := slices.IndexFunc(all, func(c Combination) bool { return c.Name == name })
		if i < 0 {
			var known []string
			for _, c := range all {
				known = append(known, c.Name)
			}
			return nil, fmt.Errorf("%q is no combination: choose of %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// Verdict is what a combination came to.
type Verdict struct {
	Combination
	// Boot is the time until all nodes were Ready.
	Boot time.Duration `json:"boot"`
	// Suites is the time that the suites took.
	Suites  time.Duration `json:"suites"`
	Passed  int           `json:"passed"`
	Skipped int           `json:"skipped"`
	// Failed are the names of the specs that failed.
	Failed []string `json:"failed,omitempty"`
	// Error says why the suites could not be run to their end.
	Error string `json:"error,omitempty"`
}

// OK says that the combination boots and every spec that was run passed, one at least.
func (v *Verdict) OK() bool { return v.Error == "" && len(v.Failed) == 0 && v.Passed > 0 }

// ReadReport adds what Ginkgo's JSON report in a file says.
func (v *Verdict) ReadReport(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var reports []types.Report
	if err := json.Unmarshal(data, &reports); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, report := range reports {
		v.Suites += report.RunTime
		for _, reason := range report.SpecialSuiteFailureReasons {
			v.Error = reason
		}
		for _, spec := range report.SpecReports {
			switch {
			case spec.State.Is(types.SpecStateFailureStates):
				v.Failed = append(v.Failed, spec.FullText())
			case spec.LeafNodeType != types.NodeTypeIt:
			case spec.State == types.SpecStatePassed:
				v.Passed++
			case spec.State == types.SpecStateSkipped && spec.Failure.Message != "":
				v.Skipped++ // by itself, with a reason; not by a filter
			}
		}
	}
	if v.Passed+len(v.Failed) == 0 && v.Error == "" {
		v.Error = "no spec was run"
	}
	return nil
}

// Table prints verdicts for people, with the names of what failed below.
func Table(out io.Writer, verdicts []Verdict) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "COMBINATION\tNODES READY\tPASSED\tFAILED\tSKIPPED\tSUITES TOOK\tVERDICT")
	for _, v := range verdicts {
		verdict := "ok"
		switch {
		case v.Error != "":
			verdict = v.Error
		case !v.OK():
			verdict = "failed"
		}
		fmt.Fprintf(table, "%s\t%.2fs\t%d\t%d\t%d\t%s\t%s\n", v.Name, v.Boot.Seconds(), v.Passed, len(v.Failed), v.Skipped, v.Suites.Round(time.Second), verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, v := range verdicts {
		for _, name := range v.Failed {
			if _, err := fmt.Fprintf(out, "%s failed: %s\n", v.Name, name); err != nil {
				return err
			}
		}
	}
	return nil
}
