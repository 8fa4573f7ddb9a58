// Package submission makes the four files with which a conformance run is submitted to
// the Cloud Native Computing Foundation: the log, the JUnit report, a description of the
// product, and how the run is repeated.
package submission

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"sigs.k8s.io/yaml"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/report"
)

// Product is what a submission says of who submits what.
type Product struct {
	Vendor           string `json:"vendor"`
	Name             string `json:"name"`
	Version          string `json:"version"`
	Website          string `json:"website_url"`
	Repository       string `json:"repo_url"`
	Documentation    string `json:"documentation_url"`
	Logo             string `json:"product_logo_url"`
	Type             string `json:"type"`
	Description      string `json:"description"`
	ContactAddresses string `json:"contact_email_address"`
}

// Plumbline is the product that this repository is. Whoever submits another one edits
// the file.
func Plumbline() Product {
	return Product{
		Vendor: "Plumbline", Name: "Plumbline", Version: "v0.1.0",
		Website:       "https://github.com/plumbline/plumbline",
		Repository:    "https://github.com/plumbline/plumbline",
		Documentation: "https://github.com/plumbline/plumbline/blob/main/README.md",
		Logo:          "https://github.com/plumbline/plumbline", Type: "installer",
		Description:      "A Kubernetes test harness whose clusters run its own implementation of every component.",
		ContactAddresses: "conformance@plumbline.dev",
	}
}

// ErrPartial says that a run cannot be submitted because it is not of all behaviours on one cluster.
var ErrPartial = errors.New("only a run of all of upstream's behaviours, neither focused nor sharded, on one cluster, can be submitted")

// Write writes the four files into a directory from the run whose report is in from.
func Write(dir, from string, plan journal.Plan, results report.Results, product Product) error {
	if plan.Suite != catalogue.Kubernetes || len(plan.Focus) > 0 || plan.Shard != "1/1" || plan.Clusters > 1 || !results.Complete {
		return ErrPartial
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{report.LogFile, report.JUnitFile} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := journal.WriteFile(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	described, err := yaml.Marshal(product)
	if err != nil {
		return err
	}
	var readme strings.Builder
	if err := template.Must(template.New("").Parse(text)).Execute(&readme, map[string]any{
		"Plan": plan, "Results": results, "Product": product, "Release": release(results.Server),
	}); err != nil {
		return err
	}
	return errors.Join(
		journal.WriteFile(filepath.Join(dir, "PRODUCT.yaml"), described),
		journal.WriteFile(filepath.Join(dir, "README.md"), []byte(readme.String())),
	)
}

// release is "v1.37" of "v1.37.2".
func release(version string) string {
	var major, minor int
	if _, err := fmt.Sscanf(version, "v%d.%d", &major, &minor); err != nil {
		return version
	}
	return fmt.Sprintf("v%d.%d", major, minor)
}

const text = `# Conformance of {{.Product.Name}} {{.Product.Version}} with Kubernetes {{.Release}}

{{.Results.Totals.Held}} of {{.Results.Totals.Chosen}} behaviours hold, {{.Results.Totals.Failed}} fail, {{.Results.Totals.Skipped}} skipped themselves.
API server {{.Results.Server}}; {{.Plan.Cluster}}; retries of a failed behaviour: {{.Plan.Retries}}.

## How to repeat the run

On a Debian or Ubuntu machine with Go 1.26, gcc, git and make, as root:

    git clone {{.Product.Repository}}
    cd plumbline
    make build
    bin/plumb conformance --procs {{.Plan.Procs}} --retries {{.Plan.Retries}}

The cluster is booted for the run and taken down after it. The run's directory, which the last
line of output names, then holds these files in submission/.
`
