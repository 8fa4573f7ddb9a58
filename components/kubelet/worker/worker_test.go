package worker

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	critesting "k8s.io/cri-api/pkg/apis/testing"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/kubelet/allocation"
	"github.com/plumbline/plumbline/components/kubelet/cgroup"
	"github.com/plumbline/plumbline/components/kubelet/environment"
	"github.com/plumbline/plumbline/components/kubelet/image"
	"github.com/plumbline/plumbline/components/kubelet/podnetwork"
	"github.com/plumbline/plumbline/components/kubelet/probe"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
	"github.com/plumbline/plumbline/components/kubelet/status"
	"github.com/plumbline/plumbline/components/kubelet/userns"
	"github.com/plumbline/plumbline/components/kubelet/volume"
)

// fakeRuntime is a runtime whose event stream stays open and silent.
type fakeRuntime struct {
	*critesting.FakeRuntimeService
	// starting is called while a container starts.
	starting func(ctx context.Context)
}

func (f fakeRuntime) StartContainer(ctx context.Context, id string) error {
	f.starting(ctx)
	return f.FakeRuntimeService.StartContainer(ctx, id)
}

func (f fakeRuntime) GetContainerEvents(ctx context.Context, _ chan *runtimeapi.ContainerEventResponse, established func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	established(nil)
	<-ctx.Done()
	return ctx.Err()
}

// rig is a worker manager over a fake runtime and a fake API server.
type rig struct {
	t       *testing.T
	ctx     context.Context
	runtime *critesting.FakeRuntimeService
	client  *fake.Clientset
	pods    *Manager
	watch   watch.Interface
	verdict *status.Verdict
	// refusal is why resizes are not granted.
	refusal string
	// starting, if set, is called while a container starts.
	starting func(ctx context.Context)
}

func newRig(t *testing.T, pod *v1.Pod) *rig {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	r := &rig{t: t, ctx: ctx, runtime: critesting.NewFakeRuntimeService(), client: fake.NewClientset(pod)}
	images := critesting.NewFakeImageService()
	images.SetFakeImages([]string{"image:1"})
	var err error
	if r.watch, err = r.client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	wake := func(uid types.UID) { r.pods.Wake(uid) }
	service := fakeRuntime{r.runtime, func(ctx context.Context) {
		if r.starting != nil {
			r.starting(ctx)
		}
	}}
	observer := runtime.NewObserver(service, wake)
	none := func() v1.ResourceList { return nil }
	root := t.TempDir()
	users, err := userns.New(userns.Config{Pods: filepath.Join(root, "pods"), IDsPerPod: 65536, MaxPods: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.pods = NewManager(ctx, Config{
		Users:   users,
		Ledger:  &allocation.Ledger{PodDir: func(uid types.UID) string { return filepath.Join(root, "pods", string(uid)) }},
		Resize:  func(*v1.Pod, []*v1.Pod) (string, string) { return r.refusal, "no room" },
		Runtime: service, Observer: observer,
		Builder: &runtime.Builder{LogsDir: t.TempDir()},
		Images:  image.New(image.Config{Service: images, Record: func(*v1.Pod, string, string, string, string) {}}),
		Volumes: volume.New(volume.Config{
			Root: root, Allocatable: none, Due: wake,
			Addresses: func(*v1.Pod) environment.Addresses { return environment.Addresses{} },
		}),
		Probes:  probe.New(probe.Config{Exec: service, Changed: wake, Unhealthy: func(probe.Target, string) {}, Warned: func(probe.Target, string) {}}),
		Status:  status.NewManager(ctx, r.client, func(p *v1.Pod) *v1.Pod { return p }),
		Cgroups: cgroup.NewPods(cgroup.PodsConfig{}),
		DNS:     &podnetwork.DNS{Warn: func(*v1.Pod, string, string) {}},
		Client:  r.client, Event: func(*v1.Pod, string, string, string, string) {}, Working: func() func() { return func() {} },
		Services:    func(context.Context) ([]*v1.Service, error) { return nil, nil },
		HostIPs:     func() []net.IP { return []net.IP{net.ParseIP("10.77.1.1")} },
		Allocatable: none, RuntimeName: "fake", LongestBackOff: 5 * time.Minute,
		Admit: func(*v1.Pod, []*v1.Pod) *status.Verdict { return r.verdict },
	})
	go func() { _ = observer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		r.pods.running.Wait()
	})
	return r
}

// await waits for a state of the pod at the API server.
func (r *rig) await(what string, reached func(*v1.Pod) bool) *v1.Pod {
	r.t.Helper()
	for {
		select {
		case event := <-r.watch.ResultChan():
			if pod, ok := event.Object.(*v1.Pod); ok && event.Type != watch.Deleted && reached(pod) {
				return pod
			}
			if event.Type == watch.Deleted && reached(nil) {
				return nil
			}
		case <-r.ctx.Done():
			r.t.Fatalf("the pod was never %s; calls: %v", what, r.runtime.GetCalls())
		}
	}
}

func testPod(policy v1.RestartPolicy) *v1.Pod {
	grace := int64(1)
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "uid"},
		Spec: v1.PodSpec{
			RestartPolicy: policy, TerminationGracePeriodSeconds: &grace, DNSPolicy: v1.DNSDefault,
			Containers: []v1.Container{{Name: "c", Image: "image:1", VolumeMounts: []v1.VolumeMount{{Name: "v", MountPath: "/v"}}}},
			Volumes:    []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}},
		},
	}
}

func isReady(pod *v1.Pod) bool {
	if pod == nil || pod.Status.Phase != v1.PodRunning {
		return false
	}
	c := status.FindCondition(pod.Status.Conditions, v1.PodReady)
	return c != nil && c.Status == v1.ConditionTrue
}

func TestPodLivesAndIsDeleted(t *testing.T) {
	pod := testPod(v1.RestartPolicyAlways)
	r := newRig(t, pod)
	r.pods.Set(pod)
	running := r.await("ready", isReady)
	if running.Status.PodIP == "" || running.Status.ContainerStatuses[0].ContainerID == "" {
		t.Errorf("status %+v lacks an address or a container", running.Status)
	}

	deleted := running.DeepCopy()
	now, grace := metav1.Now(), int64(1)
	deleted.DeletionTimestamp, deleted.DeletionGracePeriodSeconds = &now, &grace
	r.pods.Set(deleted)
	r.await("deleted", func(p *v1.Pod) bool { return p == nil })

	var seen []string
	for _, action := range r.client.Actions() {
		if d, ok := action.(clienttesting.DeleteActionImpl); ok {
			if o := d.GetDeleteOptions(); *o.GracePeriodSeconds != 0 || *o.Preconditions.UID != "uid" {
				t.Errorf("deleted with %+v, want grace 0 and the pod's uid", o)
			}
			seen = append(seen, "delete")
		}
	}
	if !slices.Equal(seen, []string{"delete"}) {
		t.Errorf("API deletes: %v", seen)
	}
	calls := strings.Join(r.runtime.GetCalls(), " ")
	if stop, sandbox := strings.Index(calls, "StopContainer"), strings.Index(calls, "StopPodSandbox"); stop < 0 || sandbox < stop {
		t.Errorf("the container must be stopped before its sandbox: %s", calls)
	}
	r.pods.Remove("uid")
	r.pods.mu.Lock()
	w := r.pods.workers["uid"]
	r.pods.mu.Unlock()
	if w != nil {
		select {
		case <-w.done:
		case <-r.ctx.Done():
			t.Error("the worker did not end")
		}
	}
}

func TestStartOfADeletedPodIsNotGivenUp(t *testing.T) {
	pod := testPod(v1.RestartPolicyAlways)
	r := newRig(t, pod)
	r.starting = func(ctx context.Context) {
		deleted := pod.DeepCopy()
		now, grace := metav1.Now(), int64(0)
		deleted.DeletionTimestamp, deleted.DeletionGracePeriodSeconds = &now, &grace
		r.pods.Set(deleted)
		const soon = 100 * time.Millisecond // the worker gives up what it does at once
		select {
		case <-ctx.Done():
			t.Error("the start is given up")
		case <-time.After(soon):
		}
	}
	r.pods.Set(pod)
	r.await("deleted", func(p *v1.Pod) bool { return p == nil })
	if calls := r.runtime.GetCalls(); !slices.Contains(calls, "StopContainer") {
		t.Errorf("the container is not stopped: %v", calls)
	}
}

func TestChangeAfterTheLookIsNotLost(t *testing.T) {
	pod := testPod(v1.RestartPolicyAlways)
	w := newWorker(newRig(t, pod).pods, pod)
	_, seen := w.snapshot()
	changed := pod.DeepCopy()
	changed.Labels = map[string]string{"app": "shop"}
	w.update(changed)
	if w.cover(seen); !w.isStale() {
		t.Error("the change counts as carried out")
	}
	_, seen = w.snapshot()
	if w.cover(seen); w.isStale() {
		t.Error("the change never counts as carried out")
	}
}

func TestStartThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun, giveUp := reluctant(ctx)
		defer giveUp()
		at := time.Now()
		cancel()
		<-begun.Done()
		if waited := time.Since(at); waited != 10*time.Second {
			t.Errorf("given up after %s", waited)
		}
	})
}

func TestPodWithoutSandboxIsTriedAgain(t *testing.T) {
	pod := testPod(v1.RestartPolicyAlways)
	r := newRig(t, pod)
	r.runtime.InjectError("RunPodSandbox", errors.New("no network"))
	r.pods.Set(pod)
	r.await("ready", isReady)
}

func TestRefusedPodFails(t *testing.T) {
	pod := testPod(v1.RestartPolicyAlways)
	r := newRig(t, pod)
	r.verdict = &status.Verdict{Phase: v1.PodFailed, Reason: "OutOfcpu", Message: "Pod was rejected: too big"}
	r.pods.Set(pod)
	failed := r.await("failed", func(p *v1.Pod) bool { return p != nil && p.Status.Phase == v1.PodFailed })
	if failed.Status.Reason != "OutOfcpu" || len(failed.Status.ContainerStatuses) != 0 {
		t.Errorf("status %+v", failed.Status)
	}
	if slices.Contains(r.runtime.GetCalls(), "RunPodSandbox") {
		t.Error("a refused pod was started")
	}
}

func TestPodWithDevicesIsNotStartedWithoutThem(t *testing.T) {
	for name, change := range map[string]func(*v1.Pod){
		"allocated claim":        func(p *v1.Pod) { p.Spec.ResourceClaims[0].ResourceClaimName = ptr.To("gpu") },
		"claim yet to be made":   func(p *v1.Pod) { p.Spec.ResourceClaims[0].ResourceClaimTemplateName = ptr.To("gpu") },
		"claim that is not made": nil,
	} {
		pod := testPod(v1.RestartPolicyAlways)
		pod.Spec.ResourceClaims = []v1.PodResourceClaim{{Name: "device"}}
		if change != nil {
			change(pod)
		} else {
			pod.Spec.ResourceClaims[0].ResourceClaimTemplateName = ptr.To("gpu")
			pod.Status.ResourceClaimStatuses = []v1.PodResourceClaimStatus{{Name: "device"}}
		}
		if err := preparable(pod); (err != nil) != (change != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEvictedPodEndsWithItsReason(t *testing.T) {
	pod := testPod(v1.RestartPolicyAlways)
	r := newRig(t, pod)
	r.pods.Set(pod)
	r.await("ready", isReady)
	grace := int64(0)
	condition := v1.PodCondition{Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: "TerminationByKubelet"}
	if err := r.pods.End(r.ctx, "uid", status.Verdict{Phase: v1.PodFailed, Reason: "Evicted", Condition: &condition}, &grace); err != nil {
		t.Fatal(err)
	}
	ended := r.await("evicted", func(p *v1.Pod) bool { return p != nil && p.Status.Phase == v1.PodFailed })
	if ended.Status.Reason != "Evicted" || status.FindCondition(ended.Status.Conditions, v1.DisruptionTarget) == nil {
		t.Errorf("status %+v", ended.Status)
	}
	if len(r.pods.Active()) != 0 {
		t.Error("an evicted pod still counts as active")
	}
}

func withCPU(pod *v1.Pod, milli int64, generation int64) *v1.Pod {
	pod = pod.DeepCopy()
	pod.Generation = generation
	pod.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}
	return pod
}

func hasCondition(pod *v1.Pod, t v1.PodConditionType, reason string) bool {
	c := status.FindCondition(pod.Status.Conditions, t)
	return c != nil && c.Reason == reason
}

func TestResizeWaitsAndIsGranted(t *testing.T) {
	pod := withCPU(testPod(v1.RestartPolicyAlways), 100, 1)
	r := newRig(t, pod)
	r.pods.Set(pod)
	running := r.await("ready", isReady)

	r.refusal = v1.PodReasonDeferred
	asked := withCPU(running, 200, 2)
	r.pods.Set(asked)
	waiting := r.await("deferred", func(p *v1.Pod) bool { return p != nil && hasCondition(p, v1.PodResizePending, v1.PodReasonDeferred) })
	if got := waiting.Status.ContainerStatuses[0].AllocatedResources.Cpu().MilliValue(); got != 100 || waiting.Status.ObservedGeneration != 2 {
		t.Errorf("allocated %dm at generation %d while deferred, want 100m at 2", got, waiting.Status.ObservedGeneration)
	}
	if slices.Contains(r.runtime.GetCalls(), "UpdateContainerResources") {
		t.Error("a deferred resize was carried out")
	}

	r.pods.mu.Lock()
	r.refusal = ""
	r.pods.mu.Unlock()
	r.pods.reconsider()
	resized := r.await("resized", func(p *v1.Pod) bool {
		return p != nil && p.Status.ContainerStatuses[0].Resources.Requests.Cpu().MilliValue() == 200 &&
			status.FindCondition(p.Status.Conditions, v1.PodResizeInProgress) == nil
	})
	if status.FindCondition(resized.Status.Conditions, v1.PodResizePending) != nil {
		t.Error("a resize that was carried out is still pending")
	}
	if !slices.Contains(r.runtime.GetCalls(), "UpdateContainerResources") {
		t.Errorf("calls: %v", r.runtime.GetCalls())
	}
	record, err := r.pods.c.Ledger.Load("uid")
	if err != nil || record == nil || record.Actuated["c"].CPURequest != 200 {
		t.Errorf("the ledger has %+v, %v; want 200m given", record, err)
	}
}
