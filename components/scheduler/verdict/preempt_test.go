package verdict

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

// crowded is a cluster full of unimportant pods, four a node, in which important ones must evict three of them each.
type crowded struct {
	*cluster
	testing.TB
	pods clientcache.Store
	next int
}

func newCrowded(t testing.TB, nodes int) *crowded {
	t.Helper()
	c, err := newCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	full := &crowded{cluster: c, TB: t, pods: c.informers.Core().V1().Pods().Informer().GetStore()}
	for n := range nodes {
		name := fmt.Sprintf("node-%d", n)
		c.scheduler.Cache.AddNode(Node(name, Offers(map[v1.ResourceName]string{v1.ResourceCPU: "4", v1.ResourceMemory: "32Gi", v1.ResourcePods: "110"})))
		for k := range 4 {
			full.run(Pod(fmt.Sprintf("low-%d-%d", n, k), On(name), Requests(map[v1.ResourceName]string{v1.ResourceCPU: "900m", v1.ResourceMemory: "500Mi"})))
		}
	}
	return full
}

func (c *crowded) run(pod *v1.Pod) {
	if err := c.pods.Add(pod); err != nil {
		c.Fatal(err)
	}
	if err := c.scheduler.Cache.AddPod(pod); err != nil {
		c.Fatal(err)
	}
}

// try schedules a new pod, which may fail.
func (c *crowded) try(prefix string, edits ...func(*v1.Pod)) *v1.Pod {
	c.next++
	pod := Pod(fmt.Sprintf("%s-%d", prefix, c.next), edits...)
	if err := c.pods.Add(pod); err != nil {
		c.Fatal(err)
	}
	c.scheduler.Queue.Add(pod)
	c.scheduler.Schedule(c.Context(), c.scheduler.Queue.Pop())
	return pod
}

// preempt schedules an important pod as far as its victims being gone.
func (c *crowded) preempt() *v1.Pod {
	pod := c.try("high", Priority(10), Requests(map[v1.ResourceName]string{v1.ResourceCPU: "3", v1.ResourceMemory: "500Mi"}))
	for range 3 {
		gone, found, err := c.pods.GetByKey("default/" + <-c.done.deleted)
		if err != nil || !found {
			c.Fatal("no such victim", err)
		}
		if err := c.pods.Delete(gone); err != nil {
			c.Fatal(err)
		}
		if err := c.scheduler.Cache.RemovePod(gone.(*v1.Pod)); err != nil {
			c.Fatal(err)
		}
		c.scheduler.Queue.Move(clusterevent.Event(fwk.AssignedPod, fwk.Delete), gone, nil, nil)
	}
	return pod
}

// retry schedules the preemptor again.
func (c *crowded) retry(pod *v1.Pod) {
	c.scheduler.Queue.Activate(klog.Background(), map[string]*v1.Pod{pod.Name: pod})
	c.scheduler.Schedule(c.Context(), c.scheduler.Queue.Pop())
	<-c.done.bound
}

// place is where a pod has been placed.
func (c *crowded) place(pod *v1.Pod) string {
	placed, found := c.scheduler.Cache.Pod(pod.UID)
	if !found {
		return ""
	}
	return placed.Spec.NodeName
}

// TestRoomThatPreemptorsWaitFor tells who may take the room between the victims' end and the preemptor's turn.
func TestRoomThatPreemptorsWaitFor(t *testing.T) {
	c := newCrowded(t, 20)
	var preemptors []*v1.Pod
	for range 8 {
		preemptors = append(preemptors, c.preempt())
	}
	waiting := map[string]*v1.Pod{}
	c.nominator.EachNominated(func(node string, pods []fwk.PodInfo) {
		if len(pods) != 1 {
			t.Errorf("%d pods are nominated to %s", len(pods), node)
		}
		waiting[node] = pods[0].GetPod()
	})
	if len(waiting) != len(preemptors) {
		t.Fatalf("nominated: %v", waiting)
	}
	for range 3 {
		if greedy := c.try("greedy", CPU("500m"), Priority(0)); c.place(greedy) != "" {
			t.Errorf("%s took %s's room", greedy.Name, waiting[c.place(greedy)].Name)
		}
		if modest := c.try("modest", CPU("90m"), Priority(0)); c.place(modest) == "" {
			t.Errorf("%s found no room", modest.Name)
		}
	}
	for node, pod := range waiting {
		if c.retry(pod); c.place(pod) != node {
			t.Errorf("%s went to %q in place of %s", pod.Name, c.place(pod), node)
		}
	}
	left := c.preempt()
	for range 3 {
		if important := c.try("important", CPU("1"), Priority(20)); waiting[c.place(important)] != nil || c.place(important) == "" {
			t.Errorf("a more important pod than %s went to %q", left.Name, c.place(important))
		}
	}
}

// BenchmarkPreemptors measures important pods, each from its entering the queue to its binding, its victims' deletion
// taking no time. So many preemptors before it still wait.
func BenchmarkPreemptors(b *testing.B) {
	for _, waiting := range []int{0, 500} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			c := newCrowded(b, 5000)
			var waiters []*v1.Pod
			for range waiting + 2 {
				waiters = append(waiters, c.preempt())
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				waiters = append(waiters, c.preempt())
				c.retry(waiters[0])
				waiters = waiters[1:]
			}
		})
	}
}

// BenchmarkBesidePreemptors measures small pods that are scheduled while preemptors wait for their turn.
func BenchmarkBesidePreemptors(b *testing.B) {
	for _, waiting := range []int{0, 5, 500} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			c := newCrowded(b, 5000)
			for range waiting {
				c.preempt()
			}
			small := Requests(map[v1.ResourceName]string{v1.ResourceCPU: "1m", v1.ResourceMemory: "1Mi"})
			for range 20 {
				c.try("small", small)
				<-c.done.bound
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				c.try("small", small)
				<-c.done.bound
			}
		})
	}
}
