package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/conformance/catalogue"
)

// Plan is what a run set out to do; with the journal beside it, everything there is to
// say of the run follows.
type Plan struct {
	// Suite is catalogue.Kubernetes or catalogue.Plumbline, Description its own name for
	// itself, Version what it reports, and Specs how many it holds, chosen or not.
	Suite       string `json:"suite"`
	Description string `json:"description"`
	Version     string `json:"version,omitempty"`
	Specs       int    `json:"specs"`
	// Cluster says which cluster it is, in words, Clusters how many that are alike, and
	// Server the version that its API server reports.
	Cluster  string `json:"cluster"`
	Clusters int    `json:"clusters"`
	Server   string `json:"server"`
	// Focus and Shard say how the behaviours were chosen.
	Focus   []string `json:"focus,omitempty"`
	Shard   string   `json:"shard,omitempty"`
	Procs   int      `json:"procs"`
	Retries int      `json:"retries"`
	// Started is when the first session began.
	Started time.Time `json:"started"`
	// Behaviours are those that were chosen.
	Behaviours []catalogue.Behaviour `json:"behaviours"`
}

// The files of a run's directory.
const (
	planFile    = "plan.json"
	journalFile = "journal.jsonl"
)

// Begin makes a directory for a new run. A directory that holds a run already is refused.
func Begin(dir string, plan Plan) (*Journal, error) {
	if _, err := os.Stat(filepath.Join(dir, planFile)); err == nil {
		return nil, fmt.Errorf("%s holds a run already: resume it with --resume=%s, or name another directory", dir, dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := WriteJSON(filepath.Join(dir, planFile), plan); err != nil {
		return nil, err
	}
	return Open(filepath.Join(dir, journalFile))
}

// Load reads a run's plan and what is known of it so far.
func Load(dir string) (Plan, []Record, error) {
	plan, err := readPlan(dir)
	if err != nil {
		return Plan{}, nil, err
	}
	records, err := Read(filepath.Join(dir, journalFile))
	return plan, records, err
}

// Resume opens a run that was not finished, or was.
func Resume(dir string) (Plan, *Journal, error) {
	plan, err := readPlan(dir)
	if err != nil {
		return Plan{}, nil, err
	}
	j, err := Open(filepath.Join(dir, journalFile))
	return plan, j, err
}

func readPlan(dir string) (Plan, error) {
	var plan Plan
	data, err := os.ReadFile(filepath.Join(dir, planFile))
	if errors.Is(err, fs.ErrNotExist) {
		return plan, fmt.Errorf("%s holds no run: there is no %s in it", dir, planFile)
	}
	if err != nil {
		return plan, err
	}
	if err := json.Unmarshal(data, &plan); err != nil {
		return plan, fmt.Errorf("%s: %w", filepath.Join(dir, planFile), err)
	}
	return plan, nil
}

// Latest is the newest of the runs whose directories are in parent; their names sort by
// time.
func Latest(parent string) (string, error) {
	plans, err := filepath.Glob(filepath.Join(parent, "*", planFile))
	if err != nil {
		return "", err
	}
	if len(plans) == 0 {
		return "", fmt.Errorf("no run is in %s: name the directory of the one to resume, --resume=DIR", parent)
	}
	return filepath.Dir(slices.MaxFunc(plans, strings.Compare)), nil
}

// WriteJSON writes a file that appears whole or not at all, also when the machine stops.
func WriteJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(data, '\n'))
}

// WriteFile writes a file that appears whole or not at all.
func WriteFile(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // is gone once it is renamed
	_, err = file.Write(data)
	if err == nil {
		err = file.Chmod(0o644)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(file.Name(), path)
}
