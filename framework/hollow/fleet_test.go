package hollow

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/plumbline/plumbline/framework/hollow/v1alpha1"
)

// scene is a fleet with its API server, in a bubble of its own time.
type scene struct {
	t      *testing.T
	client *fake.Clientset
	fleet  *Fleet
}

// play runs a fleet, and then what a test does and looks at.
func play(t *testing.T, spec *v1alpha1.Spec, act func(*scene), present ...runtime.Object) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{t: t, client: fake.NewClientset(present...)}
		// An API server gives every object an identity.
		s.client.PrependReactor("create", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
			made := action.(clienttesting.CreateAction).GetObject().(*corev1.Node)
			made.UID = types.UID("uid-" + made.Name)
			return false, nil, nil
		})
		var err error
		if s.fleet, err = newFleet(s.client, spec); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.fleet.Run(ctx) }()
		synctest.Wait()
		s.pass(time.Second) // what polls has polled
		act(s)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pass lets time pass.
func (s *scene) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *scene) node(name string) *corev1.Node {
	s.t.Helper()
	node, err := s.client.CoreV1().Nodes().Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return node
}

func (s *scene) renewed(name string) time.Time {
	s.t.Helper()
	lease, err := s.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return lease.Spec.RenewTime.Time
}

// bind makes a pod on a node.
func (s *scene) bind(name, node string, change func(*corev1.Pod)) {
	s.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"name": name}},
		Spec: corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "main", Image: "image"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	if change != nil {
		change(pod)
	}
	if _, err := s.client.CoreV1().Pods("default").Create(s.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
}

// delete marks a pod as deleted, with grace.
func (s *scene) delete(name string, grace int64) {
	s.t.Helper()
	pod := s.pod(name)
	now := metav1.Now()
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, &grace
	if _, err := s.client.CoreV1().Pods("default").Update(s.t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
}

// pod is nil when there is none of that name.
func (s *scene) pod(name string) *corev1.Pod {
	pod, err := s.client.CoreV1().Pods("default").Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return pod
}

// want says how a pod stands in a few words: phase, reason and restarts of its container,
// and whether it is ready.
func (s *scene) want(name, want string) {
	s.t.Helper()
	got := "gone"
	if pod := s.pod(name); pod != nil {
		words := []string{string(pod.Status.Phase)}
		for _, c := range pod.Status.ContainerStatuses {
			switch {
			case c.State.Running != nil:
				words = append(words, "running")
			case c.State.Waiting != nil:
				words = append(words, c.State.Waiting.Reason)
			case c.State.Terminated != nil:
				words = append(words, c.State.Terminated.Reason)
			}
			if c.RestartCount > 0 {
				words = append(words, "again")
			}
			if c.Ready {
				words = append(words, "ready")
			}
		}
		if c := podCondition(pod, corev1.PodReady); c != nil && (c.Status == corev1.ConditionTrue) != slices.Contains(words, "ready") {
			words = append(words, "condition "+string(c.Status))
		}
		got = strings.Join(words, " ")
	}
	if got != want {
		s.t.Errorf("after %s pod %s is %q, want %q", time.Since(begun), name, got, want)
	}
}

// begun is when every bubble's time begins.
var begun = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func follows(rules ...v1alpha1.Rule) *v1alpha1.Spec {
	spec := v1alpha1.New(2)
	spec.Pods = rules
	return spec
}

func lasting(d time.Duration) *v1alpha1.Span {
	span := v1alpha1.Lasting(d)
	return &span
}

func TestNodesRegisterAndLive(t *testing.T) {
	spec := v1alpha1.New(3)
	spec.Nodes[0].Labels = map[string]v1alpha1.Values{"zone": {"a", "b"}}
	play(t, spec, func(s *scene) {
		for name, zone := range map[string]string{"hollow-1": "a", "hollow-2": "b", "hollow-3": "a"} {
			node := s.node(name)
			if !isReady(node) || node.Labels["zone"] != zone || node.Labels["type"] != "hollow" || node.Status.Allocatable.Pods().Value() != 110 {
				t.Errorf("%s: labels %v, status %v", name, node.Labels, node.Status)
			}
		}
		if a, b := s.node("hollow-1").Spec.PodCIDR, s.node("hollow-2").Spec.PodCIDR; a != "100.64.0.0/24" || b != "100.64.1.0/24" {
			t.Errorf("ranges %s and %s", a, b)
		}
		for range 6 {
			s.pass(10 * time.Second)
			if silent := time.Since(s.renewed("hollow-3")); silent > 10*time.Second {
				t.Errorf("the Lease was not renewed for %s", silent)
			}
		}
		s.pass(5 * time.Minute)
		for _, c := range s.node("hollow-2").Status.Conditions {
			if time.Since(c.LastHeartbeatTime.Time) > 5*time.Minute || time.Since(c.LastTransitionTime.Time) < 5*time.Minute {
				t.Errorf("condition %s was told at %s, changed at %s", c.Type, c.LastHeartbeatTime, c.LastTransitionTime)
			}
		}
	})
}

func TestPodsOfNoRuleRunUntilTheyAreDeleted(t *testing.T) {
	play(t, v1alpha1.New(1), func(s *scene) {
		s.bind("web", "hollow-1", nil)
		s.bind("elsewhere", "node-1", nil)
		s.want("web", "Running running ready")
		s.want("elsewhere", "Pending")
		if pod := s.pod("web"); pod.Status.PodIP != "100.64.0.2" || pod.Status.HostIP != "100.64.0.1" || podCondition(pod, corev1.PodScheduled) == nil {
			t.Errorf("status %+v", pod.Status)
		}
		s.pass(time.Minute)
		s.want("web", "Running running ready")
		s.delete("web", 30)
		s.want("web", "gone")
		if left := s.fleet.nodes["hollow-1"]; left.subnet.count() != 0 || left.committed != (amounts{}) {
			t.Errorf("the node keeps %+v, %d addresses", left.committed, left.subnet.count())
		}
	})
}

func TestPodsFollowTheirRule(t *testing.T) {
	play(t, follows(v1alpha1.Rule{
		Match:      v1alpha1.Match{Namespaces: []string{"def*"}, Labels: &metav1.LabelSelector{MatchLabels: map[string]string{"name": "job"}}},
		StartAfter: v1alpha1.Lasting(2 * time.Second), ReadyAfter: v1alpha1.Lasting(3 * time.Second), FinishAfter: lasting(10 * time.Second),
		ExitCodes: []int32{1, 0},
	}), func(s *scene) {
		for _, name := range []string{"job", "other"} {
			s.bind(name, "hollow-2", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure })
		}
		s.pass(time.Second)
		s.want("other", "Running running ready")
		s.want("job", "Pending")
		s.pass(time.Second)
		s.want("job", "Running running")
		s.pass(3 * time.Second)
		s.want("job", "Running running ready")
		s.pass(7 * time.Second)
		s.want("job", "Running CrashLoopBackOff again")
		s.pass(10 * time.Second)
		s.want("job", "Running running again")
		s.pass(10 * time.Second)
		s.want("job", "Succeeded Completed again")
		s.pass(time.Minute)
		s.want("job", "Succeeded Completed again")
	})
}

func TestFailureWithoutRestartIsFinal(t *testing.T) {
	play(t, follows(v1alpha1.Rule{FinishAfter: lasting(time.Second), ExitCodes: []int32{3}}), func(s *scene) {
		s.bind("job", "hollow-1", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
		s.pass(time.Second)
		s.want("job", "Failed Error")
		if code := s.pod("job").Status.ContainerStatuses[0].State.Terminated.ExitCode; code != 3 {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestStuckAndRefusedPods(t *testing.T) {
	play(t, follows(
		v1alpha1.Rule{Match: v1alpha1.Match{Labels: &metav1.LabelSelector{MatchLabels: map[string]string{"name": "stuck"}}}, Stuck: &v1alpha1.Reason{Reason: "ImagePullBackOff"}},
		v1alpha1.Rule{Match: v1alpha1.Match{Nodes: []string{"hollow-1"}}, Refuse: &v1alpha1.Reason{Reason: "NoThanks"}},
	), func(s *scene) {
		s.bind("stuck", "hollow-1", nil)
		s.bind("refused", "hollow-1", nil)
		s.bind("fine", "hollow-2", nil)
		s.want("stuck", "Pending ImagePullBackOff")
		s.want("refused", "Failed")
		s.want("fine", "Running running ready")
	})
}

func TestFullNodeRefuses(t *testing.T) {
	play(t, v1alpha1.New(1), func(s *scene) {
		three := func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("3")}
		}
		s.bind("first", "hollow-1", three)
		s.bind("second", "hollow-1", three)
		s.want("first", "Running running ready")
		s.want("second", "Failed")
		if pod := s.pod("second"); pod.Status.Reason != "OutOfcpu" || !strings.HasSuffix(pod.Status.Message, "cpu, requested: 3000, used: 3000, capacity: 4000") {
			t.Errorf("%s: %s", pod.Status.Reason, pod.Status.Message)
		}
		s.delete("first", 30)
		s.bind("third", "hollow-1", three)
		s.want("third", "Running running ready")
	})
}

func TestDeletionTakesItsTime(t *testing.T) {
	play(t, follows(v1alpha1.Rule{TerminateAfter: v1alpha1.Lasting(20 * time.Second)}), func(s *scene) {
		s.bind("slow", "hollow-1", nil)
		s.bind("hurried", "hollow-1", nil)
		s.bind("held", "hollow-1", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/held"} })
		s.delete("slow", 30)
		s.delete("hurried", 5)
		s.delete("held", 30)
		s.pass(5 * time.Second)
		s.want("slow", "Running running ready")
		s.want("hurried", "gone")
		// Whoever holds a pod must see that it failed; the fake does not heed finalizers.
		told := false
		s.pass(15 * time.Second)
		for _, action := range s.client.Actions() {
			patch := patchOf(action)
			told = told || strings.Contains(patch, "uid-held") && strings.Contains(patch, `"phase":"Failed"`)
		}
		if !told {
			t.Error("a pod that is held was not told to have failed")
		}
		s.want("slow", "gone")
	})
}

func TestSilentNodesDoNothing(t *testing.T) {
	spec := v1alpha1.New(2)
	spec.Outages = []v1alpha1.Outage{{Nodes: []string{"hollow-1"}, After: v1alpha1.Lasting(time.Minute), For: lasting(10 * time.Minute)}}
	play(t, spec, func(s *scene) {
		s.bind("early", "hollow-1", nil)
		s.pass(time.Minute)
		s.bind("late", "hollow-1", nil)
		s.delete("early", 30)
		s.pass(5 * time.Minute)
		s.want("late", "Pending")
		s.want("early", "Running running ready")
		if silent := time.Since(s.renewed("hollow-1")); silent < 5*time.Minute {
			t.Errorf("a silent node renewed its Lease %s ago", silent)
		}
		if silent := time.Since(s.renewed("hollow-2")); silent > 10*time.Second {
			t.Errorf("the other node is silent, too, for %s", silent)
		}
		s.unready("hollow-1")
		s.pass(6 * time.Minute)
		s.want("late", "Running running ready")
		s.want("early", "gone")
		if !isReady(s.node("hollow-1")) || time.Since(s.renewed("hollow-1")) > 10*time.Second {
			t.Error("the node did not come back")
		}
	})
}

func TestSilenceByHand(t *testing.T) {
	play(t, v1alpha1.New(1), func(s *scene) {
		s.bind("web", "hollow-1", nil)
		s.fleet.Silence("hollow-1", "no-such-node")
		s.unready("hollow-1")
		s.podUnready("web")
		s.pass(time.Minute)
		if isReady(s.node("hollow-1")) {
			t.Error("a silent node said that it is ready")
		}
		s.fleet.Revive("hollow-1")
		synctest.Wait()
		s.want("web", "Running running ready")
		if node := s.node("hollow-1"); !isReady(node) || time.Since(node.Status.Conditions[0].LastTransitionTime.Time) > 0 {
			t.Errorf("conditions %v", node.Status.Conditions)
		}
	})
}

// unready does what the node lifecycle controller does with a silent node.
func (s *scene) unready(name string) {
	s.t.Helper()
	node := s.node(name)
	for i := range node.Status.Conditions {
		node.Status.Conditions[i].Status = corev1.ConditionUnknown
	}
	if _, err := s.client.CoreV1().Nodes().UpdateStatus(s.t.Context(), node, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
}

func (s *scene) podUnready(name string) {
	s.t.Helper()
	pod := s.pod(name)
	podCondition(pod, corev1.PodReady).Status = corev1.ConditionFalse
	if _, err := s.client.CoreV1().Pods("default").UpdateStatus(s.t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
}

func TestNodesOfOthersAreAdopted(t *testing.T) {
	spec := v1alpha1.New(0)
	play(t, spec, func(s *scene) {
		s.bind("early", "theirs", nil)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "theirs", UID: "u", Labels: map[string]string{v1alpha1.Label: ""}}}
		node.Status.Allocatable = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}
		node.Status.Capacity = node.Status.Allocatable
		if _, err := s.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(time.Second)
		seen := s.node("theirs")
		if !isReady(seen) || len(seen.Status.Addresses) != 2 || seen.Status.Allocatable.Pods().Value() != 1 {
			t.Errorf("status %+v", seen.Status)
		}
		s.want("early", "Running running ready")
		s.bind("more", "theirs", nil)
		s.want("more", "Failed")
		s.renewed("theirs")
		if err := s.client.CoreV1().Nodes().Delete(t.Context(), "theirs", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(time.Minute)
		if len(s.fleet.nodes) != 0 || len(s.fleet.agenda.entries) != 0 {
			t.Errorf("%d nodes and %d appointments are left", len(s.fleet.nodes), len(s.fleet.agenda.entries))
		}
	})
}

func TestAnotherFleetGoesOn(t *testing.T) {
	started := metav1.NewTime(begun.Add(-8 * time.Second))
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "hollow-1", UID: "u", Labels: map[string]string{v1alpha1.Label: ""}}}
	node.Spec.PodCIDRs = []string{"100.64.9.0/24"}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "job", UID: "p"},
		Spec:       corev1.PodSpec{NodeName: "hollow-1", RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "100.64.9.2", StartTime: &started,
			ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}}},
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	spec := follows(v1alpha1.Rule{FinishAfter: lasting(10 * time.Second)})
	play(t, spec, func(s *scene) {
		s.want("job", "Running running ready")
		s.bind("next", "hollow-1", nil)
		if ip := s.pod("next").Status.PodIP; ip != "100.64.9.3" {
			t.Errorf("the next pod has address %s", ip)
		}
		s.pass(2 * time.Second)
		s.want("job", "Succeeded Completed")
		if s.node("hollow-1").UID != "u" {
			t.Error("the node was made again")
		}
	}, node, pod)
}

func patchOf(action clienttesting.Action) string {
	if patch, ok := action.(clienttesting.PatchAction); ok {
		return string(patch.GetPatch())
	}
	return ""
}
