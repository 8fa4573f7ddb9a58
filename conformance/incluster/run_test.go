package incluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	restclient "k8s.io/client-go/rest"
	restfake "k8s.io/client-go/rest/fake"
	ktesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/conformance/journal"
	"github.com/plumbline/plumbline/conformance/runner"
	"github.com/plumbline/plumbline/conformance/suite"
)

// items are so many behaviours; every fifth must run alone.
func items(n int) (list []runner.Item, listing *suite.Listing) {
	listing = &suite.Listing{}
	for i := range n {
		spec := suite.Spec{Name: fmt.Sprintf("spec %02d", i), Serial: i%5 == 0}
		listing.Specs = append(listing.Specs, spec)
		list = append(list, runner.Item{Behaviour: fmt.Sprintf("behaviour %02d", i), Spec: spec})
	}
	return list, listing
}

func newRun(t *testing.T, client kubernetes.Interface, n, shards int) (*run, *suite.Listing) {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	list, listing := items(n)
	return &run{
		Place:  Place{Image: "example.org/runner:v1", Version: "v1", Shards: shards, Run: "here"},
		config: runner.Config{Items: list, Procs: 8, Retries: 1, Journal: j, Events: func(e runner.Event) { t.Log(inWords(e)) }},
		client: client,
	}, listing
}

func record(behaviour string, state types.SpecState, attempt int) journal.Record {
	return journal.Record{Behaviour: behaviour, Attempt: attempt, Report: types.SpecReport{State: state}}
}

func TestWhatMustRunAloneIsOrderedWhenTheRestIsSettled(t *testing.T) {
	r, listing := newRun(t, nil, 12, 3)
	o := r.next()
	if o.Shards != 3 || o.Procs != 2 || len(o.Items) != 9 {
		t.Errorf("ordered at first: %d behaviours, shards %d, processes %d", len(o.Items), o.Shards, o.Procs)
	}
	seen := map[string]int{}
	for index := range o.Shards {
		share, err := o.share(index, listing)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range share {
			seen[item.Behaviour]++
			if item.Spec.Serial {
				t.Errorf("%s is to run beside others", item.Behaviour)
			}
		}
	}
	for _, item := range o.Items {
		if seen[item.Behaviour] != 1 {
			t.Errorf("%s is in %d shares", item.Behaviour, seen[item.Behaviour])
		}
		state := types.SpecStatePassed
		if item.Behaviour == "behaviour 01" {
			state = types.SpecStateFailed // and is to be tried again
		}
		if err := r.config.Journal.Append(record(item.Behaviour, state, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if o := r.next(); o.Shards != 1 || len(o.Items) != 1 || o.Items[0].Behaviour != "behaviour 01" {
		t.Errorf("of what failed once, %v is ordered", o.Items)
	}
	if err := r.config.Journal.Append(record("behaviour 01", types.SpecStateFailed, 2)); err != nil {
		t.Fatal(err)
	}
	if o := r.next(); o.Shards != 1 || len(o.Items) != 3 || o.Items[1].Behaviour != "behaviour 05" {
		t.Errorf("alone is to run %v in %d shards", o.Items, o.Shards)
	}
	if _, err := (order{Items: []orderedItem{{Behaviour: "b", Spec: "of another suite"}}, Shards: 1}).share(0, listing); err == nil {
		t.Error("a spec that the suite does not hold was no error")
	}
}

func TestTheJobAndWhatItNeeds(t *testing.T) {
	job := workingJob("round-1", "example.org/runner:v1", 3)
	pod := job.Spec.Template.Spec
	if *job.Spec.Completions != 3 || *job.Spec.Parallelism != 3 || *job.Spec.CompletionMode != batchv1.IndexedCompletion || *job.Spec.BackoffLimitPerIndex != 0 {
		t.Errorf("the job is not one of three indexed pods that are not replaced: %+v", job.Spec)
	}
	if pod.RestartPolicy != corev1.RestartPolicyNever || pod.ServiceAccountName != account().Name || !*pod.ShareProcessNamespace {
		t.Errorf("pod: %+v", pod)
	}
	if !pod.Tolerations[0].ToleratesTaint(klog.Background(), &corev1.Taint{Key: "any", Effect: corev1.TaintEffectNoExecute}, false) {
		t.Error("a taint of the suite's evicts the pods")
	}
	mounted := map[string]string{}
	for _, m := range pod.Containers[0].VolumeMounts {
		mounted[m.Name] = m.MountPath
	}
	o := order{Version: "v1", Items: []orderedItem{{"b", "s"}}, Shards: 1, Procs: 2}
	carried, err := orderMap("round-1", o)
	if err != nil {
		t.Fatal(err)
	}
	for _, volume := range pod.Volumes {
		switch {
		case mounted[volume.Name] == orderDirectory && volume.ConfigMap != nil && volume.ConfigMap.Name == carried.Name:
		case mounted[volume.Name] == workDirectory && volume.EmptyDir != nil:
		default:
			t.Errorf("volume %+v at %q", volume, mounted[volume.Name])
		}
	}
	var read order
	if err := json.Unmarshal([]byte(carried.Data[orderFile]), &read); err != nil || len(read.Items) != 1 || read.Items[0] != o.Items[0] || read.Procs != 2 {
		t.Errorf("the order arrives as %+v, error %v", read, err)
	}
	b := binding()
	if b.RoleRef.Name != "cluster-admin" || b.Subjects[0].Name != account().Name || b.Subjects[0].Namespace != space("here").Name {
		t.Errorf("bound: %+v", b)
	}
	for _, object := range []metav1.Object{job, account(), b, carried, space("here")} {
		if object.GetLabels()["app.kubernetes.io/managed-by"] != "plumb" {
			t.Errorf("%T does not say who made it", object)
		}
	}
}

// pretender is a client of a cluster whose Jobs' pods run at once and tell what outcome
// says; logs are what each pod tells.
type pretender struct {
	*fake.Clientset
	listing *suite.Listing
	logs    map[string]string
	// outcome is what comes of a behaviour in a round; an empty one is lost with its pod.
	outcome func(round, behaviour string) types.SpecState
	orders  []order
}

func pretend(t *testing.T, listing *suite.Listing, outcome func(round, behaviour string) types.SpecState) *pretender {
	t.Helper()
	p := &pretender{Clientset: fake.NewClientset(), listing: listing, logs: map[string]string{}, outcome: outcome}
	p.PrependReactor("create", "jobs", func(action ktesting.Action) (bool, runtime.Object, error) {
		job := action.(ktesting.CreateAction).GetObject().(*batchv1.Job).DeepCopy()
		if err := p.work(job); err != nil {
			t.Error(err)
		}
		job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
		return true, job, p.Tracker().Add(job)
	})
	return p
}

func (p *pretender) work(job *batchv1.Job) error {
	// Not as a client: those wait for this one's answer.
	carried, err := p.Tracker().Get(corev1.SchemeGroupVersion.WithResource("configmaps"), namespace, job.Name)
	if err != nil {
		return err
	}
	var o order
	if err := json.Unmarshal([]byte(carried.(*corev1.ConfigMap).Data[orderFile]), &o); err != nil {
		return err
	}
	p.orders = append(p.orders, o)
	var pods []*corev1.Pod
	for index := range o.Shards {
		share, err := o.share(index, p.listing)
		if err != nil {
			return err
		}
		pod := &corev1.Pod{ObjectMeta: meta(fmt.Sprintf("%s-%d", job.Name, index)), Status: corev1.PodStatus{
			Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}},
		}}
		pod.UID = ktypes.UID(pod.Name)
		pod.Labels[batchv1.JobNameLabel] = job.Name
		var log bytes.Buffer
		teller := &teller{out: &log}
		for _, item := range share {
			state := p.outcome(job.Name, item.Behaviour)
			if state == types.SpecStateInvalid {
				pod.Status.Phase = corev1.PodFailed
				pod.Status.ContainerStatuses[0].State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "the node is gone"}
				break
			}
			ended := record(item.Behaviour, state, 1)
			teller.tell(runner.Event{Started: item.Behaviour})
			teller.tell(runner.Event{Ended: &ended})
		}
		p.logs[pod.Name] = log.String()
		pods = append(pods, pod)
	}
	for _, pod := range pods {
		if err := p.Tracker().Add(pod); err != nil {
			return err
		}
	}
	return nil
}

// CoreV1 answers for logs, which the fake has but one of.
func (p *pretender) CoreV1() typedcorev1.CoreV1Interface {
	return pretendedCore{p.Clientset.CoreV1(), p}
}

type pretendedCore struct {
	typedcorev1.CoreV1Interface
	p *pretender
}

func (c pretendedCore) Pods(ns string) typedcorev1.PodInterface {
	return pretendedPods{c.CoreV1Interface.Pods(ns), c.p}
}

type pretendedPods struct {
	typedcorev1.PodInterface
	p *pretender
}

func (c pretendedPods) GetLogs(pod string, _ *corev1.PodLogOptions) *restclient.Request {
	client := &restfake.RESTClient{NegotiatedSerializer: scheme.Codecs, Client: restfake.CreateHTTPClient(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(c.p.logs[pod]))}, nil
	})}
	return client.Request()
}

func TestRoundsGoOnUntilEverythingIsSettled(t *testing.T) {
	_, listing := items(20)
	client := pretend(t, listing, func(round, behaviour string) types.SpecState {
		if round == "round-1" && behaviour >= "behaviour 12" {
			return types.SpecStateInvalid
		}
		return types.SpecStatePassed
	})
	r, _ := newRun(t, client, 20, 2)
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.rounds(t.Context()); err != nil {
		t.Fatal(err)
	}
	var of []string
	for _, o := range client.orders {
		of = append(of, fmt.Sprintf("%d in %d", len(o.Items), o.Shards))
	}
	// 16 side by side, what was lost of them, and 4 alone.
	if want := []string{"16 in 2", "7 in 2", "4 in 1"}; !slices.Equal(of, want) {
		t.Errorf("ordered were %q, not %q", of, want)
	}
	told := map[string]int{}
	for _, record := range r.config.Journal.Records() {
		told[record.Behaviour]++
	}
	for _, item := range r.config.Items {
		if told[item.Behaviour] != 1 {
			t.Errorf("%s is in the journal %d times", item.Behaviour, told[item.Behaviour])
		}
	}
}

func TestARoundThatBringsNothingEndsTheRunWithItsReason(t *testing.T) {
	_, listing := items(4)
	client := pretend(t, listing, func(string, string) types.SpecState { return types.SpecStateInvalid })
	r, _ := newRun(t, client, 4, 2)
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.rounds(t.Context()); err == nil || !strings.Contains(err.Error(), "the node is gone") {
		t.Errorf("error %v", err)
	}
	if len(client.orders) != 1 {
		t.Errorf("%d rounds", len(client.orders))
	}
}

func TestWhatARunLeftIsItsOwnToRemove(t *testing.T) {
	client := fake.NewClientset()
	r, _ := newRun(t, client, 1, 1)
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := *r
	other.Run = "elsewhere"
	if err := other.clear(t.Context()); err == nil || !strings.Contains(err.Error(), `"here"`) {
		t.Errorf("another's namespace: %v", err)
	}
	if err := r.clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, space := client.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
	_, binding := client.RbacV1().ClusterRoleBindings().Get(t.Context(), namespace, metav1.GetOptions{})
	if !apierrors.IsNotFound(space) || !apierrors.IsNotFound(binding) {
		t.Errorf("left: %v, %v", space, binding)
	}
}
