package scheduler

import (
	"context"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func gang(name string, minCount int32) *schedulingv1beta1.PodGroup {
	return &schedulingv1beta1.PodGroup{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       schedulingv1beta1.PodGroupSpec{SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: minCount}}},
	}
}

func of(group string) func(*v1.Pod) {
	return func(pod *v1.Pod) {
		pod.Spec.SchedulingGroup = &v1.PodSchedulingGroup{PodGroupName: ptr.To(group)}
	}
}

// initially waits until the condition of the group says so.
func (c *cluster) initially(group string, status metav1.ConditionStatus) *metav1.Condition {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	watcher, err := c.client.SchedulingV1beta1().PodGroups("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		c.Fatal(err)
	}
	defer watcher.Stop()
	for {
		current, err := c.client.SchedulingV1beta1().PodGroups("default").Get(ctx, group, metav1.GetOptions{})
		if err != nil {
			c.Fatal(err)
		}
		said := meta.FindStatusCondition(current.Status.Conditions, schedulingv1beta1.PodGroupInitiallyScheduled)
		if said != nil && said.Status == status {
			return said
		}
		select {
		case <-watcher.ResultChan():
		case <-ctx.Done():
			c.Fatalf("the group %s is not initially scheduled: %s, but %v", group, status, said)
		}
	}
}

// grouping switches pod groups on.
func grouping(t *testing.T) *Config {
	t.Helper()
	config, err := DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	if err := config.Features.SetFromMap(map[string]bool{string(GenericWorkload): true}); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestGangIsBoundOnceAllOfItExists(t *testing.T) {
	c := startWith(t, grouping(t), Node("n1"), gang("g", 3))
	c.create(Pod("a", of("g")), Pod("b", of("g")), Pod("alone"))
	c.pod("alone", bound) // The queue has been through with those before it.
	for _, name := range []string{"a", "b"} {
		if pod := c.pod(name, func(*v1.Pod) bool { return true }); bound(pod) {
			t.Errorf("%s is bound to %s without the third", name, pod.Spec.NodeName)
		}
	}
	c.create(Pod("c", of("g")))
	for _, name := range []string{"a", "b", "c"} {
		c.pod(name, bound)
	}
	c.initially("g", metav1.ConditionTrue)
	// A pod that comes later and finds no room takes nothing back.
	c.create(Pod("late", of("g"), CPU("1000")))
	c.event("late FailedScheduling")
	c.initially("g", metav1.ConditionTrue)
}

func TestGangWithoutRoomForAllTakesNone(t *testing.T) {
	c := startWith(t, grouping(t), Node("n1"), gang("g", 3))
	c.create(Pod("a", of("g"), CPU("2")), Pod("b", of("g"), CPU("2")), Pod("c", of("g"), CPU("2")))
	const back = "of the same gang cannot be scheduled"
	c.eventWith(func(event string) bool { return strings.Contains(event, back) }, back)
	for _, name := range []string{"a", "b", "c"} {
		if pod := c.pod(name, func(*v1.Pod) bool { return true }); bound(pod) {
			t.Errorf("%s of half a gang is bound", name)
		}
	}
	if said := c.initially("g", metav1.ConditionFalse); said.Reason != schedulingv1beta1.PodGroupReasonUnschedulable || said.Message == "" {
		t.Errorf("the group's condition is %v", said)
	}
	if _, err := c.client.CoreV1().Nodes().Create(c.ctx, Node("n2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		c.pod(name, bound)
	}
	c.initially("g", metav1.ConditionTrue)
}

func TestPodWaitsForItsGroup(t *testing.T) {
	c := startWith(t, grouping(t), Node("n1"))
	c.create(Pod("a", of("g")), Pod("alone"))
	c.pod("alone", bound)
	if _, err := c.client.SchedulingV1beta1().PodGroups("default").Create(c.ctx, gang("g", 1), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.pod("a", bound)
}

func TestNamingThePluginWithoutTheGateIsAnError(t *testing.T) {
	client := fake.NewClientset()
	config := &Config{Component: parse(t, "profiles: [{plugins: {multiPoint: {enabled: [{name: GangScheduling}]}}}]")}
	_, _, err := assemble(t.Context(), config, &runtime.Shared{Client: client, Informers: newInformers(client), Metrics: metrics.New()})
	if err == nil || !strings.Contains(err.Error(), "GenericWorkload") {
		t.Errorf("%v, want the gate named", err)
	}
}
