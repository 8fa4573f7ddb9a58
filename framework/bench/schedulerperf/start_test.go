package schedulerperf

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/plumbline/plumbline/framework/bench/workload"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

func TestSchedulerThatNeverComesUp(t *testing.T) {
	needClusters(t)
	suite, err := workload.Read(fstest.MapFS{"cases.yaml": {Data: []byte(twelve)}, "pod.yaml": {Data: []byte(onePod)}}, "cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w, err := suite.Workload("Twelve/Pods", nil)
	if err != nil {
		t.Fatal(err)
	}
	run, err := Config{Workload: w, Profile: Isolated(), Cluster: "perf-still"}.Run(t.Context(), Contender{
		Name: "still", Components: map[string]v1alpha1.Component{cluster.Scheduler: {Program: "/bin/false"}},
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(run.Outcome, "the scheduler did not come up: ") || !strings.Contains(run.Outcome, "kube-scheduler on control-plane has ended") {
		t.Errorf("got %q", run.Outcome)
	}
}
