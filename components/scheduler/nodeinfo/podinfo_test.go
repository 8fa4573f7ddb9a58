package nodeinfo_test

import (
	"testing"

	v1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

// TestRenew tells what is parsed anew of another version of a pod, and that it always says the same as what is.
func TestRenew(t *testing.T) {
	older := Pod("pod", Labels("app", "web"), CPU("1"), Affinity(v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{{LabelSelector: Selects("app", "web"), TopologyKey: "zone"}},
	}}))
	for name, c := range map[string]struct {
		edit func(*v1.Pod)
		kept bool
	}{
		"bound":      {On("n1"), true},
		"version":    {func(p *v1.Pod) { p.ResourceVersion = "2" }, true},
		"toleration": {Tolerates(v1.Toleration{Key: "b"}), false},
		"condition":  {func(p *v1.Pod) { p.Status.Conditions = []v1.PodCondition{{Type: v1.PodScheduled}} }, true},
		"resized": {func(p *v1.Pod) {
			p.Spec.Containers = []v1.Container{p.Spec.Containers[0]}
			CPU("2")(p)
		}, false},
		"another container": {func(p *v1.Pod) { p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: "side"}) }, false},
		"init":              {func(p *v1.Pod) { p.Spec.InitContainers = []v1.Container{{Name: "init"}} }, false},
		"labels":            {Labels("app", "db"), false},
		"affinity":          {Affinity(v1.Affinity{}), false},
		"overhead":          {func(p *v1.Pod) { p.Spec.Overhead = Resources(map[v1.ResourceName]string{v1.ResourceCPU: "1"}) }, false},
		"pod resources": {func(p *v1.Pod) {
			p.Spec.Resources = &v1.ResourceRequirements{Requests: Resources(map[v1.ResourceName]string{v1.ResourceCPU: "3"})}
		}, false},
		"running": {func(p *v1.Pod) {
			p.Status.ContainerStatuses = []v1.ContainerStatus{{Name: "main", AllocatedResources: Resources(map[v1.ResourceName]string{v1.ResourceCPU: "5"})}}
		}, false},
		"copied": {func(p *v1.Pod) { *p = *p.DeepCopy() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := nodeinfo.NewPodInfo(older)
			if err != nil {
				t.Fatal(err)
			}
			newer := *older
			c.edit(&newer)
			got, err := info.Renew(&newer)
			if err != nil {
				t.Fatal(err)
			}
			want, err := nodeinfo.NewPodInfo(&newer)
			if err != nil {
				t.Fatal(err)
			}
			if got.GetPod() != &newer || got.Class() != want.Class() {
				t.Errorf("it is about %v, of the class %v; want class %v", got.GetPod(), got.Class(), want.Class())
			}
			a, b := got.CalculateResource(), want.CalculateResource()
			if a.Non0CPU != b.Non0CPU || a.Resource.GetMilliCPU() != b.Resource.GetMilliCPU() {
				t.Errorf("it requests %d and %d, want %d and %d", a.Resource.GetMilliCPU(), a.Non0CPU, b.Resource.GetMilliCPU(), b.Non0CPU)
			}
			if len(got.GetRequiredAntiAffinityTerms()) != len(want.GetRequiredAntiAffinityTerms()) {
				t.Errorf("its terms are %v, want %v", got.GetRequiredAntiAffinityTerms(), want.GetRequiredAntiAffinityTerms())
			}
			if kept := a.Resource == info.CalculateResource().Resource; kept != c.kept {
				t.Errorf("what was parsed was kept: %v, want %v", kept, c.kept)
			}
		})
	}
}

// TestMemo tells which pods are not parsed again, and that they have a class of their own if they differ.
func TestMemo(t *testing.T) {
	template := Pod("pod", Labels("app", "web"), CPU("1"), Tolerates(v1.Toleration{Key: "a"}))
	for name, c := range map[string]struct {
		edit func(*v1.Pod)
		kept bool
	}{
		"another of the template": {func(p *v1.Pod) { p.Name, p.UID, p.ResourceVersion = "other", "other", "7" }, true},
		"another namespace":       {func(p *v1.Pod) { p.Namespace = "other" }, false},
		"another scheduler":       {func(p *v1.Pod) { p.Spec.SchedulerName = "other" }, false},
		"toleration":              {func(p *v1.Pod) { p.Spec.Tolerations = []v1.Toleration{{Key: "b"}} }, false},
		"node selector":           {func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }, false},
		"spread":                  {Spread(v1.TopologySpreadConstraint{MaxSkew: 1}), false},
		"claim":                   {Mounts("c"), false},
		"bound":                   {On("n1"), false},
		"no containers":           {func(p *v1.Pod) { p.Spec.Containers = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			var memo nodeinfo.Memo
			first, err := memo.PodInfo(template)
			if err != nil {
				t.Fatal(err)
			}
			other := *template
			c.edit(&other)
			got, err := memo.PodInfo(&other)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := nodeinfo.NewPodInfo(&other)
			if got.GetPod() != &other || got.Class() != want.Class() {
				t.Errorf("it is about %v, of the class %v; want class %v", got.GetPod(), got.Class(), want.Class())
			}
			if kept := first.CalculateResource().Resource == got.CalculateResource().Resource; kept != c.kept {
				t.Errorf("what was parsed was taken: %v, want %v", kept, c.kept)
			}
		})
	}
}
