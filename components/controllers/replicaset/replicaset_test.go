package replicaset

import (
	"context"
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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

var key = controller.Key{Namespace: "ns", Name: "set"}

func setOf(replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "set", UID: "set", Generation: 1},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To(replicas),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "a"}}},
		},
	}
}

func podOf(set *appsv1.ReplicaSet, name, app string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), Labels: map[string]string{"app": app}}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	if set != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, native{}.Kind())}
	}
	return pod
}

// loopOver makes a loop whose caches hold set and pods, and the client it writes to. The informers do not run, so the
// caches stay as they are whatever is written.
func loopOver(t *testing.T, set *appsv1.ReplicaSet, pods ...*corev1.Pod) (*Loop, *fake.Clientset) {
	t.Helper()
	objects := []runtime.Object{set}
	for _, pod := range pods {
		objects = append(objects, pod)
	}
	client := fake.NewClientset(objects...)
	env := &controller.Env{Client: client, Reader: client, Informers: informers.NewSharedInformerFactory(client, 0), Recorder: record.NewFakeRecorder(100), Clock: clock.RealClock{}}
	l, err := NewLoop("test", env, native{env}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := env.Informers.Apps().V1().ReplicaSets().Informer().GetIndexer().Add(set); err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		if err := l.pods.Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	client.ClearActions()
	return l, client
}

func count(client *fake.Clientset, verb, resource string) int {
	n := 0
	for _, action := range client.Actions() {
		if action.Matches(verb, resource) {
			n++
		}
	}
	return n
}

func TestScaleUpOnlyOnceForOneCache(t *testing.T) {
	l, client := loopOver(t, setOf(3))
	client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, action.(clienttesting.CreateAction).GetObject(), nil // The fake client does not complete generated names.
	})
	for range 2 {
		if err := l.sync(context.Background(), key); err != nil {
			t.Fatal(err)
		}
	}
	if got := count(client, "create", "pods"); got != 3 {
		t.Errorf("%d pods created, want 3: the cache has not shown them yet", got)
	}
}

func TestScaleDownSparesReadyPods(t *testing.T) {
	set := setOf(1)
	ready := podOf(set, "ready", "a")
	ready.Spec.NodeName = "n"
	ready.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Minute))}}
	l, client := loopOver(t, set, podOf(set, "one", "a"), ready, podOf(set, "two", "a"))
	if err := l.sync(context.Background(), key); err != nil {
		t.Fatal(err)
	}
	if got := count(client, "delete", "pods"); got != 2 {
		t.Errorf("%d pods deleted, want 2", got)
	}
	if _, err := client.CoreV1().Pods("ns").Get(context.Background(), "ready", metav1.GetOptions{}); err != nil {
		t.Errorf("the ready pod: %v", err)
	}
}

func TestAdoptAndRelease(t *testing.T) {
	set := setOf(2)
	foreign := podOf(&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "other", UID: "other"}}, "foreign", "a")
	l, client := loopOver(t, set, podOf(set, "mine", "a"), podOf(nil, "orphan", "a"), podOf(nil, "unrelated", "b"), podOf(set, "relabelled", "b"), foreign)
	if err := l.sync(context.Background(), key); err != nil {
		t.Fatal(err)
	}
	patched := map[string]bool{}
	for _, action := range client.Actions() {
		if patch, ok := action.(clienttesting.PatchAction); ok {
			patched[patch.GetName()] = true
		}
	}
	if len(patched) != 2 || !patched["orphan"] || !patched["relabelled"] {
		t.Errorf("patched %v, want the orphan adopted and the relabelled pod released", patched)
	}
	if created, deleted := count(client, "create", "pods"), count(client, "delete", "pods"); created+deleted > 0 {
		t.Errorf("%d created and %d deleted, though two match", created, deleted)
	}
}

func TestFailureIsReported(t *testing.T) {
	l, client := loopOver(t, setOf(8))
	client.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("quota") })
	if err := l.sync(context.Background(), key); err == nil {
		t.Error("no error")
	}
	if got := count(client, "create", "pods"); got != 1 {
		t.Errorf("%d attempts, want 1: a cause that fails the first call will fail the rest", got)
	}
	set, err := client.AppsV1().ReplicaSets("ns").Get(context.Background(), "set", metav1.GetOptions{})
	if err != nil || len(set.Status.Conditions) != 1 || set.Status.Conditions[0].Type != appsv1.ReplicaSetReplicaFailure || set.Status.Conditions[0].Reason != "FailedCreate" {
		t.Errorf("conditions %+v, %v", set.Status.Conditions, err)
	}
}
