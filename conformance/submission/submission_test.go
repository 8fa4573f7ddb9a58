package submission

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/conformance/catalogue"
	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/report"
)

func TestTheFourFiles(t *testing.T) {
	from, dir := t.TempDir(), filepath.Join(t.TempDir(), "submission")
	for _, name := range []string{report.LogFile, report.JUnitFile} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	plan := journal.Plan{Suite: catalogue.Kubernetes, Shard: "1/1", Procs: 8}
	results := report.Results{Complete: true, Server: "v1.37.2", Totals: report.Totals{Chosen: 462, Passed: 460, Flaked: 1, Failed: 1}}
	if err := Write(dir, from, plan, results, Plumbline()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if want := []string{"PRODUCT.yaml", "README.md", "e2e.log", "junit_01.xml"}; !slices.Equal(names, want) {
		t.Errorf("the files are %q, not %q", names, want)
	}
	for name, wants := range map[string][]string{
		"PRODUCT.yaml": {"vendor: ", "website_url: ", "documentation_url: ", "product_logo_url: ", "type: ", "contact_email_address: "},
		"README.md":    {"with Kubernetes v1.37\n", "461 of 462", "bin/plumb conformance --procs 8"},
	} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s lacks %q:\n%s", name, want, data)
			}
		}
	}
}

func TestOnlyAWholeRunIsSubmitted(t *testing.T) {
	whole := journal.Plan{Suite: catalogue.Kubernetes, Shard: "1/1"}
	focused, sharded, ours, several := whole, whole, whole, whole
	several.Clusters = 2
	focused.Focus, sharded.Shard, ours.Suite = []string{"sig-apps"}, "1/2", catalogue.Plumbline
	for _, plan := range []journal.Plan{focused, sharded, ours, several} {
		if err := Write(t.TempDir(), t.TempDir(), plan, report.Results{Complete: true}, Plumbline()); !errors.Is(err, ErrPartial) {
			t.Errorf("%+v: %v", plan, err)
		}
	}
	if err := Write(t.TempDir(), t.TempDir(), whole, report.Results{}, Plumbline()); !errors.Is(err, ErrPartial) {
		t.Errorf("an incomplete run: %v", err)
	}
}
