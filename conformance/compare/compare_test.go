package compare

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/conformance/report"
)

func result(behaviour string, verdict report.Verdict, seconds float64) report.Result {
	r := report.Result{Behaviour: behaviour, Verdict: verdict, Seconds: seconds}
	if verdict == report.Failed {
		r.Failure = behaviour + " broke\nmore"
	}
	return r
}

func names(changes []Change) []string {
	var list []string
	for _, c := range changes {
		list = append(list, c.Behaviour)
	}
	return list
}

func TestTheDifferenceIsTold(t *testing.T) {
	baseline := []report.Result{
		result("same", report.Passed, 10), result("breaks", report.Passed, 1), result("stops judging", report.Passed, 1),
		result("heals", report.Failed, 1), result("stays broken", report.Failed, 1), result("flakes now", report.Passed, 1),
		result("slower", report.Passed, 4), result("much slower", report.Passed, 1), result("slower by little", report.Passed, 0.1),
		result("gone", report.Passed, 1),
	}
	candidate := []report.Result{
		result("same", report.Passed, 11), result("breaks", report.Failed, 1), result("stops judging", report.Skipped, 1),
		result("heals", report.Flaked, 1), result("stays broken", report.Failed, 1), result("flakes now", report.Flaked, 1),
		result("slower", report.Passed, 7), result("much slower", report.Passed, 9), result("slower by little", report.Passed, 1),
		result("new", report.Failed, 1),
	}
	d := Compare(baseline, candidate)
	for what, check := range map[string]struct{ got, want []string }{
		"newly failing":  {names(d.NewlyFailing), []string{"breaks", "stops judging"}},
		"newly holding":  {names(d.NewlyHolding), []string{"heals"}},
		"still failing":  {names(d.StillFailing), []string{"stays broken"}},
		"baseline only":  {d.OnlyBaseline, []string{"gone"}},
		"candidate only": {d.OnlyCandidate, []string{"new"}},
	} {
		if !slices.Equal(check.got, check.want) {
			t.Errorf("%s: %q, not %q", what, check.got, check.want)
		}
	}
	if len(d.Slower) != 2 || d.Slower[0].Behaviour != "much slower" || d.Slower[1].Behaviour != "slower" {
		t.Errorf("slower are %+v", d.Slower)
	}
	if !d.Worse() || d.Holding != 5 {
		t.Errorf("worse %v, %d hold in both", d.Worse(), d.Holding)
	}
	var page bytes.Buffer
	Print(&page, d)
	for _, want := range []string{"newly failing: 2", "passed -> failed: breaks broke", "heals broke", "1s -> 9s (9.0 times)", "verdict: WORSE"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("it is not said that %q:\n%s", want, &page)
		}
	}
}

func TestNothingChanged(t *testing.T) {
	same := []report.Result{result("a", report.Passed, 1), result("b", report.Failed, 1)}
	if d := Compare(same, same); d.Worse() || len(d.NewlyHolding)+len(d.Slower) > 0 || d.Ratio != 1 {
		t.Errorf("a run differs from itself: %+v", d)
	}
}
