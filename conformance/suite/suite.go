// Package suite knows a compiled Ginkgo suite from outside: how it is started, and which
// specs it holds in which order.
package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/framework/cache"
)

// seed makes every process of a suite order its specs alike, today and tomorrow.
const seed = 1

// Program is a compiled suite.
type Program struct {
	// Path is the executable.
	Path string
	// Args are what it is told besides Ginkgo's own flags: where the cluster is.
	Args []string
	// Env is its environment; nil means this process's.
	Env []string
}

// Flags are Ginkgo's flags that every start of the program has: the order of specs,
// and no limit for the whole, which Ginkgo would set at an hour.
func (p Program) Flags() []string {
	return []string{"--ginkgo.seed=" + strconv.Itoa(seed), "--ginkgo.timeout=240h", "--ginkgo.no-color"}
}

// Spec is one spec of a suite.
type Spec struct {
	// Name is the text of the spec and of the containers around it.
	Name string `json:"name"`
	// Labels are Ginkgo's, without doubles.
	Labels []string `json:"labels,omitempty"`
	// File is where the spec's text stands.
	File string `json:"file,omitempty"`
	// Serial specs run while no other does.
	Serial bool `json:"serial,omitempty"`
	// Index is the turn that a process gives this spec to when it asks for turns. Specs
	// that Ginkgo knows to be serial have -1: a process takes them in its own order.
	Index int `json:"index"`
}

// Listing is everything a suite holds, in its order.
type Listing struct {
	Description string `json:"description"`
	Specs       []Spec `json:"specs"`
}

// List asks the program for its specs.
func (p Program) List(ctx context.Context, store cache.Store) (*Listing, error) {
	data, err := p.once(ctx, store, "listing 4", func(ctx context.Context, dir string) ([]byte, error) {
		listing, err := p.ask(ctx, dir)
		if err != nil {
			return nil, err
		}
		return json.Marshal(listing)
	})
	if err != nil {
		return nil, err
	}
	var listing Listing
	if err := json.Unmarshal(data, &listing); err != nil {
		return nil, fmt.Errorf("the kept listing of %s: %w", p.Path, err)
	}
	return &listing, nil
}

// Answer is what the program prints when it is given a flag that makes it print
// something about itself and end.
func (p Program) Answer(ctx context.Context, store cache.Store, flag string) ([]byte, error) {
	return p.once(ctx, store, "answer to "+flag, func(ctx context.Context, dir string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, p.Path, flag)
		cmd.Env, cmd.Dir = p.Env, dir
		var failure strings.Builder
		cmd.Stderr = &failure
		output, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w\n%s", p.Path, flag, err, lastLines(failure.String(), 5))
		}
		return output, nil
	})
}

// once keeps an answer of the program in the store, because a large suite takes seconds
// to give it. A program that was built anew is another one; to read all of it in order to
// know it again would take as long as asking.
func (p Program) once(ctx context.Context, store cache.Store, what string, make func(context.Context, string) ([]byte, error)) ([]byte, error) {
	path, err := filepath.EvalSymlinks(p.Path)
	if err != nil {
		return nil, fmt.Errorf("the suite: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the suite: %w", err)
	}
	key := cache.NewKey().Add(what, seed, path, info.Size(), info.ModTime().UnixNano())
	const file = "answer"
	dir, err := store.Ensure(ctx, cache.Entry{Kind: "suites", Key: key.String()}, func(ctx context.Context, dir string) error {
		data, err := make(ctx, dir)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, file), data, 0o644)
	})
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, file))
}

// ask runs every spec dry, which reports all of them and touches no cluster.
func (p Program) ask(ctx context.Context, dir string) (*Listing, error) {
	report := filepath.Join(dir, "report.json")
	defer os.Remove(report)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	args := append(p.Flags(), "--ginkgo.dry-run", "--ginkgo.succinct", "--ginkgo.focus=.", "--ginkgo.json-report="+report)
	cmd := exec.CommandContext(ctx, p.Path, append(args, p.Args...)...)
	cmd.Env, cmd.Dir = p.Env, dir
	output, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s does not list its specs: %w\n%s", p.Path, err, lastLines(string(output), 5))
	}
	data, err := os.ReadFile(report)
	if err != nil {
		return nil, fmt.Errorf("%s left no listing of its specs: %w", p.Path, err)
	}
	var reports []types.Report
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, fmt.Errorf("the listing of %s: %w", p.Path, err)
	}
	if len(reports) != 1 {
		return nil, fmt.Errorf("%s holds %d suites; one is expected", p.Path, len(reports))
	}
	return listing(reports[0])
}

// listing reads a report of a dry run. Turns are counted as a parallel process counts
// them: serial specs have none.
func listing(report types.Report) (*Listing, error) {
	l := &Listing{Description: report.SuiteDescription}
	seen, turn := map[string]bool{}, 0
	for _, r := range report.SpecReports {
		if r.LeafNodeType != types.NodeTypeIt {
			continue
		}
		if r.IsInOrderedContainer && !r.IsSerial {
			return nil, fmt.Errorf("spec %q is in an ordered container that is not serial: its turn cannot be told apart from its neighbours'", Name(r))
		}
		spec := Spec{Name: Name(r), Labels: r.Labels(), File: r.LeafNodeLocation.FileName, Index: -1}
		// Reports of older Ginkgos, such as upstream's, do not tell; upstream labels what
		// it decorates.
		marked := r.IsSerial || slices.Contains(spec.Labels, "Serial")
		spec.Serial = marked || strings.Contains(spec.Name, "[Disruptive]") || strings.Contains(spec.Name, "[Serial]")
		if !marked {
			spec.Index = turn
			turn++
		}
		// A name that two specs share names neither. Only the first is kept, so that
		// later turns stay right.
		if !seen[spec.Name] {
			seen[spec.Name] = true
			l.Specs = append(l.Specs, spec)
		}
	}
	if len(l.Specs) == 0 {
		return nil, errors.New("the suite holds no specs")
	}
	return l, nil
}

// Name is a spec's name, from its report.
func Name(r types.SpecReport) string { return strings.TrimSpace(r.FullText()) }

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Pattern is a regular expression for Ginkgo that this spec's name alone matches.
func Pattern(description, name string) string {
	return "^" + regexp.QuoteMeta(description+" "+name) + "$"
}
