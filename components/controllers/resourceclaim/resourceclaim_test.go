package resourceclaim

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

func at(name string) controller.Key { return controller.Key{Namespace: "ns", Name: name} }

func podWith(name string, claims ...corev1.PodResourceClaim) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{ResourceClaims: claims},
	}
}

func fromTemplateNamed(template string) corev1.PodResourceClaim {
	return corev1.PodResourceClaim{Name: "gpu", ResourceClaimTemplateName: &template}
}

func named(claim string) corev1.PodResourceClaim {
	return corev1.PodResourceClaim{Name: "gpu", ResourceClaimName: &claim}
}

// allocated makes a claim as the scheduler leaves it.
func allocated(name string, consumers ...*corev1.Pod) *resourcev1.ResourceClaim {
	claim := &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), Finalizers: []string{"kept", resourcev1.Finalizer}},
		Status:     resourcev1.ResourceClaimStatus{Allocation: &resourcev1.AllocationResult{}},
	}
	for _, pod := range consumers {
		claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
	}
	return claim
}

func madeFor(pod *corev1.Pod, claim *resourcev1.ResourceClaim) *resourcev1.ResourceClaim {
	claim.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: ptr.To(true)}}
	claim.Annotations = map[string]string{resourcev1.PodResourceClaimAnnotation: "gpu"}
	return claim
}

// over objects: the controller's caches hold what the API server has at the start, and never change.
func controllerOver(t *testing.T, objects ...runtime.Object) (*Controller, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset(objects...)
	made := 0
	client.PrependReactor("create", "resourceclaims", func(action clienttesting.Action) (bool, runtime.Object, error) {
		claim := action.(clienttesting.CreateAction).GetObject().(*resourcev1.ResourceClaim)
		made++
		claim.Name, claim.ResourceVersion = claim.GenerateName+strings.Repeat("x", made), "1"
		return false, nil, nil
	})
	env := &controller.Env{Client: client, Informers: informers.NewSharedInformerFactory(client, 0), Recorder: record.NewFakeRecorder(100), Clock: clock.RealClock{}}
	built, err := New(env, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		indexer := env.Informers.Core().V1().Pods().Informer().GetIndexer()
		switch object.(type) {
		case *resourcev1.ResourceClaim:
			indexer = env.Informers.Resource().V1().ResourceClaims().Informer().GetIndexer()
		case *resourcev1.ResourceClaimTemplate:
			indexer = env.Informers.Resource().V1().ResourceClaimTemplates().Informer().GetIndexer()
		}
		if err := indexer.Add(object); err != nil {
			t.Fatal(err)
		}
	}
	return built.(*Controller), client
}

func template() *resourcev1.ResourceClaimTemplate {
	return &resourcev1.ResourceClaimTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "template"},
		Spec: resourcev1.ResourceClaimTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"team": "a"}},
			Spec:       resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "one"}}}},
		},
	}
}

func TestClaimFromTemplateIsMadeOnce(t *testing.T) {
	c, client := controllerOver(t, template(), podWith("pod", fromTemplateNamed("template")))
	ctx := context.Background()
	for range 2 { // The second time, the cache still shows neither claim nor status.
		if err := c.syncPod(ctx, at("pod")); err != nil {
			t.Fatal(err)
		}
	}
	claims, err := client.ResourceV1().ResourceClaims("ns").List(ctx, metav1.ListOptions{})
	if err != nil || len(claims.Items) != 1 {
		t.Fatalf("%d claims, want 1 (%v)", len(claims.Items), err)
	}
	claim := claims.Items[0]
	if claim.GenerateName != "pod-gpu-" || claim.Labels["team"] != "a" || claim.Annotations[resourcev1.PodResourceClaimAnnotation] != "gpu" ||
		len(claim.Spec.Devices.Requests) != 1 || owningPod(&claim) == nil || owningPod(&claim).UID != "pod" {
		t.Errorf("claim %+v", claim)
	}
	pod, err := client.CoreV1().Pods("ns").Get(ctx, "pod", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s := pod.Status.ResourceClaimStatuses; len(s) != 1 || s[0].Name != "gpu" || *s[0].ResourceClaimName != claim.Name {
		t.Errorf("status %+v, want gpu: %s", s, claim.Name)
	}
}

func TestDeletedClaimIsMadeAnew(t *testing.T) {
	pod := podWith("pod", fromTemplateNamed("template"))
	pod.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "gpu", ResourceClaimName: ptr.To("lost")}}
	c, client := controllerOver(t, template(), pod)
	if err := c.syncPod(context.Background(), at("pod")); err != nil {
		t.Fatal(err)
	}
	after, _ := client.CoreV1().Pods("ns").Get(context.Background(), "pod", metav1.GetOptions{})
	if got := *after.Status.ResourceClaimStatuses[0].ResourceClaimName; got != "pod-gpu-x" {
		t.Errorf("claim %q recorded, want the new one", got)
	}
}

func TestMissingTemplateIsTold(t *testing.T) {
	c, _ := controllerOver(t, podWith("pod", fromTemplateNamed("template")))
	if err := c.syncPod(context.Background(), at("pod")); err == nil {
		t.Error("no error for a template that does not exist")
	}
	event := <-c.env.Recorder.(*record.FakeRecorder).Events
	if want := `Warning FailedResourceClaimCreation PodResourceClaim gpu: resource claim template "template": `; !strings.HasPrefix(event, want) {
		t.Errorf("event %q, want it to begin with %q", event, want)
	}
}

func TestBaseName(t *testing.T) {
	for _, c := range []struct{ pod, entry, want string }{
		{"pod", "gpu", "pod-gpu-"},
		{strings.Repeat("p", 90), strings.Repeat("e", 22), strings.Repeat("p", 45) + "-" + strings.Repeat("e", 11)},
	} {
		if got := baseName(c.pod, c.entry); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.pod, c.entry, got, c.want)
		}
	}
}

func TestPodWithNodeGetsAllocatedClaimReserved(t *testing.T) {
	pod := podWith("pod", named("claim"))
	pod.Spec.NodeName = "node"
	c, client := controllerOver(t, pod, allocated("claim"))
	if err := c.syncPod(context.Background(), at("pod")); err != nil {
		t.Fatal(err)
	}
	claim, _ := client.ResourceV1().ResourceClaims("ns").Get(context.Background(), "claim", metav1.GetOptions{})
	if r := claim.Status.ReservedFor; len(r) != 1 || r[0].UID != "pod" || r[0].Resource != "pods" {
		t.Errorf("reserved for %+v, want pod", r)
	}
}

func TestReservations(t *testing.T) {
	running, ended, replaced, unseen := podWith("running"), podWith("ended"), podWith("replaced"), podWith("unseen")
	ended.Status.Phase = corev1.PodSucceeded
	former := podWith("replaced")
	former.UID = "former"
	for _, test := range []struct {
		name      string
		consumers []*corev1.Pod
		deleting  bool
		left      int
		freed     bool
	}{
		{name: "of a running pod stay", consumers: []*corev1.Pod{running}, left: 1},
		{name: "of a pod that only the API server knows stay", consumers: []*corev1.Pod{unseen}, left: 1},
		{name: "of one of two users end", consumers: []*corev1.Pod{running, ended}, left: 1},
		{name: "of the last user free the devices", consumers: []*corev1.Pod{ended}, freed: true},
		{name: "of a former pod of the name free the devices", consumers: []*corev1.Pod{former}, freed: true},
		{name: "of a pod that is gone free the devices", consumers: []*corev1.Pod{podWith("gone")}, freed: true},
		{name: "none: an allocation by itself stays"},
		{name: "none, and deletion asked for", deleting: true, freed: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			claim := allocated("claim", test.consumers...)
			if test.deleting {
				claim.DeletionTimestamp = ptr.To(metav1.Now())
			}
			c, client := controllerOver(t, claim, running, ended, replaced, unseen)
			if err := c.podIndex.Delete(unseen); err != nil {
				t.Fatal(err)
			}
			if err := c.syncClaim(context.Background(), at("claim")); err != nil {
				t.Fatal(err)
			}
			after, err := client.ResourceV1().ResourceClaims("ns").Get(context.Background(), "claim", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			finalizers := 2
			if test.freed {
				finalizers = 1
			}
			if len(after.Status.ReservedFor) != test.left || (after.Status.Allocation == nil) != test.freed || len(after.Finalizers) != finalizers {
				t.Errorf("reserved for %v, allocation %v, finalizers %v", after.Status.ReservedFor, after.Status.Allocation, after.Finalizers)
			}
		})
	}
}

func TestClaimMadeForAPodThatEndedIsDeleted(t *testing.T) {
	ended, running := podWith("ended"), podWith("running")
	ended.Status.Phase = corev1.PodFailed
	c, client := controllerOver(t, ended, running, madeFor(ended, allocated("first", ended)), madeFor(running, allocated("second")))
	for _, name := range []string{"first", "second"} {
		if err := c.syncClaim(context.Background(), at(name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.ResourceV1().ResourceClaims("ns").Get(context.Background(), "first", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the claim of the pod that ended: %v, want it gone", err)
	}
	if _, err := client.ResourceV1().ResourceClaims("ns").Get(context.Background(), "second", metav1.GetOptions{}); err != nil {
		t.Errorf("the claim of the running pod: %v", err)
	}
}
