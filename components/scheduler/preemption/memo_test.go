package preemption_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler"
	"github.com/plumbline/plumbline/components/scheduler/cache"
	"github.com/plumbline/plumbline/components/scheduler/configuration"
	"github.com/plumbline/plumbline/components/scheduler/diagnosis"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	"github.com/plumbline/plumbline/components/scheduler/preemption"
	"github.com/plumbline/plumbline/components/scheduler/queue"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

// full is a cluster without room, in which pods come and go at random.
type full struct {
	*testing.T
	dice      *rand.Rand
	cache     *cache.Cache
	snapshot  *cache.Snapshot
	nominator *queue.Nominator
	profile   *runtime.Profile
	pods      clientcache.Store
	budgets   clientcache.Store
	running   []*v1.Pod
	nodes     int
	made      int
	clock     int
	// repelling is how many percent of the pods keep preemptors away, so that other nodes matter to these.
	repelling int
}

func newFull(t *testing.T, dice *rand.Rand) *full {
	t.Helper()
	config, err := configuration.Default()
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	c := &full{
		T: t, dice: dice, cache: cache.New(), snapshot: cache.NewSnapshot(), nominator: queue.NewNominator(nil),
		pods:    factory.Core().V1().Pods().Informer().GetStore(),
		budgets: factory.Policy().V1().PodDisruptionBudgets().Informer().GetStore(),
		nodes:   5 + dice.IntN(30),
	}
	if c.chance(30) {
		c.repelling = 3
	}
	m := metrics.New()
	c.profile, err = runtime.NewProfile(t.Context(), &config.Profiles[0], scheduler.Plugins(m), &runtime.Shared{
		Client: client, Informers: factory, Snapshot: c.snapshot, Nominator: c.nominator, Parallelism: 1, Metrics: m,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.nodes {
		c.cache.AddNode(Node(name(i)))
		for range 4 {
			c.run(i)
		}
	}
	if c.chance(60) {
		for app := range 2 {
			c.budget(app)
		}
	}
	return c
}

func name(node int) string { return fmt.Sprintf("node-%02d", node) }

func (c *full) chance(percent int) bool { return c.dice.IntN(100) < percent }

// run starts a pod on the node.
func (c *full) run(node int) {
	c.made++
	pod := Pod(fmt.Sprintf("low-%d", c.made), On(name(node)), Labels("app", fmt.Sprint(c.dice.IntN(4))), Priority(int32(c.dice.IntN(4))),
		CPU([]string{"500m", "900m", "1500m"}[c.dice.IntN(3)]))
	if c.chance(90) {
		c.clock++
		start := metav1.NewTime(time.Unix(int64(c.clock/3), 0))
		pod.Status.StartTime = &start
	}
	if c.chance(c.repelling) {
		Affinity(v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{{
			TopologyKey: v1.LabelHostname, LabelSelector: Selects("tier", "important"),
		}}}})(pod)
	}
	if err := c.cache.AddPod(pod); err != nil {
		c.Fatal(err)
	}
	c.running = append(c.running, pod)
}

func (c *full) stop(pod *v1.Pod) {
	if err := c.cache.RemovePod(pod); err != nil {
		c.Fatal(err)
	}
	c.running = slices.DeleteFunc(c.running, func(p *v1.Pod) bool { return p == pod })
}

// budget sets how many pods of an app may be disrupted.
func (c *full) budget(app int) {
	c.made++
	b := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint(app), UID: types.UID(fmt.Sprint(app)), Generation: int64(c.made)},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: Selects("app", fmt.Sprint((app+c.dice.IntN(2))%4))},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: int32(c.dice.IntN(3))},
	}
	if err := c.budgets.Add(b); err != nil {
		c.Fatal(err)
	}
}

// live lets something happen.
func (c *full) live() {
	switch {
	case c.chance(60):
		c.run(c.dice.IntN(c.nodes))
	case c.chance(60) && len(c.running) > 0:
		c.stop(c.running[c.dice.IntN(len(c.running))])
	case c.chance(60):
		for _, object := range c.budgets.List() {
			// What is allowed changes without the budget becoming another.
			b := object.(*policyv1.PodDisruptionBudget).DeepCopy()
			b.Status.DisruptionsAllowed = int32(c.dice.IntN(3))
			if err := c.budgets.Update(b); err != nil {
				c.Fatal(err)
			}
		}
	case len(c.budgets.List()) > 0:
		c.budget(c.dice.IntN(2))
	}
}

// preemptor is a pod of one of a few classes and priorities.
func (c *full) preemptor() *v1.Pod {
	c.made++
	pod := Pod(fmt.Sprintf("high-%d", c.made), Labels("tier", "important"), Priority(int32(1+c.dice.IntN(4))), CPU([]string{"1", "2", "3500m"}[c.dice.IntN(3)]))
	if c.chance(5) {
		Spread(v1.TopologySpreadConstraint{MaxSkew: 1, TopologyKey: v1.LabelHostname, WhenUnsatisfiable: v1.DoNotSchedule, LabelSelector: Selects("app", "1")})(pod)
	}
	if err := c.pods.Add(pod); err != nil {
		c.Fatal(err)
	}
	return pod
}

// evaluate takes a pod through a cycle as far as the choice of victims.
func (c *full) evaluate(e *preemption.Evaluator, pod *v1.Pod) (*preemption.Candidate, string) {
	c.cache.UpdateSnapshot(c.snapshot)
	state, statuses := runtime.NewCycleState(false), diagnosis.NewNodeStatuses()
	if _, status, _ := c.profile.RunPreFilterPlugins(c.Context(), state, pod); !status.IsSuccess() {
		c.Fatal(status.AsError())
	}
	for _, node := range c.snapshot.All() {
		status := c.profile.RunFilterPluginsWithNominatedPods(c.Context(), state, pod, node)
		if status.Code() == fwk.Error {
			c.Fatal(status.AsError())
		}
		if !status.IsSuccess() {
			statuses.Set(node.Node().Name, status)
		}
	}
	chosen, denominate, status := e.Evaluate(c.Context(), state, pod, statuses)
	text := fmt.Sprint(denominate, status.Code(), status.Message())
	if chosen != nil {
		text += fmt.Sprintf(" %s, exceeding %d:", chosen.Node(), chosen.Violations())
		for _, victim := range chosen.Victims() {
			text += " " + victim.Name
		}
	}
	return chosen, text
}

// plain hides what a handle can tell beyond the interface.
type plain struct{ fwk.Handle }

// TestRememberedDryRuns holds the choice of a node and its victims by what is remembered of earlier preemptors to the
// choice of an evaluator that tries every node anew.
func TestRememberedDryRuns(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	dice := rand.New(rand.NewPCG(seed, 0))
	preempted, remembered := 0, 0
	for range 30 {
		c := newFull(t, dice)
		remembering, forgetful := preemption.NewEvaluator(c.profile, 10, 5), preemption.NewEvaluator(plain{c.profile}, 10, 5)
		for range 60 {
			for range dice.IntN(3) {
				c.live()
			}
			offset := dice.Int()
			for _, e := range []*preemption.Evaluator{remembering, forgetful} {
				e.BeginAt(func(nodes int) int { return offset % nodes })
			}
			pod := c.preemptor()
			chosen, got := c.evaluate(remembering, pod)
			if _, want := c.evaluate(forgetful, pod); got != want {
				t.Fatalf("seed %d, %s:\nremembering %s\nforgetful   %s", seed, pod.Name, got, want)
			}
			if chosen == nil {
				continue
			}
			preempted++
			info, err := nodeinfo.NewPodInfo(pod)
			if err != nil {
				t.Fatal(err)
			}
			c.nominator.AddNominatedPod(klog.Background(), info, &fwk.NominatingInfo{NominatingMode: fwk.ModeOverride, NominatedNodeName: chosen.Node()})
			if c.chance(50) {
				for _, victim := range chosen.Victims() {
					c.stop(victim)
				}
			}
		}
		if forgetful.Remembered() > 0 {
			t.Fatal("a handle that tells nothing allows no remembering")
		}
		remembered += remembering.Remembered()
	}
	t.Logf("seed %d: %d preemptions, %d outcomes remembered", seed, preempted, remembered)
	if preempted < 100 || remembered < 100 {
		t.Errorf("seed %d: too little happened", seed)
	}
}
