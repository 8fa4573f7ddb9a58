package catalogue

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/conformance/suite"
)

func TestWhatUpstreamsSpecsJudge(t *testing.T) {
	for _, test := range []struct {
		file, name string
		want       []string
	}{
		{"network/service.go", "[sig-network] Services should have session affinity work for NodePort service [LinuxOnly] [Conformance]", []string{proxy, controllers}},
		{"network/service.go", "[sig-network] Services should delete a collection of services [Conformance]", []string{apiServer}},
		{"network/endpointslice.go", "[sig-network] EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices [Conformance]", []string{proxy}},
		{"apimachinery/garbage_collector.go", "[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so [Conformance] [Serial]", []string{controllers}},
		{"apimachinery/watch.go", "[sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]", []string{apiServer}},
		{"apps/deployment.go", "[sig-apps] Deployment deployment should support rollover [Conformance]", []string{controllers}},
		{"scheduling/preemption.go", "[sig-scheduling] SchedulerPreemption validates basic preemption works [Conformance] [Serial]", []string{scheduler}},
		{"scheduling/preemption.go", "[sig-scheduling] SchedulerPreemption PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods [Conformance] [Serial]", []string{apiServer}},
		{"common/storage/secrets_volume.go", "[sig-storage] Secrets should be consumable from pods in volume [Conformance]", []string{kubelet}},
		{"common/node/secrets.go", "[sig-node] Secrets should fail to create secret due to empty secret key [Conformance]", []string{apiServer}},
		{"a/new/file.go", "[sig-new] something", []string{apiServer, controllers, scheduler, kubelet, proxy}},
	} {
		if got := judged("test/e2e/"+test.file, test.name); !slices.Equal(got, test.want) {
			t.Errorf("%s judges %q, not %q", test.name, got, test.want)
		}
	}
}

func TestUpstreamsDocumentIsJoinedWithItsSpecs(t *testing.T) {
	entry := documented{Title: "Watchers", CodeName: "[sig-api-machinery] Watchers should [Conformance]", Description: " They\n  MUST. ", Release: "v1.11", File: "test/e2e/apimachinery/watch.go"}
	listing := &suite.Listing{Specs: []suite.Spec{{Name: "[sig-api-machinery] another"}, {Name: entry.CodeName, Index: 1}}}
	got, err := join([]documented{entry}, listing)
	if err != nil {
		t.Fatal(err)
	}
	if b := got[0]; b.ID != entry.CodeName || b.Area != "sig-api-machinery" || b.Promise != "They MUST." || b.Source != entry.File || b.Spec.Index != 1 {
		t.Errorf("joined to %+v", b)
	}
	if _, err := join([]documented{{CodeName: "nobody"}}, listing); err == nil {
		t.Error("a behaviour without a spec was not refused")
	}
}

func TestOurOwnWords(t *testing.T) {
	promise, source := ourWords("rolling update [apps.deployment.bounds] A rolling update (of pods) is bounded. (https://k8s.io/x)", "apps.deployment.bounds")
	if promise != "A rolling update (of pods) is bounded." || source != "https://k8s.io/x" {
		t.Errorf("taken apart into %q and %q", promise, source)
	}
}

func some() []Behaviour {
	return []Behaviour{
		{ID: "[sig-apps] Deployment rolls [Conformance]", Area: "sig-apps", Components: []string{controllers}},
		{ID: "[sig-network] Services affinity [Serial]", Area: "sig-network", Components: []string{proxy, controllers}, Spec: suite.Spec{Serial: true}},
		{ID: "network.clusterip.spread", Area: "network", Components: []string{proxy}, Promise: "Connections spread over all endpoints."},
	}
}

func ids(behaviours []Behaviour) string {
	var list []string
	for _, b := range behaviours {
		list = append(list, b.ID)
	}
	return strings.Join(list, "; ")
}

func TestFocus(t *testing.T) {
	all := some()
	for words, want := range map[string][]Behaviour{
		"":                         all,
		"sig-apps":                 all[:1],
		"apps":                     all[:1],
		"network":                  all[1:],
		"kube-proxy":               all[1:],
		"network.clusterip.spread": all[2:],
		"Spread|spread over":       all[2:],
		"Deployment rolls [Conf":   all[:1],
		"sig-apps,kube-proxy":      all,
		"[sig-network] Services affinity [Serial]": all[1:2],
	} {
		var list []string
		if words != "" {
			list = strings.Split(words, ",")
		}
		got, err := Focus(all, list)
		if err != nil || ids(got) != ids(want) {
			t.Errorf("%q chooses %q, not %q; error %v", words, ids(got), ids(want), err)
		}
	}
	if _, err := Focus(all, []string{"sig-apps", "nonsense"}); err == nil || !strings.Contains(err.Error(), `"nonsense"`) {
		t.Errorf("a word that fits nothing: %v", err)
	}
	if got := Judging(all, scheduler, controllers); ids(got) != ids(all[:2]) {
		t.Errorf("judging the scheduler or the controllers are %q", ids(got))
	}
}

func TestPartsLeaveOutSuitesOfWhichNothingIsChosen(t *testing.T) {
	all := some()
	all[0].Suite, all[1].Suite, all[2].Suite = Kubernetes, Kubernetes, Plumbline
	for _, test := range []struct {
		words, component string
		parts            string
		fails            string
	}{
		{"", proxy, "kubernetes () [sig-network] Services affinity [Serial]; plumbline () network.clusterip.spread", ""},
		{"affinity", proxy, "kubernetes (affinity) [sig-network] Services affinity [Serial]", ""},
		{"affinity,spread", proxy, "kubernetes (affinity) [sig-network] Services affinity [Serial]; plumbline (spread) network.clusterip.spread", ""},
		{"", controllers, "kubernetes () " + ids(all[:2]), ""},
		{"affinity,nonsense", proxy, "", `"nonsense"`},
		{"spread", controllers, "", "no behaviour that it chooses judges kube-controller-manager"},
		{"", "plumb-network", "", "no behaviour judges plumb-network"},
	} {
		parts, err := Parts(all, strings.FieldsFunc(test.words, func(r rune) bool { return r == ',' }), []string{test.component})
		var got []string
		for _, p := range parts {
			got = append(got, fmt.Sprintf("%s (%s) %s", p.Suite, strings.Join(p.Focus, ","), ids(p.Behaviours)))
		}
		if strings.Join(got, "; ") != test.parts {
			t.Errorf("%q of what judges %s: %q, not %q", test.words, test.component, got, test.parts)
		}
		if (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
			t.Errorf("%q of what judges %s: error %v, not %q", test.words, test.component, err, test.fails)
		}
	}
}

func TestShardsAreAWholeAndHaveNothingInCommon(t *testing.T) {
	var all []Behaviour
	for i := range 23 {
		all = append(all, Behaviour{ID: fmt.Sprint(i), Spec: suite.Spec{Serial: i%4 == 0}})
	}
	seen := map[string]int{}
	for i := 1; i <= 5; i++ {
		shard, err := ParseShard(fmt.Sprintf("%d/5", i))
		if err != nil {
			t.Fatal(err)
		}
		part := shard.Choose(all)
		serial := 0
		for _, b := range part {
			seen[b.ID]++
			if b.Spec.Serial {
				serial++
			}
		}
		if len(part) < 4 || len(part) > 6 || serial < 1 || serial > 2 {
			t.Errorf("shard %s has %d behaviours, %d of them serial", shard, len(part), serial)
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("behaviour %s is in %d shards", id, n)
		}
	}
	if len(seen) != len(all) {
		t.Errorf("%d of %d behaviours are in shards", len(seen), len(all))
	}
	for _, wrong := range []string{"0/2", "3/2", "1", "a/b", "1/0", "-1/2"} {
		if _, err := ParseShard(wrong); err == nil {
			t.Errorf("%q passed for a shard", wrong)
		}
	}
}
