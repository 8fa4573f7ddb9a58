package verdict

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

// absent is an extender that has no part in anything. With it, pods are looked at one by one.
type absent struct{ fwk.Extender }

func (absent) IsFilter() bool            { return false }
func (absent) IsPrioritizer() bool       { return false }
func (absent) IsInterested(*v1.Pod) bool { return false }

// lively is a cluster in which pods come, go and are nominated at random.
type lively struct {
	*cluster
	*testing.T
	dice      *rand.Rand
	nodes     []string
	templates []func(name string) *v1.Pod
	running   []*v1.Pod
	nominated []*v1.Pod
	made      int
}

func newLively(t *testing.T, dice *rand.Rand) *lively {
	t.Helper()
	c, err := newCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := &lively{cluster: c, T: t, dice: dice}
	for i := range 6 + dice.IntN(20) {
		name := fmt.Sprintf("node-%02d", i)
		node := Node(name, Labelled(v1.LabelTopologyZone, fmt.Sprintf("zone-%d", dice.IntN(3))))
		if l.chance(10) {
			delete(node.Labels, v1.LabelTopologyZone)
		}
		if l.chance(15) {
			Tainted("dedicated", v1.TaintEffectNoSchedule)(node)
		}
		l.nodes = append(l.nodes, name)
		c.scheduler.Cache.AddNode(node)
	}
	for range 4 {
		l.templates = append(l.templates, l.template())
	}
	return l
}

func (l *lively) chance(percent int) bool { return l.dice.IntN(100) < percent }

// template makes pods of one class, whose priorities differ.
func (l *lively) template() func(name string) *v1.Pod {
	app := func() string { return fmt.Sprintf("app-%d", l.dice.IntN(3)) }
	key := func() string { return []string{v1.LabelHostname, v1.LabelTopologyZone}[l.dice.IntN(2)] }
	edits := []func(*v1.Pod){Labels("app", app()), CPU([]string{"100m", "700m", "1500m", "3"}[l.dice.IntN(4)])}
	if l.chance(35) {
		action := []v1.UnsatisfiableConstraintAction{v1.DoNotSchedule, v1.ScheduleAnyway}[l.dice.IntN(2)]
		edits = append(edits, Spread(v1.TopologySpreadConstraint{MaxSkew: int32(1 + l.dice.IntN(2)), TopologyKey: key(), WhenUnsatisfiable: action, LabelSelector: Selects("app", app())}))
	}
	term := func() v1.PodAffinityTerm {
		return v1.PodAffinityTerm{TopologyKey: key(), LabelSelector: Selects("app", app())}
	}
	affinity := v1.Affinity{}
	if l.chance(20) {
		affinity.PodAffinity = &v1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{term()}}
	}
	if l.chance(35) {
		affinity.PodAntiAffinity = &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{term()}}
	}
	edits = append(edits, Affinity(affinity))
	if l.chance(25) {
		port := int32(8080 + l.dice.IntN(2))
		edits = append(edits, func(p *v1.Pod) { p.Spec.Containers[0].Ports = []v1.ContainerPort{{HostPort: port}} })
	}
	return func(name string) *v1.Pod { return Pod(name, append(edits, Priority(int32(l.dice.IntN(3))))...) }
}

func (l *lively) pod() *v1.Pod {
	l.made++
	return l.templates[l.dice.IntN(len(l.templates))](fmt.Sprintf("pod-%d", l.made))
}

func (l *lively) node() string { return l.nodes[l.dice.IntN(len(l.nodes))] }

// live lets something happen.
func (l *lively) live() {
	switch {
	case l.chance(50):
		pod := l.pod()
		pod.Spec.NodeName = l.node()
		if err := l.scheduler.Cache.AddPod(pod); err != nil {
			l.Fatal(err)
		}
		l.running = append(l.running, pod)
	case l.chance(40) && len(l.running) > 0:
		i := l.dice.IntN(len(l.running))
		if err := l.scheduler.Cache.RemovePod(l.running[i]); err != nil {
			l.Fatal(err)
		}
		l.running = append(l.running[:i], l.running[i+1:]...)
	case l.chance(30) && len(l.nominated) > 0:
		i := l.dice.IntN(len(l.nominated))
		l.nominator.DeleteNominatedPodIfExists(l.nominated[i])
		l.nominated = append(l.nominated[:i], l.nominated[i+1:]...)
	default:
		pod := l.pod()
		pod.Status.NominatedNodeName = l.node()
		info, err := nodeinfo.NewPodInfo(pod)
		if err != nil {
			l.Fatal(err)
		}
		l.nominator.AddNominatedPod(klog.Background(), info, nil)
		l.nominated = append(l.nominated, pod)
	}
}

// TestNominatedPodsShared holds what is said of pods by their class, while others are nominated and some are nominated
// themselves, to what is said of them one by one.
func TestNominatedPodsShared(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	dice := rand.New(rand.NewPCG(seed, 0))
	rejected, nominated := 0, 0
	for range 40 {
		l := newLively(t, dice)
		for range 120 {
			l.live()
			pod := l.pod()
			if len(l.nominated) > 0 && l.chance(30) {
				pod = l.nominated[dice.IntN(len(l.nominated))]
				nominated++
			}
			shared := l.judge(t.Context(), pod)
			l.scheduler.Extenders = []fwk.Extender{absent{}}
			alone := l.judge(t.Context(), pod)
			l.scheduler.Extenders = nil
			if !reflect.DeepEqual(asWritten(t, shared), asWritten(t, alone)) {
				t.Fatalf("seed %d, %s:\nshared %+v\nalone  %+v", seed, pod.Name, shared, alone)
			}
			rejected += len(shared.Nodes)
		}
		l.close()
	}
	t.Logf("seed %d: %d times a node was rejected, %d pods were nominated themselves", seed, rejected, nominated)
}
