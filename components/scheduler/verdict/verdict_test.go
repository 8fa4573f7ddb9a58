package verdict

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// TestRecordedVerdicts holds this scheduler to what Kubernetes' own said of random pods and clusters. The record is
// written anew by: plumb differential --seed 20260101 --pods 750 --record components/scheduler/verdict/testdata/verdicts.jsonl.gz
func TestRecordedVerdicts(t *testing.T) {
	file, err := os.Open("testdata/verdicts.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	record := json.NewDecoder(zip)
	var c *cluster
	judged := 0
	for {
		var r Request
		if err := record.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if r.Reset {
			if c, err = newCluster(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.change(&r); err != nil {
			t.Fatal(err)
		}
		if r.Judge == nil {
			continue
		}
		judged++
		var want Verdict
		if err := record.Decode(&want); err != nil {
			t.Fatal(err)
		}
		pod, err := decode[*v1.Pod](r.Judge)
		if err != nil {
			t.Fatal(err)
		}
		if got := asWritten(t, c.judge(t.Context(), pod)); !reflect.DeepEqual(got, want) {
			t.Errorf("pod %d: %s\nours   %+v\ntheirs %+v", judged, r.Judge, got, want)
		}
	}
	if judged < 500 {
		t.Errorf("the record holds only %d verdicts", judged)
	}
}

// asWritten is a verdict as its reader gets it.
func asWritten(t *testing.T, v *Verdict) Verdict {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var read Verdict
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	return read
}

func TestServe(t *testing.T) {
	const node = `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"},"status":{"allocatable":{"cpu":"1","pods":"1"}}}`
	pod := func(cpu string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","uid":"p"},"spec":{"schedulerName":"default-scheduler",
			"containers":[{"name":"c","resources":{"requests":{"cpu":"` + cpu + `"}}}]}}`
	}
	for _, test := range []struct{ requests, answer, err string }{
		{`{"set":[` + node + `]} {"judge":` + pod("2") + `}`, `{"n":{"code":"UnschedulableAndUnresolvable","plugin":"NodeResourcesFit","reasons":["Insufficient cpu"]}}`, ""},
		{`{"set":[` + node + `],"judge":` + pod("1") + `}`, `"feasible":{"n":`, ""},
		{`{"set":[` + node + `]} {"delete":[` + node + `]} {"judge":` + pod("1") + `}`, `"error":"no nodes available`, ""},
		{`{"set":[{"kind":"Ghost","apiVersion":"v1"}]}`, "", `request 1: set[0]: no kind "Ghost" is registered`},
		{`{} {"delete":[` + node + `]}`, "", "request 2: delete[0]: node n is not found"},
		{`{"judge":` + node + `}`, "", "request 1: judge: a Node is no *v1.Pod"},
		{`{"judge":`, "", "request 1: unexpected EOF"},
	} {
		var out bytes.Buffer
		err := Serve(context.Background(), strings.NewReader(test.requests), &out)
		if err == nil != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) || !strings.Contains(out.String(), test.answer) {
			t.Errorf("%s\nanswer %s error %v\nwant   %s error %s", test.requests, out.String(), err, test.answer, test.err)
		}
	}
}
