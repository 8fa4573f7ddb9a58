package dynamicresources

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/scheduler/dra"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

// rig is the plugin over an API server in memory, with its informers running.
type rig struct {
	*Cluster
	t       *testing.T
	client  *fake.Clientset
	manager *dra.Manager
	plugin  *DynamicResources
}

func (r *rig) ClientSet() clientset.Interface            { return r.client }
func (r *rig) SharedDRAManager() fwk.SharedDRAManager    { return r.manager }
func (r *rig) EventRecorder() events.EventRecorderLogger { return mute{} }

type mute struct{}

func (mute) Eventf(apiruntime.Object, apiruntime.Object, string, string, string, string, ...any) {}
func (m mute) WithLogger(klog.Logger) events.EventRecorderLogger                                 { return m }

// newRig has two nodes, one and two, and a class, gpu.
func newRig(t *testing.T, objects ...apiruntime.Object) *rig {
	t.Helper()
	r := &rig{t: t, Cluster: NewCluster(t, Node("one"), Node("two")), client: fake.NewClientset(append(objects, class("gpu"))...)}
	factory := informers.NewSharedInformerFactory(r.client, 0)
	var err error
	if r.manager, err = dra.NewManager(t.Context(), r.client, factory); err != nil {
		t.Fatal(err)
	}
	// Sources are asked before the informers start; what they have taken in, the plugin knows.
	var synced []clientcache.DoneChecker
	for _, resource := range []fwk.EventResource{fwk.ResourceSlice, fwk.ResourceClaim, fwk.DeviceClass} {
		source, _ := r.manager.Source(resource)
		registration, err := source.AddEventHandler(nothing{})
		if err != nil {
			t.Fatal(err)
		}
		synced = append(synced, registration.HasSyncedChecker())
	}
	plugin, err := New(t.Context(), Args[configv1.DynamicResourcesArgs](t, ""), r)
	if err != nil {
		t.Fatal(err)
	}
	r.plugin = plugin.(*DynamicResources)
	factory.StartWithContext(t.Context())
	if !clientcache.WaitFor(t.Context(), "", synced...) {
		t.Fatal("informers did not sync")
	}
	factory.WaitForCacheSyncWithContext(t.Context())
	return r
}

type nothing struct{}

func (nothing) OnAdd(any, bool)   {}
func (nothing) OnUpdate(any, any) {}
func (nothing) OnDelete(any)      {}

func class(name string) *resourcev1.DeviceClass {
	return &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// on publishes devices on a node.
func on(node string, devices ...string) *resourcev1.ResourceSlice {
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "driver", NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, ResourceSliceCount: 1},
	}}
	for _, name := range devices {
		slice.Spec.Devices = append(slice.Spec.Devices, resourcev1.Device{Name: name})
	}
	return slice
}

// wants is a claim to one device of a class.
func wants(name, class string) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), ResourceVersion: "1"},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1}},
		}}},
	}
}

// has gives the claim a device of a node.
func has(claim *resourcev1.ResourceClaim, node, device string) *resourcev1.ResourceClaim {
	claim.Status.Allocation = &resourcev1.AllocationResult{
		Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{{Request: "one", Driver: "driver", Pool: node, Device: device}}},
		NodeSelector: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchFields: []v1.NodeSelectorRequirement{
			{Key: "metadata.name", Operator: v1.NodeSelectorOpIn, Values: []string{node}},
		}}}},
	}
	return claim
}

func using(names ...string) func(*v1.Pod) {
	return func(pod *v1.Pod) {
		for _, name := range names {
			pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims, v1.PodResourceClaim{Name: name, ResourceClaimName: &name})
		}
	}
}

// filtered runs the cycle's first half and returns its state.
func (r *rig) filtered(pod *v1.Pod) (fwk.CycleState, map[string]string) {
	r.t.Helper()
	state, verdicts := runtime.NewCycleState(false), map[string]string{}
	_, status := r.plugin.PreFilter(r.t.Context(), state, pod, nil)
	if status.IsSkip() {
		return state, nil
	}
	if !status.IsSuccess() {
		return state, map[string]string{"*": Word(status)}
	}
	nodes, _ := r.Snapshot.List()
	for _, node := range nodes {
		verdicts[node.Node().Name] = Word(r.plugin.Filter(r.t.Context(), state, pod, node))
	}
	return state, verdicts
}

func (r *rig) expect(pod *v1.Pod, want map[string]string) fwk.CycleState {
	r.t.Helper()
	state, got := r.filtered(pod)
	if len(got) != len(want) {
		r.t.Fatalf("verdicts %v, want %v", got, want)
	}
	for node := range want {
		if got[node] != want[node] {
			r.t.Errorf("%s: %q, want %q", node, got[node], want[node])
		}
	}
	return state
}

const nothingLeft = "cannot allocate all claims (unresolvable)"

func TestPodWithoutClaimsIsPassedOver(t *testing.T) {
	r := newRig(t, on("one", "a"))
	pod := Pod("pod", CPU("1"))
	state, verdicts := r.filtered(pod)
	if verdicts != nil {
		t.Fatalf("verdicts %v", verdicts)
	}
	if status := r.plugin.PreScore(t.Context(), state, pod, nil); !status.IsSkip() {
		t.Errorf("PreScore: %v", status)
	}
	if _, status := r.plugin.PreBindPreFlight(t.Context(), state, pod, "one"); !status.IsSkip() {
		t.Errorf("PreBindPreFlight: %v", status)
	}
	if status := r.plugin.Reserve(t.Context(), state, pod, "one"); !status.IsSuccess() {
		t.Errorf("Reserve: %v", status)
	}
}

func TestDeviceGoesToOnePodFromReserveOn(t *testing.T) {
	r := newRig(t, on("one", "a"), wants("first", "gpu"), wants("second", "gpu"))
	ctx, pod := t.Context(), Pod("pod", using("first"))
	state := r.expect(pod, map[string]string{"one": "", "two": nothingLeft})
	if status := r.plugin.Reserve(ctx, state, pod, "one"); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	r.expect(Pod("other", using("second")), map[string]string{"one": nothingLeft, "two": nothingLeft})
	r.expect(Pod("sharer", using("first")), map[string]string{"*": "resource claim default/first is in the process of being allocated (unresolvable)"})

	if status := r.plugin.PreBind(ctx, state, pod, "one"); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	claim, _ := r.client.ResourceV1().ResourceClaims("default").Get(ctx, "first", metav1.GetOptions{})
	if claim.Status.Allocation == nil || claim.Status.Allocation.Devices.Results[0].Device != "a" || len(claim.Finalizers) != 1 ||
		len(claim.Status.ReservedFor) != 1 || claim.Status.ReservedFor[0].UID != "pod" || claim.Status.Allocation.AllocationTimestamp == nil {
		t.Errorf("written %+v", claim)
	}
	r.expect(Pod("other", using("second")), map[string]string{"one": nothingLeft, "two": nothingLeft})
	r.expect(Pod("sharer", using("first")), map[string]string{"one": "", "two": "resourceclaim not available on the node (unresolvable)"})
}

func TestUnreserveGivesBack(t *testing.T) {
	r := newRig(t, on("one", "a"), wants("first", "gpu"), wants("second", "gpu"))
	ctx, pod := t.Context(), Pod("pod", using("first"))
	state := r.expect(pod, map[string]string{"one": "", "two": nothingLeft})
	r.client.PrependReactor("update", "resourceclaims", func(clienttesting.Action) (bool, apiruntime.Object, error) {
		return true, nil, errors.New("no")
	})
	if status := r.plugin.Reserve(ctx, state, pod, "one"); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	if status := r.plugin.PreBind(ctx, state, pod, "one"); status.IsSuccess() {
		t.Fatal("PreBind succeeded without writing")
	}
	r.plugin.Unreserve(ctx, state, pod, "one")
	r.expect(Pod("other", using("second")), map[string]string{"one": "", "two": nothingLeft})
}

func TestReasons(t *testing.T) {
	deleting := wants("deleting", "gpu")
	deleting.DeletionTimestamp, deleting.Finalizers = ptr.To(metav1.Now()), []string{"x"}
	r := newRig(t, on("one", "a"), deleting, wants("classless", "none"))
	made := Pod("made")
	made.Spec.ResourceClaims = []v1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: ptr.To("template")}}
	for _, test := range []struct {
		pod  *v1.Pod
		want string
		held bool
	}{
		{Pod("pod", using("missing")), `resourceclaims.resource.k8s.io "missing" not found`, true},
		{Pod("pod", using("deleting")), `resourceclaim "deleting" is being deleted`, true},
		{made, `pod "default/made": ResourceClaim not created yet`, true},
		{Pod("pod", using("classless")), "request one: device class none does not exist", false},
	} {
		r.expect(test.pod, map[string]string{"*": test.want + " (unresolvable)"})
		if status := r.plugin.PreEnqueue(t.Context(), test.pod); status.IsSuccess() == test.held {
			t.Errorf("%s: PreEnqueue %v", test.want, status)
		}
	}
}

func TestPostFilterFreesAClaimThatNobodyUses(t *testing.T) {
	pod, ctx := Pod("pod", using("idle")), context.Background()
	for _, test := range []struct {
		users []string
		freed bool
	}{{nil, true}, {[]string{"pod"}, true}, {[]string{"other"}, false}, {[]string{"pod", "other"}, false}} {
		claim := has(wants("idle", "gpu"), "elsewhere", "a")
		for _, user := range test.users {
			claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: user, UID: types.UID(user)})
		}
		r := newRig(t, claim)
		const away = "resourceclaim not available on the node (unresolvable)"
		state := r.expect(pod, map[string]string{"one": away, "two": away})
		_, status := r.plugin.PostFilter(ctx, state, pod, nil)
		if freed := status.Message() == "deallocation of ResourceClaim completed"; freed != test.freed {
			t.Errorf("used by %v: %q", test.users, status.Message())
		}
		after, _ := r.client.ResourceV1().ResourceClaims("default").Get(ctx, "idle", metav1.GetOptions{})
		if (after.Status.Allocation == nil) != test.freed {
			t.Errorf("used by %v: allocation %v", test.users, after.Status.Allocation)
		}
	}
}

func TestHints(t *testing.T) {
	r := newRig(t, wants("own", "gpu"), wants("other", "gpu"))
	pod := Pod("pod", using("own"))
	reserved := has(wants("own", "gpu"), "one", "a")
	labelled := wants("own", "gpu")
	labelled.Labels = map[string]string{"a": "b"}
	for _, test := range []struct {
		name         string
		older, newer *resourcev1.ResourceClaim
		want         fwk.QueueingHint
	}{
		{"its claim comes", nil, wants("own", "gpu"), fwk.Queue},
		{"another claim comes", nil, wants("other", "gpu"), fwk.QueueSkip},
		{"its claim is allocated", wants("own", "gpu"), reserved, fwk.Queue},
		{"its claim gets a label", wants("own", "gpu"), labelled, fwk.QueueSkip},
		{"another claim is allocated", wants("other", "gpu"), has(wants("other", "gpu"), "one", "a"), fwk.QueueSkip},
		{"another claim is freed", has(wants("other", "gpu"), "one", "a"), wants("other", "gpu"), fwk.Queue},
		{"an allocated claim is deleted", has(wants("other", "gpu"), "one", "a"), nil, fwk.Queue},
		{"a claim without devices is deleted", wants("other", "gpu"), nil, fwk.QueueSkip},
	} {
		var older, newer any
		if test.older != nil {
			older = test.older
		}
		if test.newer != nil {
			newer = test.newer
		}
		if got, err := r.plugin.claimChanged(klog.Background(), pod, older, newer); got != test.want || err != nil {
			t.Errorf("%s: %v (%v), want %v", test.name, got, err, test.want)
		}
	}
}

func TestEarlierAlternativesScoreHigher(t *testing.T) {
	claim := wants("claim", "gpu")
	claim.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "any", FirstAvailable: []resourcev1.DeviceSubRequest{
		{Name: "first", DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 2},
		{Name: "second", DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1},
	}}}
	r := newRig(t, claim, on("one", "a"), on("two", "b", "c"))
	state := r.expect(Pod("pod", using("claim")), map[string]string{"one": "", "two": ""})
	scores := map[string]int64{}
	nodes, _ := r.Snapshot.List()
	for _, node := range nodes {
		scores[node.Node().Name], _ = r.plugin.Score(t.Context(), state, nil, node)
	}
	if scores["two"] != 8 || scores["one"] != 7 {
		t.Errorf("scores %v, want two 8, one 7", scores)
	}
}

func TestBindingWaitsForDevices(t *testing.T) {
	slice := on("one", "a")
	slice.Spec.Devices[0].BindingConditions = []string{"attached"}
	slice.Spec.Devices[0].BindingFailureConditions = []string{"broken"}
	for condition, want := range map[string]string{"attached": "", "broken": "device binding failed"} {
		r := newRig(t, slice, wants("claim", "gpu"))
		ctx, pod := t.Context(), Pod("pod", using("claim"))
		state := r.expect(pod, map[string]string{"one": "", "two": nothingLeft})
		if status := r.plugin.Reserve(ctx, state, pod, "one"); !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		bound := make(chan *fwk.Status)
		go func() { bound <- r.plugin.PreBind(ctx, state, pod, "one") }()
		claim := r.await("claim", func(c *resourcev1.ResourceClaim) bool { return len(c.Status.ReservedFor) == 1 })
		ready := claim.DeepCopy()
		ready.ResourceVersion = "9"
		ready.Status.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "driver", Pool: "one", Device: "a", Conditions: []metav1.Condition{{Type: condition, Status: metav1.ConditionTrue}}}}
		if err := r.manager.ResourceClaims().AssumeClaimAfterAPICall(ready); err != nil {
			t.Fatal(err)
		}
		status := <-bound
		if want == "" && !status.IsSuccess() || !strings.Contains(status.Message(), want) {
			t.Errorf("%s: %v, want %q", condition, status.AsError(), want)
		}
	}
}

// await returns the claim once the plugin knows it as wanted.
func (r *rig) await(name string, wanted func(*resourcev1.ResourceClaim) bool) *resourcev1.ResourceClaim {
	r.t.Helper()
	limit := time.After(time.Minute)
	for {
		changed := r.manager.Changed()
		if claim, err := r.manager.ResourceClaims().Get("default", name); err == nil && wanted(claim) {
			return claim
		}
		select {
		case <-changed:
		case <-limit:
			r.t.Fatalf("claim %s has not become what is wanted", name)
		}
	}
}
