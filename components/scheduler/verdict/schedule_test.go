package verdict

import (
	"encoding/json"
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

// BenchmarkSchedule measures scheduling and binding cycles without an API server, under the default profile. The kinds
// of pods are those of scheduler_perf's basic, affinity and spreading workloads; plumb differential cycle measures them
// beside Kubernetes' own scheduler.
func BenchmarkSchedule(b *testing.B) {
	spread := func(action v1.UnsatisfiableConstraintAction) func(*v1.Pod) {
		return Spread(v1.TopologySpreadConstraint{TopologyKey: v1.LabelTopologyZone, MaxSkew: 5, WhenUnsatisfiable: action, LabelSelector: Selects("app", "it")})
	}
	term := func(key string) v1.PodAffinityTerm {
		return v1.PodAffinityTerm{LabelSelector: Selects("app", "it"), TopologyKey: key}
	}
	for _, nodes := range []int{500, 5000} {
		for _, kind := range []struct {
			name string
			edit func(*v1.Pod)
		}{
			{"basic", func(*v1.Pod) {}},
			{"spread", spread(v1.DoNotSchedule)},
			{"preferred-spread", spread(v1.ScheduleAnyway)},
			{"affinity", Affinity(v1.Affinity{PodAffinity: &v1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{term(v1.LabelTopologyZone)}}})},
			{"preferred-affinity", Affinity(v1.Affinity{PodAffinity: &v1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []v1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term(v1.LabelHostname)}}}})},
		} {
			b.Run(fmt.Sprintf("nodes=%d/%s", nodes, kind.name), func(b *testing.B) {
				c, err := newCluster(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				for i := range nodes {
					c.scheduler.Cache.AddNode(Node(fmt.Sprintf("node-%d", i), Labelled(v1.LabelTopologyZone, fmt.Sprintf("zone-%d", i%3)),
						Offers(map[v1.ResourceName]string{v1.ResourceCPU: "64", v1.ResourceMemory: "256Gi", v1.ResourcePods: "10000"})))
				}
				pod := Pod("template", Labels("app", "it"), Requests(map[v1.ResourceName]string{v1.ResourceCPU: "1m", v1.ResourceMemory: "1Mi"}), kind.edit)
				c.schedule(b.Context(), pod, 20)
				b.ReportAllocs()
				b.ResetTimer()
				effort := c.schedule(b.Context(), pod, b.N)
				b.ReportMetric(float64(b.N)/effort.Seconds, "pods/s")
			})
		}
	}
}

func TestSchedule(t *testing.T) {
	c, err := newCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		c.scheduler.Cache.AddNode(Node(fmt.Sprintf("node-%d", i)))
	}
	pod := Pod("template", CPU("1"))
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		answer, err := c.answer(t.Context(), &Request{Schedule: &Load{Pod: raw, Count: 15}})
		if effort, ok := answer.(*Effort); err != nil || !ok || effort.Seconds <= 0 {
			t.Fatalf("answer %v, error %v", answer, err)
		}
	}
	perNode := map[string]int{}
	c.scheduler.Cache.UpdateSnapshot(c.scheduler.Snapshot)
	for _, node := range c.scheduler.Snapshot.All() {
		perNode[node.Node().Name] = len(node.GetPods())
	}
	if len(perNode) != 10 {
		t.Fatalf("pods are on %v", perNode)
	}
	for name, pods := range perNode {
		if pods != 3 {
			t.Errorf("%s runs %d of 30 equal pods, of which each of 10 nodes should run 3", name, pods)
		}
	}
}
