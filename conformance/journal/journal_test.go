package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/plumbline/plumbline/conformance/catalogue"
)

func record(behaviour string) Record {
	return Record{Behaviour: behaviour, Attempt: 1, Report: types.SpecReport{
		LeafNodeType: types.NodeTypeIt, LeafNodeText: behaviour, State: types.SpecStateFailed,
		Failure: types.Failure{Message: "two\nlines"}, CapturedGinkgoWriterOutput: "said",
	}}
}

func TestWhatWasAppendedIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, behaviour := range []string{"a", "b"} {
		if err := j.Append(record(behaviour)); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	records, err := Read(path)
	if err != nil || len(records) != 2 {
		t.Fatalf("%d records, error %v", len(records), err)
	}
	got := records[1]
	if got.Behaviour != "b" || !got.Report.Failed() || got.Report.Failure.Message != "two\nlines" || got.Report.CapturedGinkgoWriterOutput != "said" {
		t.Errorf("what came back is %+v", got)
	}
}

func TestATornLineIsDropped(t *testing.T) {
	for name, torn := range map[string]string{"without an end": `{"behaviour":"c"`, "garbled": "{\"behaviour\":\"c\"\x00\x00\n"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			j, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Append(record("a")); err != nil {
				t.Fatal(err)
			}
			if _, err := j.file.WriteString(torn); err != nil {
				t.Fatal(err)
			}
			j.Close()
			if j, err = Open(path); err != nil {
				t.Fatal(err)
			}
			if err := j.Append(record("b")); err != nil {
				t.Fatal(err)
			}
			j.Close()
			records, err := Read(path)
			if err != nil || len(records) != 2 || records[1].Behaviour != "b" {
				t.Errorf("%d records, error %v", len(records), err)
			}
		})
	}
}

func TestALineThatIsBrokenInTheMiddleIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(path, []byte("{\"behaviour\":\n{\"behaviour\":\"b\"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("opened with %v", err)
	}
}

func TestARunIsBegunOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "20260102-030405")
	plan := Plan{Suite: catalogue.Kubernetes, Behaviours: []catalogue.Behaviour{{ID: "a"}}}
	j, err := Begin(dir, plan)
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	if _, err := Begin(dir, plan); err == nil || !strings.Contains(err.Error(), "--resume") {
		t.Errorf("begun again with %v", err)
	}
	latest, err := Latest(filepath.Dir(dir))
	if err != nil || latest != dir {
		t.Errorf("the latest run is %q, error %v", latest, err)
	}
	again, j, err := Resume(dir)
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	if len(again.Behaviours) != 1 || again.Behaviours[0].ID != "a" {
		t.Errorf("the plan came back as %+v", again)
	}
	if _, _, err := Resume(t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no run") {
		t.Errorf("resumed nothing with %v", err)
	}
}

func TestShardsAreMerged(t *testing.T) {
	shard := func(shard string, ids ...string) Plan {
		plan := Plan{Suite: catalogue.Kubernetes, Server: "v1", Shard: shard}
		for _, id := range ids {
			plan.Behaviours = append(plan.Behaviours, catalogue.Behaviour{ID: id})
		}
		return plan
	}
	plan, records, err := Merge([]Plan{shard("1/2", "a"), shard("2/2", "b", "c")}, [][]Record{{record("a")}, {record("b"), record("c")}})
	if err != nil || plan.Shard != "1/1" || len(plan.Behaviours) != 3 || len(records) != 3 {
		t.Errorf("merged to %+v with %d records, error %v", plan, len(records), err)
	}
	if plan, _, err := Merge([]Plan{shard("1/3", "a"), shard("2/3", "b")}, [][]Record{nil, nil}); err != nil || plan.Shard == "1/1" {
		t.Errorf("two of three shards pass for the whole: %q, error %v", plan.Shard, err)
	}
	if _, _, err := Merge([]Plan{shard("1/2", "a"), shard("2/2", "a")}, [][]Record{nil, nil}); err == nil {
		t.Error("a behaviour in two shards was not refused")
	}
	other := shard("2/2", "b")
	other.Server = "v2"
	if _, _, err := Merge([]Plan{shard("1/2", "a"), other}, [][]Record{nil, nil}); err == nil || !strings.Contains(err.Error(), "API server's version") {
		t.Errorf("runs of two versions were merged: %v", err)
	}
}
