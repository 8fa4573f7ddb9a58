package matrix

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/conformance/reference"
)

func TestEveryComponentIsSwappedBothWays(t *testing.T) {
	all := Combinations()
	if want := 3 + 2*len(reference.Names()); len(all) != want {
		t.Errorf("%d combinations, want %d", len(all), want)
	}
	for _, name := range reference.Names() {
		alone, apart := false, false
		for _, c := range all {
			has := slices.Contains(c.Reference, name)
			alone = alone || has && len(c.Reference) == 1
			apart = apart || !has && len(c.Reference) == len(reference.Names())-1
		}
		if !alone || !apart {
			t.Errorf("%s: the reference's by itself %v, ours by itself %v", name, alone, apart)
		}
	}
}

func TestUnknownCombinationIsRefused(t *testing.T) {
	if _, err := Choose([]string{"ours", "theirs"}); err == nil || !strings.Contains(err.Error(), `"theirs"`) {
		t.Errorf("error %v", err)
	}
	if chosen, err := Choose([]string{"ours-kubelet"}); err != nil || len(chosen) != 1 || slices.Contains(chosen[0].Reference, "kubelet") {
		t.Errorf("%v, error %v", chosen, err)
	}
}

func TestVerdictOfAReport(t *testing.T) {
	spec := func(name string, state types.SpecState, message string) types.SpecReport {
		return types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeText: name, State: state, Failure: types.Failure{Message: message}}
	}
	tests := []struct {
		name    string
		specs   []types.SpecReport
		ok      bool
		passed  int
		skipped int
		failed  []string
	}{
		{"all pass", []types.SpecReport{spec("a", types.SpecStatePassed, "")}, true, 1, 0, nil},
		{"one times out", []types.SpecReport{spec("a", types.SpecStatePassed, ""), spec("b", types.SpecStateTimedout, "late")}, false, 1, 0, []string{"b"}},
		{"filtered are not counted", []types.SpecReport{spec("a", types.SpecStatePassed, ""), spec("b", types.SpecStateSkipped, ""), spec("c", types.SpecStateSkipped, "no kernel")}, true, 1, 1, nil},
		{"set-up fails", []types.SpecReport{{LeafNodeType: types.NodeTypeBeforeSuite, LeafNodeText: "before", State: types.SpecStateFailed}}, false, 0, 0, []string{"before"}},
		{"nothing ran", nil, false, 0, 0, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "report.json")
			data, err := json.Marshal([]types.Report{{SpecReports: test.specs}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			var v Verdict
			if err := v.ReadReport(path); err != nil {
				t.Fatal(err)
			}
			if v.OK() != test.ok || v.Passed != test.passed || v.Skipped != test.skipped || !slices.Equal(v.Failed, test.failed) {
				t.Errorf("%+v", v)
			}
		})
	}
}
