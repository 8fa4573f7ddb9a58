package status

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/conformance/report"
)

func results() report.Results {
	return report.Results{
		Complete: true, Server: "v1.37.2", Cluster: "ours", Procs: 8, Busy: 754,
		Totals: report.Totals{Chosen: 5, Passed: 1, Flaked: 1, Failed: 2, Skipped: 1},
		Results: []report.Result{
			{Behaviour: "[sig-a] one *not* two", Area: "sig-a", Verdict: report.Failed, Components: []string{"kubelet"}, Failure: "\n  timed out <here>\nmore"},
			{Behaviour: "[sig-a] three", Area: "sig-a", Verdict: report.Passed},
			{Behaviour: "[sig-b] four", Area: "sig-b", Verdict: report.Flaked},
			{Behaviour: "[sig-c] five one", Area: "sig-c", Verdict: report.Failed, Failure: "unseen"},
			{Behaviour: "[sig-c] five two", Area: "sig-c", Verdict: report.Skipped, Failure: "unseen"},
		},
	}
}

func TestThePage(t *testing.T) {
	page, err := Page(results(), Reasons{"[sig-c] five*": "StatefulSets are not there yet", "[sig-c] five two": "needs a GPU"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"**2 of 5** behaviours", "(1 after a flake)", "12m34s",
		"| sig-a | 2 | 1 | 0 | 1 | 0 |", "| sig-b | 1 | 1 | 1 | 0 | 0 |", "| sig-c | 2 | 0 | 0 | 1 | 1 |",
		`- [sig-a] one \*not\* two (kubelet)` + "\n  *not looked into:* timed out &lt;here>\n",
		"- [sig-c] five one ()\n  StatefulSets are not there yet\n", "- [sig-c] five two ()\n  needs a GPU\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	for _, not := range []string{"three", "## sig-b", "unseen"} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %q:\n%s", not, page)
		}
	}
}

func TestReasonsGrowOld(t *testing.T) {
	stale := Reasons{"[sig-a] one *not* two": "", "[sig-a] three": "", "[sig-b]*": "", "[sig-c]*": "", "nobody": ""}.Stale(results())
	if want := []string{"[sig-a] three", "[sig-b]*", "nobody"}; !slices.Equal(stale, want) {
		t.Errorf("stale are %q, not %q", stale, want)
	}
}

func TestReasonsAreReadStrictly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reasons.yaml")
	if err := os.WriteFile(path, []byte("a: b\na: c\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadReasons(path); err == nil {
		t.Error("a behaviour with two reasons was not refused")
	}
}

// TestTheKeptReasonsAreReasons reads the file that the page is made with.
func TestTheKeptReasonsAreReasons(t *testing.T) {
	reasons, err := ReadReasons("../reasons.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for behaviour, reason := range reasons {
		if !strings.HasPrefix(behaviour, "[sig-") || len(reason) < 10 {
			t.Errorf("%q: %q says nothing of a behaviour", behaviour, reason)
		}
	}
}
