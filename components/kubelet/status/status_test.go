package status

import (
	"context"
	"encoding/json"
	"net"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/plumbline/plumbline/components/kubelet/lifecycle"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

func podWith(policy v1.RestartPolicy, names ...string) *v1.Pod {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "u", Generation: 7}, Spec: v1.PodSpec{RestartPolicy: policy}}
	for _, name := range names {
		pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: name, Image: "x"})
	}
	return pod
}

func container(name, id string, state runtimeapi.ContainerState, exit int32) *runtime.Container {
	return &runtime.Container{SandboxID: "sb", ContainerStatus: &runtimeapi.ContainerStatus{
		Id: id, State: state, ExitCode: exit, StartedAt: 1, FinishedAt: 2,
		Labels: map[string]string{"io.kubernetes.container.name": name}, Annotations: map[string]string{"io.kubernetes.container.restartCount": "0"},
	}}
}

func stateOf(containers ...*runtime.Container) *runtime.Pod {
	return &runtime.Pod{
		Sandboxes: []*runtime.Sandbox{{PodSandboxStatus: &runtimeapi.PodSandboxStatus{
			Id: "sb", State: runtimeapi.PodSandboxState_SANDBOX_READY, Network: &runtimeapi.PodSandboxNetworkStatus{Ip: "10.88.0.9"},
		}}},
		Containers: containers,
	}
}

const (
	running = runtimeapi.ContainerState_CONTAINER_RUNNING
	exited  = runtimeapi.ContainerState_CONTAINER_EXITED
)

func TestGenerate(t *testing.T) {
	held := map[string]lifecycle.Held{"a": {Name: "a", Reason: "CrashLoopBackOff", Message: "m"}}
	tests := []struct {
		name   string
		pod    *v1.Pod
		state  *runtime.Pod
		held   map[string]lifecycle.Held
		ready  bool
		ended  bool
		veto   *Verdict
		phase  v1.PodPhase
		isOK   v1.ConditionStatus
		reason string
		shows  string
	}{
		{name: "nothing yet", pod: podWith(v1.RestartPolicyAlways, "a"), phase: v1.PodPending, isOK: v1.ConditionFalse, reason: "ContainersNotReady", shows: "ContainerCreating"},
		{name: "runs and is ready", pod: podWith(v1.RestartPolicyAlways, "a"), state: stateOf(container("a", "1", running, 0)), ready: true, phase: v1.PodRunning, isOK: v1.ConditionTrue, shows: "running"},
		{name: "runs, not ready", pod: podWith(v1.RestartPolicyAlways, "a"), state: stateOf(container("a", "1", running, 0)), phase: v1.PodRunning, isOK: v1.ConditionFalse, reason: "ContainersNotReady", shows: "running"},
		{name: "waits for its back-off", pod: podWith(v1.RestartPolicyAlways, "a"), state: stateOf(container("a", "1", exited, 1)), held: held, phase: v1.PodRunning, isOK: v1.ConditionFalse, reason: "ContainersNotReady", shows: "CrashLoopBackOff"},
		{name: "will not be restarted whatever holds it", pod: podWith(v1.RestartPolicyNever, "a"), state: stateOf(container("a", "1", exited, 1)), held: held, phase: v1.PodFailed, isOK: v1.ConditionFalse, reason: "PodFailed", shows: "terminated"},
		{name: "succeeded", pod: podWith(v1.RestartPolicyOnFailure, "a"), state: stateOf(container("a", "1", exited, 0)), phase: v1.PodSucceeded, isOK: v1.ConditionFalse, reason: "PodCompleted", shows: "terminated"},
		{name: "one of two still runs", pod: podWith(v1.RestartPolicyNever, "a", "b"), state: stateOf(container("a", "1", exited, 1), container("b", "2", running, 0)), ready: true, phase: v1.PodRunning, isOK: v1.ConditionFalse, reason: "ContainersNotReady", shows: "terminated"},
		{name: "was stopped with policy Always", pod: podWith(v1.RestartPolicyAlways, "a"), state: stateOf(container("a", "1", exited, 143)), ended: true, phase: v1.PodFailed, isOK: v1.ConditionFalse, reason: "PodFailed", shows: "terminated"},
		{name: "evicted", pod: podWith(v1.RestartPolicyAlways, "a"), state: stateOf(container("a", "1", exited, 137)), ended: true, veto: &Verdict{Phase: v1.PodFailed, Reason: "Evicted"}, phase: v1.PodFailed, isOK: v1.ConditionFalse, reason: "PodFailed", shows: "terminated"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Generate(Input{
				Pod: test.pod, State: test.state, RuntimeName: "containerd", Held: test.held, Ended: test.ended, Verdict: test.veto,
				Started:  func(string) bool { return true },
				ReadyNow: func(string, *v1.Container) bool { return test.ready },
				HostIPs:  []net.IP{net.ParseIP("10.77.1.1")}, Now: metav1.Now(),
			})
			if got.Phase != test.phase {
				t.Errorf("phase %s, want %s", got.Phase, test.phase)
			}
			ready := FindCondition(got.Conditions, v1.PodReady)
			if ready.Status != test.isOK || ready.Reason != test.reason || ready.ObservedGeneration != 7 {
				t.Errorf("Ready is %+v, want %s %s at generation 7", ready, test.isOK, test.reason)
			}
			shows := "terminated"
			switch s := got.ContainerStatuses[0].State; {
			case s.Running != nil:
				shows = "running"
			case s.Waiting != nil:
				shows = s.Waiting.Reason
			}
			if shows != test.shows {
				t.Errorf("container shows %s, want %s", shows, test.shows)
			}
			if test.veto != nil && got.Reason != test.veto.Reason {
				t.Errorf("reason %q, want %q", got.Reason, test.veto.Reason)
			}
		})
	}
}

func TestConditionsKeepTheirTimes(t *testing.T) {
	pod := podWith(v1.RestartPolicyAlways, "a")
	in := Input{
		Pod: pod, State: stateOf(container("a", "1", running, 0)), Started: func(string) bool { return true },
		ReadyNow: func(string, *v1.Container) bool { return true }, Now: metav1.NewTime(time.Unix(1000, 0)),
	}
	first := Generate(in)
	in.Previous, in.Now = first, metav1.NewTime(time.Unix(2000, 0))
	in.ReadyNow = func(string, *v1.Container) bool { return false }
	second := Generate(in)
	if at := FindCondition(second.Conditions, v1.PodInitialized).LastTransitionTime; at.Unix() != 1000 {
		t.Errorf("Initialized did not change, yet its time is %v", at)
	}
	if at := FindCondition(second.Conditions, v1.PodReady).LastTransitionTime; at.Unix() != 2000 {
		t.Errorf("Ready changed, yet its time is %v", at)
	}
	if second.StartTime.Unix() != 1000 {
		t.Errorf("the start time moved to %v", second.StartTime)
	}
}

// TestManagerSendsTheLatest shows that a status that only says "being created" is
// not sent if the pod runs soon, and that conditions of others survive.
func TestManagerSendsTheLatest(t *testing.T) {
	pod := podWith(v1.RestartPolicyAlways, "a")
	pod.Status.Conditions = []v1.PodCondition{{Type: "example.com/gate", Status: v1.ConditionTrue}}
	client := fake.NewClientset(pod)
	var patches []v1.PodStatus
	arrived := make(chan struct{}, 10)
	client.PrependReactor("patch", "pods", func(action clienttesting.Action) (bool, apiruntime.Object, error) {
		var sent v1.Pod
		if err := json.Unmarshal(action.(clienttesting.PatchAction).GetPatch(), &sent); err != nil {
			t.Error(err)
		}
		if sent.UID != "u" {
			t.Errorf("the patch is for uid %q, want the pod's", sent.UID)
		}
		patches = append(patches, sent.Status)
		arrived <- struct{}{}
		shown := pod.DeepCopy()
		shown.Status.Phase = sent.Status.Phase
		return true, shown, nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m := NewManager(ctx, client, func(p *v1.Pod) *v1.Pod { return p })
	in := Input{Pod: pod, Started: func(string) bool { return true }, ReadyNow: func(string, *v1.Container) bool { return true }, Now: metav1.Now()}
	m.Set(pod, Generate(in))
	in.State = stateOf(container("a", "1", running, 0))
	m.Set(pod, Generate(in))
	if err := m.Flush(ctx, pod.UID); err != nil {
		t.Fatal(err)
	}
	<-arrived
	if len(patches) != 1 || patches[0].Phase != v1.PodRunning {
		t.Fatalf("%d patches, the first with phase %s; want one that says Running", len(patches), patches[0].Phase)
	}
	if FindCondition(patches[0].Conditions, "example.com/gate") != nil {
		t.Error("the patch touches a condition of somebody else")
	}
}

// TestManagerLeavesGonePodsAlone shows that a pod that the API server does not have any more is not asked for again,
// and that nobody waits for it.
func TestManagerLeavesGonePodsAlone(t *testing.T) {
	pod := podWith(v1.RestartPolicyAlways, "a")
	client := fake.NewClientset()
	asked := 0
	client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, apiruntime.Object, error) {
		asked++
		return true, nil, apierrors.NewNotFound(v1.Resource("pods"), pod.Name)
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m := NewManager(ctx, client, func(p *v1.Pod) *v1.Pod { return p })
	for _, phase := range []v1.PodPhase{v1.PodRunning, v1.PodSucceeded, v1.PodFailed} {
		m.Set(pod, v1.PodStatus{Phase: phase})
		if err := m.Flush(ctx, pod.UID); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
	if latest, ok := m.Get(pod.UID); !ok || latest.Phase != v1.PodFailed {
		t.Errorf("the latest status is %v, want Failed", latest.Phase)
	}
}

// Between a container and the one that replaces it nothing changes for others, unless
// the replacement does not come.
func TestReplacedContainerIsShownAsItWas(t *testing.T) {
	in := Input{
		Pod: podWith(v1.RestartPolicyNever, "a"), State: stateOf(container("a", "1", running, 0)), RuntimeName: "containerd",
		Started: func(string) bool { return true }, ReadyNow: func(string, *v1.Container) bool { return true }, Now: metav1.Now(),
	}
	in.Previous = Generate(in)
	in.State = stateOf(container("a", "1", exited, 143))
	in.Restarting = func(id string) bool { return id == "1" }
	ready := func(in Input) bool {
		return FindCondition(Generate(in).Conditions, v1.PodReady).Status == v1.ConditionTrue
	}
	if !ready(in) {
		t.Error("a container that is being replaced makes its pod not ready")
	}
	held := in
	held.Held = map[string]lifecycle.Held{"a": {Name: "a", Reason: "ErrImagePull"}}
	if ready(held) || Generate(held).ContainerStatuses[0].State.Waiting == nil {
		t.Error("a replacement that cannot be started is not shown as waiting")
	}
	deleted := in
	deleted.Pod = in.Pod.DeepCopy()
	deleted.Pod.DeletionTimestamp = &in.Now
	if Generate(deleted).ContainerStatuses[0].State.Running != nil {
		t.Error("a container that ended is shown as running although its pod is being deleted")
	}
	in.Restarting = nil
	if ready(in) {
		t.Error("a container that ended leaves its pod ready")
	}
}

func TestAMadeContainerWaitsLikeOneThatIsNotMade(t *testing.T) {
	const created = runtimeapi.ContainerState_CONTAINER_CREATED
	pod := podWith(v1.RestartPolicyNever, "a")
	pod.Spec.InitContainers = []v1.Container{{Name: "first", Image: "x"}, {Name: "second", Image: "x"}}
	for name, state := range map[string]*runtime.Pod{"made": stateOf(container("first", "1", created, 0)), "not made": nil} {
		got := Generate(Input{
			Pod: pod, State: state, RuntimeName: "containerd", Now: metav1.Now(),
			Started:  func(string) bool { return false },
			ReadyNow: func(string, *v1.Container) bool { return false },
		})
		for _, c := range append(got.InitContainerStatuses, got.ContainerStatuses...) {
			if c.State.Waiting == nil || c.State.Waiting.Reason != "PodInitializing" {
				t.Errorf("with the first init container %s, container %s is %+v, not waiting with PodInitializing", name, c.Name, c.State)
			}
		}
	}
}
