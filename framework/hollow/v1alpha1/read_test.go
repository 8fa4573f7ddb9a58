package v1alpha1

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"
)

const head = "apiVersion: plumbline.dev/v1alpha1\nkind: HollowNodes\n"

func TestReadFillsInDefaults(t *testing.T) {
	s, err := Read([]byte(head + `spec:
  nodes:
  - {count: 4000, labels: {zone: [a, b], type: big}}
  - {name: small, count: 1000, capacity: {cpu: 500m}}
  pods:
  - {startAfter: 1s..3s, finishAfter: 20s, exitCodes: [1, 0]}
`))
	if err != nil {
		t.Fatal(err)
	}
	small := s.Nodes[1].Capacity
	if s.Nodes[0].Name != "hollow" || small.Cpu().String() != "500m" || small.Pods().Value() != 110 {
		t.Errorf("nodes %+v", s.Nodes)
	}
	if got := s.Nodes[0].Labels["type"]; len(got) != 1 || got[0] != "big" {
		t.Errorf("one value is read as %v", got)
	}
	if rule := s.Pods[0]; rule.StartAfter != (Span{From: time.Second, To: 3 * time.Second}) || *rule.FinishAfter != Lasting(20*time.Second) {
		t.Errorf("spans %v, %v", rule.StartAfter, rule.FinishAfter)
	}
	if h := s.Heartbeat; h.RenewInterval.Duration != 100*time.Second || h.LeaseDuration.Duration != 400*time.Second || s.GracePeriod() != 500*time.Second {
		t.Errorf("5000 nodes renew every %s for %s and are given %s", h.RenewInterval.Duration, h.LeaseDuration.Duration, s.GracePeriod())
	}
}

func TestFewNodesKeepTheUsualIntervals(t *testing.T) {
	s := New(10)
	s.Default()
	if h := s.Heartbeat; h.RenewInterval.Duration != 10*time.Second || h.LeaseDuration.Duration != 40*time.Second || s.GracePeriod() != 50*time.Second {
		t.Errorf("10 nodes renew every %s for %s and are given %s", h.RenewInterval.Duration, h.LeaseDuration.Duration, s.GracePeriod())
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"spec: {nodes: [{count: -1}]}":                                            "spec.nodes[0].count: Invalid value: -1: must be 0 to 20000",
		"spec: {nodes: [{count: 20000}, {name: b, count: 1}]}":                    "must be at most 20000 nodes together",
		"spec: {nodes: [{count: 1}, {count: 1}]}":                                 `spec.nodes[1].name: Duplicate value: "hollow"`,
		"spec: {nodes: [{name: A_b}]}":                                            "spec.nodes[0].name: Invalid value",
		"spec: {nodez: []}":                                                       `unknown field "spec.nodez"`,
		"spec: {nodes: [{capacity: {cpu: -1}}]}":                                  "spec.nodes[0].capacity[cpu]: Invalid value",
		"spec: {nodes: [{labels: {zone: []}}]}":                                   "spec.nodes[0].labels[zone]: Required value",
		"spec: {nodes: [{labels: {zone: [a b]}}]}":                                "spec.nodes[0].labels[zone]: Invalid value",
		"spec: {nodes: [{labels: {zone: 3}}]}":                                    "must be a string or a list of strings",
		"spec: {nodes: [{taints: [{key: a, effect: Never}]}]}":                    "spec.nodes[0].taints[0].effect: Unsupported value",
		"spec: {pods: [{startAfter: soon}]}":                                      `must be a time such as \"2s\"`,
		"spec: {pods: [{startAfter: 5s..1s}]}":                                    "spec.pods[0].startAfter: Invalid value: \"5s..1s\": must not end before it begins",
		"spec: {pods: [{terminateAfter: -1s}]}":                                   "spec.pods[0].terminateAfter: Invalid value",
		"spec: {pods: [{exitCodes: [0]}]}":                                        "spec.pods[0].finishAfter: Required value",
		"spec: {pods: [{finishAfter: 1s, exitCodes: [0, 256]}]}":                  "spec.pods[0].exitCodes[1]: Invalid value: 256: must be 0 to 255",
		"spec: {pods: [{match: {namespaces: ['[']}}]}":                            "spec.pods[0].match.namespaces[0]: Invalid value",
		"spec: {pods: [{match: {labels: {matchLabels: {'a b': c}}}}]}":            "spec.pods[0].match.labels.matchLabels: Invalid value",
		"spec: {pods: [{stuck: {reason: two words}}]}":                            "spec.pods[0].stuck.reason: Invalid value",
		"spec: {pods: [{stuck: {reason: A}, refuse: {reason: B}}]}":               "spec.pods[0].stuck: Forbidden",
		"spec: {pods: [{refuse: {reason: A}, finishAfter: 1s}]}":                  "spec.pods[0].refuse: Forbidden",
		"spec: {outages: [{after: 1s}]}":                                          "spec.outages[0].nodes: Required value",
		"spec: {cidr: 10.0.0.0}":                                                  "spec.cidr: Invalid value",
		"spec: {cidr: 10.0.0.1/8}":                                                "must have no address bits beyond the prefix",
		"spec: {nodes: [{count: 257}], cidr: 10.0.0.0/16}":                        "has no room for 257 nodes with a /24 each",
		"spec: {nodes: [{count: 129, capacity: {pods: 400}}], cidr: 10.0.0.0/16}": "has no room for 129 nodes with a /23 each",
		"spec: {heartbeat: {renewInterval: 10s, leaseDuration: 5s}}":              "spec.heartbeat.leaseDuration: Invalid value: \"5s\": must be more than renewInterval",
		"spec: {heartbeat: {reportInterval: 0s}}":                                 "spec.heartbeat.reportInterval: Invalid value",
	} {
		_, err := Read([]byte(head + text))
		if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(want, `\"`, `"`)) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
	if _, err := Read([]byte("apiVersion: v1\nkind: Pod\n")); err == nil || !strings.Contains(err.Error(), "apiVersion: Unsupported value") {
		t.Errorf("another kind: %v", err)
	}
}

func TestHas(t *testing.T) {
	s := New(12)
	s.Default()
	for name, want := range map[string]bool{"hollow-1": true, "hollow-12": true, "hollow-13": false, "hollow-0": false, "hollow-01": false, "hollow-": false, "node-1": false} {
		if s.Has(name) != want {
			t.Errorf("Has(%q) is %t", name, !want)
		}
	}
}

func TestSpanIsDrawn(t *testing.T) {
	s := Span{From: time.Second, To: 3 * time.Second}
	if s.Draw(0) != time.Second || s.Draw(0.5) != 2*time.Second || s.String() != "1s..3s" || Lasting(time.Minute).String() != "1m0s" {
		t.Errorf("%s: %s, %s", s, s.Draw(0), s.Draw(0.5))
	}
}

func TestFixturesAreRead(t *testing.T) {
	files, err := filepath.Glob("../../../fixtures/hollow/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil {
			_, err = Read(data)
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// FuzzRead reads any script. What is read stays what it is when it is written and read again,
// as it is on its way to the program that follows it.
func FuzzRead(f *testing.F) {
	f.Add([]byte(head + "spec: {nodes: [{count: 3, labels: {zone: [a, b]}, taints: [{key: k, effect: NoExecute}]}], outages: [{nodes: [hollow-1], after: 1m, for: 10m}]}"))
	f.Add([]byte(head + "spec: {pods: [{match: {namespaces: [batch]}, startAfter: 1s..3s, finishAfter: 20s, exitCodes: [1, 0]}], heartbeat: {renewInterval: 1s}}"))
	f.Add([]byte(head + "spec: {nodes: [{count: 20000}], cidr: 10.0.0.0/8, pods: [{startAfter: -1s}, {finishAfter: 1s..}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Read(data)
		if err != nil {
			return
		}
		text, err := yaml.Marshal(HollowNodes{APIVersion: APIVersion, Kind: Kind, Spec: *s})
		if err != nil {
			t.Fatal(err)
		}
		again, err := Read(text)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v\n%s", err, text)
		}
		if !equality.Semantic.DeepEqual(s, again) {
			t.Errorf("what was read is read again as something else:\n%+v\n%+v", s, again)
		}
		for _, rule := range s.Pods {
			for _, span := range []*Span{&rule.StartAfter, rule.FinishAfter} {
				if span != nil && (span.Draw(0) < 0 || span.Draw(1) < span.Draw(0)) {
					t.Errorf("a span from %s to %s was taken", span.From, span.To)
				}
			}
		}
	})
}
