package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/configuration"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

// cluster is a scheduler that runs against a fake API server.
type cluster struct {
	*testing.T
	client *fake.Clientset
	events chan string
	ctx    context.Context
	// refusals is how many bindings are still to fail.
	refusals atomic.Int32
}

type listener struct{ events chan string }

//nolint:revive // events.EventRecorder asks for all of them
func (l listener) Eventf(regarding, _ apiruntime.Object, _, reason, _, note string, args ...any) {
	l.events <- fmt.Sprintf("%s %s: %s", regarding.(*v1.Pod).Name, reason, fmt.Sprintf(note, args...))
}

func (l listener) WithLogger(klog.Logger) events.EventRecorderLogger { return l }

func start(t *testing.T, config string, plugins runtime.Registry, objects ...apiruntime.Object) *cluster {
	t.Helper()
	return startWith(t, &Config{Component: parse(t, config), Plugins: plugins}, objects...)
}

func parse(t *testing.T, config string) *configv1.KubeSchedulerConfiguration {
	t.Helper()
	component, err := configuration.Parse([]byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n" + config))
	if err != nil {
		t.Fatal(err)
	}
	if err := configuration.Validate(component); err != nil {
		t.Fatal(err)
	}
	return component
}

func startWith(t *testing.T, config *Config, objects ...apiruntime.Object) *cluster {
	t.Helper()
	c := &cluster{T: t, client: fake.NewClientset(objects...), events: make(chan string, 1000)}
	c.client.PrependReactor("create", "pods", c.bind)
	var stop context.CancelFunc
	c.ctx, stop = context.WithCancel(context.Background())
	shared := &runtime.Shared{
		Client: c.client, Informers: newInformers(c.client), Parallelism: 4, Metrics: metrics.New(),
		Recorder: func(string) events.EventRecorderLogger { return listener{c.events} },
	}
	sched, registered, err := assemble(c.ctx, config, shared)
	if err != nil {
		t.Fatal(err)
	}
	synced, err := sched.Watch(shared.Informers, registered)
	if err != nil {
		t.Fatal(err)
	}
	shared.Informers.StartWithContext(c.ctx)
	if !clientcache.WaitFor(c.ctx, "", synced...) {
		t.Fatal("informers did not sync")
	}
	done := make(chan struct{})
	go func() {
		sched.run(c.ctx)
		close(done)
	}()
	t.Cleanup(func() {
		stop()
		<-done
		shared.Informers.Shutdown()
	})
	return c
}

// bind does what the API server does on POST to pods/binding.
func (c *cluster) bind(action clienttesting.Action) (bool, apiruntime.Object, error) {
	if action.GetSubresource() != "binding" {
		return false, nil, nil
	}
	if c.refusals.Add(-1) >= 0 {
		return true, nil, errors.New("refused")
	}
	binding := action.(clienttesting.CreateAction).GetObject().(*v1.Binding)
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	obj, err := c.client.Tracker().Get(pods, binding.Namespace, binding.Name)
	if err != nil {
		return true, nil, err
	}
	pod := obj.(*v1.Pod).DeepCopy()
	pod.Spec.NodeName = binding.Target.Name
	pod.ResourceVersion += "1"
	return true, binding, c.client.Tracker().Update(pods, pod, binding.Namespace)
}

func (c *cluster) create(pods ...*v1.Pod) {
	c.Helper()
	for _, pod := range pods {
		if _, err := c.client.CoreV1().Pods(pod.Namespace).Create(c.ctx, pod, metav1.CreateOptions{}); err != nil {
			c.Fatal(err)
		}
	}
}

// event waits for an event that begins so.
func (c *cluster) event(prefix string) string {
	c.Helper()
	return c.eventWith(func(event string) bool { return strings.HasPrefix(event, prefix) }, prefix)
}

func (c *cluster) eventWith(wanted func(string) bool, what string) string {
	c.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case event := <-c.events:
			if wanted(event) {
				return event
			}
		case <-timeout:
			c.Fatalf("no event %q", what)
		}
	}
}

// pod waits until the pod satisfies the condition.
func (c *cluster) pod(name string, satisfies func(*v1.Pod) bool) *v1.Pod {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	watcher, err := c.client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		c.Fatal(err)
	}
	defer watcher.Stop()
	current, err := c.client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
	if err == nil && satisfies(current) {
		return current
	}
	for {
		select {
		case event := <-watcher.ResultChan():
			if pod, ok := event.Object.(*v1.Pod); ok && event.Type != watch.Deleted && pod.Name == name && satisfies(pod) {
				return pod
			}
		case <-ctx.Done():
			c.Fatalf("pod %s stayed as it was: %+v", name, current)
		}
	}
}

func bound(pod *v1.Pod) bool { return pod.Spec.NodeName != "" }

func TestBindsToTheLeastUsedNode(t *testing.T) {
	c := start(t, "", nil, Node("n1"), Node("n2"), Pod("old", CPU("2"), On("n1")))
	c.create(Pod("new", CPU("1")))
	if pod := c.pod("new", bound); pod.Spec.NodeName != "n2" {
		t.Errorf("bound to %s", pod.Spec.NodeName)
	}
	if event := c.event("new Scheduled"); event != "new Scheduled: Successfully assigned default/new to n2" {
		t.Error(event)
	}
}

func TestSaysWhyAPodIsPending(t *testing.T) {
	c := start(t, "", nil, Node("n1"), Node("n2", Tainted("x", v1.TaintEffectNoSchedule)), Node("n3", Tainted("x", v1.TaintEffectNoExecute)))
	c.create(Pod("big", CPU("5")))
	const want = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
	if event := c.event("big FailedScheduling"); event != "big FailedScheduling: "+want {
		t.Error(event)
	}
	pod := c.pod("big", func(pod *v1.Pod) bool { return len(pod.Status.Conditions) > 0 })
	if got := pod.Status.Conditions[0]; got.Type != v1.PodScheduled || got.Status != v1.ConditionFalse || got.Reason != v1.PodReasonUnschedulable || got.Message != want {
		t.Errorf("%+v", got)
	}
}

func TestWithoutNodes(t *testing.T) {
	c := start(t, "", nil)
	c.create(Pod("p"))
	if event := c.event("p FailedScheduling"); event != "p FailedScheduling: no nodes available to schedule pods" {
		t.Error(event)
	}
	if _, err := c.client.CoreV1().Nodes().Create(c.ctx, Node("n1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.pod("p", bound)
}

func TestNodeEventWakesPod(t *testing.T) {
	small := Node("n1", Offers(map[v1.ResourceName]string{v1.ResourceCPU: "1", v1.ResourcePods: "10"}))
	c := start(t, "", nil, small)
	c.create(Pod("p", CPU("2")))
	c.event("p FailedScheduling")
	if _, err := c.client.CoreV1().Nodes().UpdateStatus(c.ctx, Node("n1"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.pod("p", bound)
}

func TestGatedPodWaits(t *testing.T) {
	c := start(t, "", nil, Node("n1"))
	gated := Pod("gated", func(p *v1.Pod) { p.Spec.SchedulingGates = []v1.PodSchedulingGate{{Name: "g"}}; p.ResourceVersion = "1" })
	c.create(gated, Pod("free"))
	c.pod("free", bound)
	if pod := c.pod("gated", func(*v1.Pod) bool { return true }); bound(pod) {
		t.Error("a gated pod was scheduled")
	}
	open := gated.DeepCopy()
	open.Spec.SchedulingGates, open.ResourceVersion = nil, "2"
	if _, err := c.client.CoreV1().Pods("default").Update(c.ctx, open, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.pod("gated", bound)
}

func TestPreempts(t *testing.T) {
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "default"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: Selects("app", "protected")},
	}
	c := start(t, "", nil, Node("n1"), Node("n2"), budget,
		Pod("protected", CPU("4"), On("n1"), Priority(0), Labels("app", "protected")),
		Pod("victim", CPU("4"), On("n2"), Priority(0), Labels("app", "x")))
	c.create(Pod("important", CPU("2"), Priority(100)))
	c.event("victim Preempted: Preempted by pod important on node n2")
	pod := c.pod("important", bound)
	if pod.Spec.NodeName != "n2" {
		t.Errorf("bound to %s", pod.Spec.NodeName)
	}
	if _, err := c.client.CoreV1().Pods("default").Get(c.ctx, "victim", metav1.GetOptions{}); err == nil {
		t.Error("the victim is still there")
	}
	marked := false
	for _, action := range c.client.Actions() {
		if patch, ok := action.(clienttesting.PatchAction); ok && patch.GetName() == "victim" {
			marked = strings.Contains(string(patch.GetPatch()), `"reason":"PreemptionByScheduler"`)
		}
	}
	if !marked {
		t.Error("the victim was not marked with DisruptionTarget")
	}
}

func TestPreemptionPolicyNever(t *testing.T) {
	c := start(t, "", nil, Node("n1"), Pod("low", CPU("4"), On("n1"), Priority(0)))
	never := v1.PreemptNever
	c.create(Pod("polite", CPU("2"), Priority(100), func(p *v1.Pod) { p.Spec.PreemptionPolicy = &never }))
	want := "polite FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
	if event := c.event("polite FailedScheduling"); event != want {
		t.Error(event)
	}
}

func TestProfiles(t *testing.T) {
	c := start(t, `
profiles:
- schedulerName: default-scheduler
- schedulerName: packing
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
  plugins:
    score:
      disabled: [{name: NodeResourcesBalancedAllocation}]
`, nil, Node("n1"), Node("n2"), Pod("old", CPU("2"), On("n1")))
	c.create(Pod("packed", CPU("1"), func(p *v1.Pod) { p.Spec.SchedulerName = "packing" }), Pod("foreign", func(p *v1.Pod) { p.Spec.SchedulerName = "other" }))
	if pod := c.pod("packed", bound); pod.Spec.NodeName != "n1" {
		t.Errorf("bound to %s", pod.Spec.NodeName)
	}
	if pod := c.pod("foreign", func(*v1.Pod) bool { return true }); bound(pod) {
		t.Error("a pod of another scheduler was bound")
	}
}

// odd is a plugin as somebody else would compile it in: it wants odd nodes and holds pods at Permit.
type odd struct {
	handle fwk.Handle
	args   string
}

func (odd) Name() string { return "Odd" }

func (odd) Filter(_ context.Context, _ fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	if strings.HasSuffix(node.Node().Name, "1") {
		return nil
	}
	return fwk.NewStatus(fwk.Unschedulable, "node(s) were even")
}

func (o odd) Permit(_ context.Context, _ fwk.CycleState, pod *v1.Pod, _ string) (*fwk.Status, time.Duration) {
	if pod.Labels["wait"] == "" {
		o.handle.IterateOverWaitingPods(func(w fwk.WaitingPod) { w.Allow("Odd") })
		return nil, 0
	}
	return fwk.NewStatus(fwk.Wait), time.Minute
}

func TestOutOfTreePlugin(t *testing.T) {
	var made odd
	factory := func(_ context.Context, args apiruntime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		made = odd{handle: handle, args: string(args.(*apiruntime.Unknown).Raw)}
		return made, nil
	}
	c := start(t, `
profiles:
- plugins: {multiPoint: {enabled: [{name: Odd}]}}
  pluginConfig: [{name: Odd, args: {a: 1}}]
`, runtime.Registry{"Odd": factory}, Node("n1"), Node("n2"))
	if made.args != `{"a":1}` {
		t.Errorf("arguments: %s", made.args)
	}
	c.create(Pod("held", Labels("wait", "yes")), Pod("passing"))
	for _, name := range []string{"passing", "held"} {
		if pod := c.pod(name, bound); pod.Spec.NodeName != "n1" {
			t.Errorf("%s bound to %s", name, pod.Spec.NodeName)
		}
		made.handle.IterateOverWaitingPods(func(w fwk.WaitingPod) { w.Allow("Odd") })
	}
}

func TestFailedBindingIsRetried(t *testing.T) {
	c := start(t, "", nil, Node("n1"))
	c.refusals.Store(1)
	c.create(Pod("p", CPU("3")))
	c.event("p FailedScheduling: running Bind plugin \"DefaultBinder\": refused")
	c.pod("p", bound)
}
