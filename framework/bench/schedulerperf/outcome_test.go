package schedulerperf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/plumbline/plumbline/framework/bench/measure"
	"github.com/plumbline/plumbline/framework/bench/workload"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

// twelve has room for twelve of its pods on three nodes, and ten of them.
const twelve = `
- name: Twelve
  workloadTemplate:
  - {opcode: createNodes, count: 3}
  - {opcode: createPods, count: 2, podTemplatePath: pod.yaml}
  - {opcode: createPods, count: 8, podTemplatePath: pod.yaml, collectMetrics: true}
  workloads: [{name: Pods}]
`

const onePod = `apiVersion: v1
kind: Pod
metadata: {generateName: one-}
spec:
  containers: [{name: c, image: c, resources: {requests: {cpu: "1"}}}]
`

// needClusters skips a test where clusters cannot be made. In continuous integration
// they can: what is missing there is a mistake.
func needClusters(t *testing.T) {
	t.Helper()
	refuse := t.Skip
	if os.Getenv("CI") != "" {
		refuse = t.Fatal
	}
	if os.Getuid() != 0 {
		refuse("clusters need root")
	}
	if _, err := os.Stat("../../../bin/plumb"); err != nil && os.Getenv(cluster.BinaryVariable) == "" {
		refuse(err)
	}
	t.Setenv(cluster.StateVariable, filepath.Join(t.TempDir(), "plumb"))
}

// against has a scheduler of this test's run the workload.
func against(t *testing.T, how string, change func(*Config)) measure.Run {
	t.Helper()
	suite, err := workload.Read(fstest.MapFS{"cases.yaml": {Data: []byte(twelve)}, "pod.yaml": {Data: []byte(onePod)}}, "cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w, err := suite.Workload("Twelve/Pods", nil)
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := Config{Workload: w, Profile: Isolated(), Cluster: "perf-" + how}
	if change != nil {
		change(&config)
	}
	run, err := config.Run(t.Context(), Contender{Name: how, Components: map[string]v1alpha1.Component{
		cluster.Scheduler: {Program: own, Env: []string{manners + "=" + how}},
	}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Validate(); err != nil {
		t.Error(err)
	}
	return run
}

func TestCompleted(t *testing.T) {
	needClusters(t)
	for name, change := range map[string]func(*Config){
		"while pods are created": nil,
		"all pods first":         func(c *Config) { c.PodsFirst = true },
		"everything on":          func(c *Config) { c.Profile = Whole() },
	} {
		t.Run(name, func(t *testing.T) {
			run := against(t, honest, change)
			if !run.Completed() {
				t.Fatal(run.Outcome)
			}
			for _, key := range []string{"SchedulingDuration", "BindingRate", "CreationToBinding", `CPUTime{component="kube-scheduler"}`, `PeakMemory{component="kube-apiserver"}`} {
				if _, ok := run.Metric(key); !ok {
					t.Errorf("there is no %s", key)
				}
			}
			if last := run.Bound[len(run.Bound)-1]; last.Pods != 8 {
				t.Errorf("%d pods were measured, want 8: those that came before are not", last.Pods)
			}
		})
	}
}

func TestOutcomes(t *testing.T) {
	needClusters(t)
	for how, test := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		crashing: {nil, []string{"the scheduler ended in mid-run: exit status 3", "out of ideas after 5 pods"}},
		crowding: {nil, []string{"was bound to node node-0-", "which is full: cpu: 5000m of 4000m"}},
		idle:     {func(c *Config) { c.Patience = time.Second }, []string{"no progress for 1s: 0 of 2 pods bound"}},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			run := against(t, how, test.change)
			for _, want := range test.want {
				if !strings.Contains(run.Outcome, want) {
					t.Errorf("%s: %q, want %q", how, run.Outcome, want)
				}
			}
		})
	}
}

func TestASchedulerThatDoesNotServe(t *testing.T) {
	needClusters(t)
	hurry := func(c *Config) { c.Start = time.Second }
	if run := against(t, silent, hurry); !strings.Contains(run.Outcome, "the scheduler did not serve within 1s") {
		t.Error(run.Outcome)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	err := Config{Patience: -1}.Validate()
	if err == nil {
		t.Fatal("nothing was found")
	}
	for _, want := range []string{"Workload: Required value", "Profile: Required value", "Patience: Invalid value"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := ProfileNamed("none"); err == nil || !strings.Contains(err.Error(), "scheduler_perf") {
		t.Errorf("an unknown profile: %v", err)
	}
}
