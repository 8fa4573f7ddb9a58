package cache_test

import (
	"fmt"
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/components/scheduler/cache"
	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func info(pod *v1.Pod) *nodeinfo.PodInfo {
	p, _ := nodeinfo.NewPodInfo(pod)
	return p
}

func snapshot(c *cache.Cache, s *cache.Snapshot) []string {
	c.UpdateSnapshot(s)
	nodes, _ := s.List()
	var list []string
	for _, n := range nodes {
		list = append(list, fmt.Sprintf("%s: %d pods, %dm", n.Node().Name, len(n.GetPods()), n.GetRequested().GetMilliCPU()))
	}
	return list
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAssume(t *testing.T) {
	c, s := cache.New(), cache.NewSnapshot()
	c.AddNode(Node("n"))
	c.AddNode(Node("m"))
	pod := Pod("p", CPU("1"), On("n"))
	must(t, c.AssumePod(info(pod)))
	expect(t, snapshot(c, s), "m: 0 pods, 0m", "n: 1 pods, 1000m")
	if c.AssumePod(info(pod)) == nil {
		t.Error("assumed twice")
	}
	must(t, c.ForgetPod(pod))
	expect(t, snapshot(c, s), "m: 0 pods, 0m", "n: 0 pods, 0m")
	if c.ForgetPod(pod) == nil {
		t.Error("forgotten twice")
	}
	must(t, c.AssumePod(info(pod)))
	must(t, c.AddPod(pod))
	if c.IsAssumed(pod.UID) {
		t.Error("still assumed when confirmed")
	}
	if c.ForgetPod(pod) == nil {
		t.Error("a confirmed pod was forgotten")
	}
	expect(t, snapshot(c, s), "m: 0 pods, 0m", "n: 1 pods, 1000m")
	must(t, c.RemovePod(pod))
	expect(t, snapshot(c, s), "m: 0 pods, 0m", "n: 0 pods, 0m")
}

func TestConfirmedElsewhere(t *testing.T) {
	c, s := cache.New(), cache.NewSnapshot()
	c.AddNode(Node("n"))
	c.AddNode(Node("m"))
	must(t, c.AssumePod(info(Pod("p", CPU("1"), On("n")))))
	must(t, c.AddPod(Pod("p", CPU("1"), On("m"))))
	expect(t, snapshot(c, s), "m: 1 pods, 1000m", "n: 0 pods, 0m")
}

func TestPodsOutliveAndPrecedeTheirNode(t *testing.T) {
	c, s := cache.New(), cache.NewSnapshot()
	must(t, c.AddPod(Pod("p", CPU("1"), On("n"))))
	expect(t, snapshot(c, s))
	c.AddNode(Node("n"))
	expect(t, snapshot(c, s), "n: 1 pods, 1000m")
	must(t, c.RemoveNode("n"))
	expect(t, snapshot(c, s))
	c.AddNode(Node("n"))
	expect(t, snapshot(c, s), "n: 1 pods, 1000m")
	must(t, c.RemoveNode("n"))
	must(t, c.RemovePod(Pod("p")))
	if nodes, pods, _ := c.Size(); nodes != 0 || pods != 0 {
		t.Errorf("left over: %d nodes, %d pods", nodes, pods)
	}
}

func TestSnapshotStaysAsItWas(t *testing.T) {
	c, s := cache.New(), cache.NewSnapshot()
	c.AddNode(Node("n"))
	port := func(p *v1.Pod) { p.Spec.Containers[0].Ports = []v1.ContainerPort{{HostPort: 80}} }
	must(t, c.AddPod(Pod("a", CPU("1"), On("n"), port)))
	c.UpdateSnapshot(s)
	must(t, c.AddPod(Pod("b", CPU("1"), On("n"))))
	must(t, c.RemovePod(Pod("a", On("n"))))
	n, _ := s.Get("n")
	if len(n.GetPods()) != 1 || n.GetPods()[0].GetPod().Name != "a" || n.GetUsedPorts().Len() != 1 || n.GetRequested().GetMilliCPU() != 1000 {
		t.Errorf("the snapshot changed: %v", n)
	}
	before := n.GetGeneration()
	c.UpdateSnapshot(s)
	if len(n.GetPods()) != 1 || n.GetPods()[0].GetPod().Name != "b" || n.GetUsedPorts().Len() != 0 || n.GetGeneration() <= before {
		t.Errorf("the snapshot is outdated: %v", n)
	}
	copied := n.Snapshot()
	copied.AddPodInfo(info(Pod("c", On("n"))))
	if len(n.GetPods()) != 1 {
		t.Error("a copy's change shows in the original")
	}
}

func TestZonesTakeTurns(t *testing.T) {
	c, s := cache.New(), cache.NewSnapshot()
	for _, name := range []string{"a1", "a2", "a3", "b1", "c1"} {
		c.AddNode(Node(name, Labelled(v1.LabelTopologyZone, name[:1])))
	}
	c.UpdateSnapshot(s)
	nodes, _ := s.List()
	var names []string
	for _, n := range nodes {
		names = append(names, n.Node().Name)
	}
	expect(t, names, "a1", "b1", "c1", "a2", "a3")
}

func TestAffinityLists(t *testing.T) {
	c, s := cache.New(), cache.NewSnapshot()
	c.AddNode(Node("n"))
	repels := Affinity(v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{{TopologyKey: "zone"}}}})
	count := func() (int, int) {
		c.UpdateSnapshot(s)
		affinity, _ := s.HavePodsWithAffinityList()
		anti, _ := s.HavePodsWithRequiredAntiAffinityList()
		return len(affinity), len(anti)
	}
	must(t, c.AddPod(Pod("p", On("n"), repels)))
	if a, b := count(); a != 1 || b != 1 {
		t.Errorf("%d, %d", a, b)
	}
	must(t, c.RemovePod(Pod("p", On("n"), repels)))
	if a, b := count(); a != 0 || b != 0 {
		t.Errorf("after removal: %d, %d", a, b)
	}
}

func TestImagesAreCountedOverNodes(t *testing.T) {
	c, s := cache.New(), cache.NewSnapshot()
	holds := func(n *v1.Node) { n.Status.Images = []v1.ContainerImage{{Names: []string{"web:1"}, SizeBytes: 7}} }
	c.AddNode(Node("n", holds))
	c.AddNode(Node("m", holds))
	c.UpdateSnapshot(s)
	n, _ := s.Get("n")
	if got := n.GetImageStates()["web:1"]; got.NumNodes != 2 || got.Size != 7 {
		t.Errorf("%+v", got)
	}
	c.AddNode(Node("m"))
	must(t, c.AddPod(Pod("p", On("n"))))
	c.UpdateSnapshot(s)
	if got := n.GetImageStates()["web:1"]; got.NumNodes != 1 {
		t.Errorf("%+v", got)
	}
}

func TestTheSnapshotLogsWhatChanged(t *testing.T) {
	c, s := cache.New(), cache.NewSnapshot()
	for i := range 3 {
		c.AddNode(Node(fmt.Sprintf("n%d", i)))
	}
	c.UpdateSnapshot(s)
	layout := s.Layout()
	_, seen, _ := s.Changes(0)
	changed := func() (names []string, all bool) {
		places, now, all := s.Changes(seen)
		for _, place := range places {
			names = append(names, s.All()[place].Node().Name)
		}
		seen = now
		return names, all
	}
	if err := c.AddPod(Pod("p", On("n1"))); err != nil {
		t.Fatal(err)
	}
	c.AddNode(Node("n2", Cordoned))
	c.UpdateSnapshot(s)
	names, all := changed()
	slices.Sort(names)
	if all || !slices.Equal(names, []string{"n1", "n2"}) || s.Layout() != layout {
		t.Errorf("changed: %v, all: %t, layout %d after %d", names, all, s.Layout(), layout)
	}
	c.UpdateSnapshot(s)
	if names, all := changed(); all || len(names) > 0 {
		t.Errorf("nothing changed, but %v, all: %t", names, all)
	}
	for i := range 5000 {
		c.AddNode(Node("n0", Labelled("i", fmt.Sprint(i))))
		c.UpdateSnapshot(s)
	}
	if _, all := changed(); !all {
		t.Error("the log must end somewhere and say so")
	}
	if names, all := changed(); all || len(names) > 0 {
		t.Errorf("who has caught up misses nothing, but %v, all: %t", names, all)
	}
	c.AddNode(Node("n3"))
	c.UpdateSnapshot(s)
	if s.Layout() == layout {
		t.Error("a new node makes a new list")
	}
}
