package differential

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Workload is a kind of pods to schedule many of, named as in Kubernetes' scheduler_perf.
type Workload struct {
	Name string
	// Before is run first, Pod is measured.
	Before, Pod *v1.Pod
}

// Workloads are those of scheduler_perf in which the scheduler computes most.
func Workloads() []Workload {
	plain := func(labels map[string]string, edit func(*v1.PodSpec)) *v1.Pod {
		pod := &v1.Pod{}
		pod.TypeMeta, pod.ObjectMeta = meta("Pod", "default", "template")
		pod.Labels = labels
		pod.Spec = v1.PodSpec{SchedulerName: v1.DefaultSchedulerName, Containers: []v1.Container{{
			Name: "pause", Image: "registry.k8s.io/pause:3.10.1",
			Resources: v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("10m"), v1.ResourceMemory: resource.MustParse("50Mi")}},
		}}}
		if edit != nil {
			edit(&pod.Spec)
		}
		return pod
	}
	color := func(value string) map[string]string { return map[string]string{"color": value} }
	term := func(value, key string) v1.PodAffinityTerm {
		return v1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: color(value)}, TopologyKey: key}
	}
	spread := func(action v1.UnsatisfiableConstraintAction) *v1.Pod {
		return plain(color("blue"), func(spec *v1.PodSpec) {
			spec.TopologySpreadConstraints = []v1.TopologySpreadConstraint{{
				MaxSkew: 5, TopologyKey: v1.LabelTopologyZone, WhenUnsatisfiable: action, LabelSelector: &metav1.LabelSelector{MatchLabels: color("blue")},
			}}
		})
	}
	basic := plain(nil, nil)
	company := plain(color("blue"), func(spec *v1.PodSpec) {
		spec.Affinity = &v1.Affinity{PodAffinity: &v1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{term("blue", v1.LabelTopologyZone)}}}
	})
	solitude := plain(color("green"), func(spec *v1.PodSpec) {
		spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{term("green", v1.LabelHostname)}}}
	})
	liking := plain(color("red"), func(spec *v1.PodSpec) {
		spec.Affinity = &v1.Affinity{PodAffinity: &v1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []v1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term("red", v1.LabelHostname)}}}}
	})
	return []Workload{
		{"SchedulingBasic", basic, basic},
		{"PodAffinity", company, company},
		{"PodAntiAffinity", basic, solitude},
		{"PreferredPodAffinity", liking, liking},
		{"TopologySpreading", basic, spread(v1.DoNotSchedule)},
		{"PreferredTopologySpreading", basic, spread(v1.ScheduleAnyway)},
	}
}

// start makes the nodes of scheduler_perf, in three zones.
func (w *Workload) start(nodes int) Request {
	r := Request{Reset: true}
	ns := &v1.Namespace{}
	ns.TypeMeta, ns.ObjectMeta = meta("Namespace", "", "default")
	r.Set = append(r.Set, ns)
	for i := range nodes {
		n := &v1.Node{}
		n.TypeMeta, n.ObjectMeta = meta("Node", "", fmt.Sprintf("node-%d", i))
		n.Labels = map[string]string{v1.LabelHostname: n.Name, v1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%3)}
		n.Status.Allocatable = v1.ResourceList{
			v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("32Gi"), v1.ResourcePods: resource.MustParse("110"),
		}
		n.Status.Capacity = n.Status.Allocatable
		r.Set = append(r.Set, n)
	}
	return r
}

// Round is one measurement of both schedulers, one after the other.
type Round struct{ Ours, Theirs Effort }

// Size is how much of a workload is measured: on so many nodes, with so many pods, so often.
type Size struct{ Nodes, Pods, Rounds int }

// Measure takes a workload through both schedulers, by turns. Half as many pods as are measured run before.
func Measure(ctx context.Context, ours, theirs *Program, w Workload, size Size) ([]Round, error) {
	var list []Round
	for range size.Rounds {
		var round Round
		for _, side := range []struct {
			*Program
			effort *Effort
		}{{ours, &round.Ours}, {theirs, &round.Theirs}} {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := side.Tell(w.start(size.Nodes)); err != nil {
				return nil, err
			}
			if _, err := side.Schedule(Load{Pod: w.Before, Count: size.Pods / 2}); err != nil {
				return nil, err
			}
			var err error
			if *side.effort, err = side.Schedule(Load{Pod: w.Pod, Count: size.Pods}); err != nil {
				return nil, err
			}
		}
		list = append(list, round)
	}
	return list, nil
}
