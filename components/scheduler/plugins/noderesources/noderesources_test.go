package noderesources

import (
	"context"
	"maps"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

type list = map[v1.ResourceName]string

const gpu v1.ResourceName = "example.com/gpu"

func newFit(t *testing.T, args string) *Fit {
	t.Helper()
	plugin, err := NewFit(context.Background(), Args[configv1.NodeResourcesFitArgs](t, args), nil)
	if err != nil {
		t.Fatal(err)
	}
	return plugin.(*Fit)
}

func TestFitFilter(t *testing.T) {
	node := Node("n", Offers(list{v1.ResourceCPU: "4", v1.ResourceMemory: "4Gi", v1.ResourcePods: "3", gpu: "1", v1.ResourceEphemeralStorage: "10Gi"}))
	used := Pod("used", On("n"), Requests(list{v1.ResourceCPU: "2", v1.ResourceMemory: "1Gi"}))
	always := v1.ContainerRestartPolicyAlways
	tests := []struct {
		name string
		args string
		pod  *v1.Pod
		want string
	}{
		{name: "nothing", pod: Pod("p")},
		{name: "exactly what is left", pod: Pod("p", CPU("2"))},
		{name: "too much CPU now", pod: Pod("p", CPU("2001m")), want: "Insufficient cpu"},
		{name: "too much CPU ever", pod: Pod("p", CPU("4001m")), want: "Insufficient cpu (unresolvable)"},
		{name: "several", pod: Pod("p", Requests(list{v1.ResourceCPU: "3", v1.ResourceMemory: "4Gi", gpu: "1"})), want: "Insufficient cpu, Insufficient memory"},
		{name: "extended", pod: Pod("p", Requests(list{gpu: "2"})), want: "Insufficient example.com/gpu (unresolvable)"},
		{name: "extended, unknown to the node", pod: Pod("p", Requests(list{"example.com/fpga": "1"})), want: "Insufficient example.com/fpga (unresolvable)"},
		{name: "extended, ignored", args: "ignoredResourceGroups: [example.com]", pod: Pod("p", Requests(list{gpu: "2"}))},
		{name: "ephemeral storage", pod: Pod("p", Requests(list{v1.ResourceEphemeralStorage: "11Gi"})), want: "Insufficient ephemeral-storage (unresolvable)"},
		{
			name: "the largest init container counts",
			pod: Pod("p", CPU("1"), func(p *v1.Pod) {
				p.Spec.InitContainers = []v1.Container{{Name: "init", Resources: v1.ResourceRequirements{Requests: Resources(list{v1.ResourceCPU: "3"})}}}
			}),
			want: "Insufficient cpu",
		},
		{
			name: "sidecars add to containers",
			pod: Pod("p", CPU("1500m"), func(p *v1.Pod) {
				p.Spec.InitContainers = []v1.Container{{Name: "sidecar", RestartPolicy: &always, Resources: v1.ResourceRequirements{Requests: Resources(list{v1.ResourceCPU: "1"})}}}
			}),
			want: "Insufficient cpu",
		},
		{
			name: "overhead adds to containers",
			pod:  Pod("p", CPU("2"), func(p *v1.Pod) { p.Spec.Overhead = Resources(list{v1.ResourceCPU: "100m"}) }),
			want: "Insufficient cpu",
		},
		{
			name: "requests of the pod as a whole count instead of its containers'",
			pod: Pod("p", CPU("1"), func(p *v1.Pod) {
				p.Spec.Resources = &v1.ResourceRequirements{Requests: Resources(list{v1.ResourceCPU: "3"})}
			}),
			want: "Insufficient cpu",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cluster := NewCluster(t, node, used)
			if got := cluster.Filter(t, newFit(t, test.args), test.pod)["n"]; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	full := NewCluster(t, node, used, Pod("b", On("n")), Pod("c", On("n")))
	if got := full.Filter(t, newFit(t, ""), Pod("p"))["n"]; got != "Too many pods" {
		t.Errorf("full node: %q", got)
	}
}

func TestFitScore(t *testing.T) {
	nodes := []struct {
		name string
		used list
	}{
		{"idle", nil},
		{"half", list{v1.ResourceCPU: "2", v1.ResourceMemory: "4Gi"}},
	}
	pod := Pod("p", Requests(list{v1.ResourceCPU: "1", v1.ResourceMemory: "2Gi"}))
	tests := []struct {
		name, args string
		pod        *v1.Pod
		want       map[string]int64
	}{
		{"least", "", pod, map[string]int64{"idle": 75, "half": 25}},
		{"most", "scoringStrategy: {type: MostAllocated}", pod, map[string]int64{"idle": 25, "half": 75}},
		// By default 100m of 4 CPUs and 200 MiB of 8 GiB: 97 and 97.
		{"least, without requests", "", Pod("p"), map[string]int64{"idle": 97, "half": 47}},
		{
			"ratio", "scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 50, score: 10}, {utilization: 100, score: 0}]}}",
			pod, map[string]int64{"idle": 50, "half": 50},
		},
		{
			"weights", "scoringStrategy: {type: LeastAllocated, resources: [{name: cpu, weight: 3}, {name: memory, weight: 1}]}",
			Pod("p", Requests(list{v1.ResourceCPU: "4", v1.ResourceMemory: "0"})), map[string]int64{"idle": 25, "half": 12},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cluster := NewCluster(t, Node("idle"), Node("half"), Pod("old", On(nodes[1].name), Requests(nodes[1].used)))
			if got := cluster.Score(t, newFit(t, test.args), test.pod); !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestBalancedAllocation(t *testing.T) {
	plugin, err := NewBalancedAllocation(context.Background(), Args[configv1.NodeResourcesBalancedAllocationArgs](t, ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	cluster := NewCluster(t, Node("idle"), Node("cpu-heavy"), Pod("old", On("cpu-heavy"), CPU("2")))
	score := func(pod *v1.Pod) map[string]int64 { return cluster.Score(t, plugin.(fwk.ScorePlugin), pod) }
	if got := score(Pod("p")); got != nil {
		t.Errorf("a pod without requests: %v", got)
	}
	// Half the memory evens out the node whose CPU is half used (75 to 100 on it) and tips the idle one (100 to 75).
	if got, want := score(Pod("p", Requests(list{v1.ResourceMemory: "4Gi"}))), (map[string]int64{"idle": 87 - 25/2 + 0, "cpu-heavy": 87}); got["cpu-heavy"] != want["cpu-heavy"] || got["idle"] >= got["cpu-heavy"] {
		t.Errorf("got %v", got)
	}
	if got := score(Pod("p", Requests(list{v1.ResourceCPU: "1", v1.ResourceMemory: "2Gi"}))); got["idle"] != 75 {
		t.Errorf("an even pod leaves balance as it is: %v", got)
	}
}

func TestFitHints(t *testing.T) {
	fit := newFit(t, "")
	waiting := Pod("p", CPU("3"))
	small := Node("n", Offers(list{v1.ResourceCPU: "2", v1.ResourcePods: "10"}))
	large := Node("n")
	largeLabelled := Node("n", Labelled("a", "b"))
	shrunk := Pod("other", On("n"), CPU("1"))
	memory := Pod("other", On("n"), Requests(list{v1.ResourceMemory: "1"}))
	tests := []struct {
		name       string
		hint       func(klog.Logger, *v1.Pod, any, any) (fwk.QueueingHint, error)
		older, now any
		want       fwk.QueueingHint
	}{
		{"a large node comes", fit.nodeChanged, nil, large, fwk.Queue},
		{"a small node comes", fit.nodeChanged, nil, small, fwk.QueueSkip},
		{"a node grows", fit.nodeChanged, small, large, fwk.Queue},
		{"a node stays as large", fit.nodeChanged, large, largeLabelled, fwk.QueueSkip},
		{"a bound pod goes", podGone, shrunk, nil, fwk.Queue},
		{"a waiting pod goes", podGone, Pod("other"), nil, fwk.QueueSkip},
		{"a pod needs less CPU", podShrunk, Pod("other", On("n"), CPU("2")), shrunk, fwk.Queue},
		{"a pod needs less memory", podShrunk, Pod("other", On("n"), Requests(list{v1.ResourceMemory: "2"})), memory, fwk.QueueSkip},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got, err := test.hint(klog.Background(), waiting, test.older, test.now); got != test.want || err != nil {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}
