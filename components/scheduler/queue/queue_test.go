package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/plugins/prioritysort"
	"github.com/plumbline/plumbline/components/scheduler/plugins/schedulinggates"
	test "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

var (
	nodeAdded   = clusterevent.Event(fwk.Node, fwk.Add)
	nodeTainted = clusterevent.Event(fwk.Node, fwk.UpdateNodeTaint)
)

// newQueue has a plugin Fit that wants added nodes whose name is "good", and scheduling gates.
func newQueue(t *testing.T) *Queue {
	t.Helper()
	q := New(Config{InitialBackoff: time.Second, MaxBackoff: 10 * time.Second, Nominator: NewNominator(nil), Metrics: metrics.New()})
	good := func(_ klog.Logger, _ *v1.Pod, _, newer any) (fwk.QueueingHint, error) {
		if newer.(*v1.Node).Name == "good" {
			return fwk.Queue, nil
		}
		return fwk.QueueSkip, nil
	}
	gates, _ := schedulinggates.SchedulingGates{}.EventsToRegister(context.Background())
	q.SetProfiles(prioritysort.PrioritySort{}.Less, map[string]Profile{v1.DefaultSchedulerName: {
		PreEnqueue: []fwk.PreEnqueuePlugin{schedulinggates.SchedulingGates{}},
		Events: map[string][]fwk.ClusterEventWithHint{
			"Fit":                {{Event: nodeAdded, QueueingHintFn: good}},
			"Taint":              {{Event: nodeTainted}},
			schedulinggates.Name: gates,
		},
	}})
	return q
}

// pass lets (the bubble's) time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (q *Queue) names(t *testing.T, n int) []string {
	t.Helper()
	var names []string
	for range n {
		names = append(names, q.Pop().GetPod().Name)
	}
	return names
}

func (q *Queue) expect(t *testing.T, active, backoff, unschedulable, gated int) {
	t.Helper()
	a, b, u, g := q.Sizes()
	if a != active || b != backoff || u != unschedulable || g != gated {
		t.Errorf("active %d, backoff %d, unschedulable %d, gated %d; want %d, %d, %d, %d", a, b, u, g, active, backoff, unschedulable, gated)
	}
}

// rejectNext pops the next pod and returns it as rejected by the plugins.
func (q *Queue) rejectNext(t *testing.T, plugins ...string) *Pod {
	t.Helper()
	p := q.Pop()
	p.Unschedulable = sets.New(plugins...)
	if err := q.AddUnschedulable(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		for _, pod := range []*v1.Pod{test.Pod("old"), test.Pod("important", test.Priority(10)), test.Pod("new"), test.Pod("negative", test.Priority(-1))} {
			q.Add(pod)
			pass(time.Second)
		}
		want := []string{"important", "old", "new", "negative"}
		for i, name := range q.names(t, 4) {
			if name != want[i] {
				t.Errorf("%d: %s, want %s", i, name, want[i])
			}
		}
	})
}

func TestOnlyEventsThatHelpWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.Add(test.Pod("p"))
		q.rejectNext(t, "Fit")
		q.expect(t, 0, 0, 1, 0)
		q.Move(nodeTainted, test.Node("n"), test.Node("n"), nil)
		q.Move(nodeAdded, nil, test.Node("bad"), nil)
		q.expect(t, 0, 0, 1, 0)
		q.Move(nodeAdded, nil, test.Node("good"), func(*v1.Pod) bool { return false })
		q.expect(t, 0, 0, 1, 0)
		q.Move(nodeAdded, nil, test.Node("good"), nil)
		q.expect(t, 0, 1, 0, 0)
		pass(999 * time.Millisecond)
		q.expect(t, 0, 1, 0, 0)
		pass(time.Millisecond)
		q.expect(t, 1, 0, 0, 0)
	})
}

func TestBackoffGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.Add(test.Pod("p"))
		for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
			p := q.rejectNext(t, "Fit")
			if got := time.Until(p.backoffExpires); got != want*time.Second {
				t.Errorf("pause %v, want %vs", got, int64(want))
			}
			pass(20 * time.Second)
			q.Move(nodeAdded, nil, test.Node("good"), nil)
			q.expect(t, 1, 0, 0, 0)
		}
	})
}

func TestPopsFromBackoffRatherThanIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.Add(test.Pod("p"))
		q.rejectNext(t, "Fit")
		q.Move(nodeAdded, nil, test.Node("good"), nil)
		q.expect(t, 0, 1, 0, 0)
		if got := q.names(t, 1); got[0] != "p" {
			t.Error(got)
		}
	})
}

func TestErrorsWaitOutTheirPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.Add(test.Pod("p"))
		q.rejectNext(t)
		q.expect(t, 0, 1, 0, 0)
		popped := make(chan string)
		go func() { popped <- q.Pop().GetPod().Name }()
		pass(999 * time.Millisecond)
		select {
		case <-popped:
			t.Fatal("popped before the pause was over")
		default:
		}
		if got := <-popped; got != "p" {
			t.Error(got)
		}
	})
}

func TestEventWhileInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.Add(test.Pod("p"))
		p := q.Pop()
		q.Move(nodeAdded, nil, test.Node("good"), nil)
		p.Unschedulable = sets.New("Fit")
		if err := q.AddUnschedulable(p); err != nil {
			t.Fatal(err)
		}
		q.expect(t, 0, 1, 0, 0)
		if len(q.flights.changes) != 0 || len(q.flights.start) != 0 {
			t.Errorf("left over: %+v", q.flights)
		}
	})
}

func TestEventBeforeFlightDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.Add(test.Pod("a"))
		q.Add(test.Pod("b"))
		a := q.Pop()
		q.Move(nodeAdded, nil, test.Node("good"), nil)
		b := q.Pop()
		for _, p := range []*Pod{b, a} {
			p.Unschedulable = sets.New("Fit")
			if err := q.AddUnschedulable(p); err != nil {
				t.Fatal(err)
			}
		}
		q.expect(t, 0, 1, 1, 0)
	})
}

func TestPendingPodsSkipBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.Add(test.Pod("p"))
		p := q.Pop()
		p.Unschedulable, p.Pending = sets.New("Fit"), sets.New("Fit")
		if err := q.AddUnschedulable(p); err != nil {
			t.Fatal(err)
		}
		q.Move(nodeAdded, nil, test.Node("good"), nil)
		q.expect(t, 1, 0, 0, 0)
	})
}

// evicting is a plugin that had pods evicted for p.
type evicting map[types.UID]bool

func (evicting) Name() string                                    { return "Evicting" }
func (evicting) PreEnqueue(context.Context, *v1.Pod) *fwk.Status { return nil }
func (e evicting) Awaits(waiting types.UID, gone *v1.Pod) (awaited, more bool) {
	awaited = waiting == "p" && e[gone.UID]
	delete(e, gone.UID)
	return awaited, awaited && len(e) > 0
}

func TestPreemptorsWaitForTheirLastVictim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deleted := clusterevent.Event(fwk.AssignedPod, fwk.Delete)
		q := newQueue(t)
		q.SetProfiles(prioritysort.PrioritySort{}.Less, map[string]Profile{v1.DefaultSchedulerName: {
			PreEnqueue: []fwk.PreEnqueuePlugin{evicting{"a": true, "b": true}},
			Events:     map[string][]fwk.ClusterEventWithHint{"Fit": {{Event: deleted}}},
		}})
		q.Add(test.Pod("p"))
		q.rejectNext(t, "Fit")
		q.Move(deleted, test.Pod("a"), nil, nil)
		q.expect(t, 0, 0, 1, 0)
		q.Move(deleted, test.Pod("b"), nil, nil)
		q.expect(t, 1, 0, 0, 0)
		q.rejectNext(t, "Fit")
		q.Move(deleted, test.Pod("stranger"), nil, nil)
		q.expect(t, 0, 1, 0, 0)
	})
}

func TestGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		gated := test.Pod("p", func(p *v1.Pod) { p.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "a"}, {Name: "b"}} })
		q.Add(gated)
		q.expect(t, 0, 0, 0, 1)
		q.Move(nodeAdded, nil, test.Node("good"), nil)
		q.expect(t, 0, 0, 0, 1)
		half := test.Pod("p", func(p *v1.Pod) { p.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "b"}} })
		q.Update(gated, half)
		q.expect(t, 0, 0, 0, 1)
		q.Update(half, test.Pod("p"))
		q.expect(t, 1, 0, 0, 0)
	})
}

func TestUpdateOfWaitingPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.Add(test.Pod("p"))
		q.Update(test.Pod("p"), test.Pod("p", test.Labels("a", "b")))
		if got := q.Pop().GetPod().Labels["a"]; got != "b" {
			t.Errorf("the update was lost: %q", got)
		}
	})
}

func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.Add(test.Pod("a"))
		q.Add(test.Pod("b"))
		q.rejectNext(t, "Fit")
		q.Delete(test.Pod("a"))
		q.Delete(test.Pod("b"))
		q.expect(t, 0, 0, 0, 0)
	})
}

func TestActivate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.Add(test.Pod("p"))
		q.rejectNext(t, "Fit")
		q.Activate(klog.Background(), map[string]*v1.Pod{"p": test.Pod("p")})
		q.expect(t, 1, 0, 0, 0)
	})
}

func TestLeftoversAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			q.Run(ctx)
			close(done)
		}()
		q.Add(test.Pod("p"))
		q.rejectNext(t, "Fit")
		pass(maxUnschedulable + leftoverPeriod)
		q.expect(t, 1, 0, 0, 0)
		q.names(t, 1)
		stop()
		<-done
		if p := q.Pop(); p != nil {
			t.Errorf("a closed queue gave %v", p)
		}
	})
}

func TestNominator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNominator(nil)
		nominate := func(node string) *fwk.NominatingInfo {
			return &fwk.NominatingInfo{NominatedNodeName: node, NominatingMode: fwk.ModeOverride}
		}
		expect := func(node string, want int) {
			t.Helper()
			if got := len(n.NominatedPodsForNode(node)); got != want {
				t.Errorf("%s: %d pods, want %d", node, got, want)
			}
		}
		info := func(edits ...func(*v1.Pod)) fwk.PodInfo {
			q := newQueue(t)
			q.Add(test.Pod("p", edits...))
			return q.Pop().PodInfo
		}
		nominatedTo := func(node string) func(*v1.Pod) {
			return func(p *v1.Pod) { p.Status.NominatedNodeName = node }
		}
		n.AddNominatedPod(klog.Background(), info(), nominate("n1"))
		expect("n1", 1)
		changes := n.NominationChanges()
		n.DeleteNominatedPodIfExists(test.Pod("other"))
		if n.NominationChanges() != changes {
			t.Error("nothing changed")
		}
		n.EachNominated(func(node string, pods []fwk.PodInfo) {
			if node != "n1" || len(pods) != 1 {
				t.Errorf("%d pods are nominated to %s", len(pods), node)
			}
		})
		n.UpdateNominatedPod(klog.Background(), test.Pod("p"), info(test.Labels("a", "b")))
		expect("n1", 1)
		n.UpdateNominatedPod(klog.Background(), test.Pod("p"), info(nominatedTo("n2")))
		expect("n1", 0)
		expect("n2", 1)
		n.AddNominatedPod(klog.Background(), info(nominatedTo("n2")), nil)
		expect("n2", 1)
		n.AddNominatedPod(klog.Background(), info(nominatedTo("n2")), nominate(""))
		expect("n2", 0)
		n.AddNominatedPod(klog.Background(), info(), nominate("n1"))
		n.DeleteNominatedPodIfExists(test.Pod("p"))
		expect("n1", 0)
		if n.NominationChanges() == changes || n.Any() {
			t.Error("the changes were not noted")
		}
	})
}
