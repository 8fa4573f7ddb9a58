package protection

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

func TestPodGroups(t *testing.T) {
	for name, test := range map[string]struct {
		deleted, protected bool
		pod                *corev1.Pod
		// lagging leaves the pod out of the cache.
		lagging bool
		want    bool
	}{
		"a pod runs":                  {deleted: true, protected: true, pod: inGroup("g", corev1.PodRunning), want: true},
		"a pod that is not known yet": {deleted: true, protected: true, pod: inGroup("g", corev1.PodPending), lagging: true, want: true},
		"the pod has ended":           {deleted: true, protected: true, pod: inGroup("g", corev1.PodSucceeded)},
		"the pod is another group's":  {deleted: true, protected: true, pod: inGroup("h", corev1.PodRunning)},
		"no pod":                      {deleted: true, protected: true},
		"not deleted":                 {protected: true, want: true},
		"not protected by admission":  {pod: inGroup("g", corev1.PodRunning)},
	} {
		t.Run(name, func(t *testing.T) {
			group := &schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "g", Finalizers: []string{"example.org/other"}}}
			if test.protected {
				group.Finalizers = append(group.Finalizers, podGroupFinalizer)
			}
			if test.deleted {
				group.DeletionTimestamp = ptr.To(metav1.Now())
			}
			client := fake.NewClientset(group)
			env := &controller.Env{Client: client, Informers: informers.NewSharedInformerFactory(client, 0), Clock: clock.RealClock{}}
			built, err := NewPodGroups(env)
			if err != nil {
				t.Fatal(err)
			}
			if err := env.Informers.Scheduling().V1beta1().PodGroups().Informer().GetIndexer().Add(group); err != nil {
				t.Fatal(err)
			}
			if test.pod != nil {
				if err := client.Tracker().Add(test.pod); err != nil {
					t.Fatal(err)
				}
				if !test.lagging {
					if err := env.Informers.Core().V1().Pods().Informer().GetIndexer().Add(test.pod); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := built.(*Controller).sync(t.Context(), controller.Key{Namespace: "ns", Name: "g"}); err != nil {
				t.Fatal(err)
			}
			after, err := client.SchedulingV1beta1().PodGroups("ns").Get(t.Context(), "g", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if has := slices.Contains(after.Finalizers, podGroupFinalizer); has != test.want {
				t.Errorf("finalizers are %v afterwards", after.Finalizers)
			}
			if !slices.Contains(after.Finalizers, "example.org/other") {
				t.Error("somebody else's finalizer was taken")
			}
		})
	}
}

func inGroup(group string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"},
		Spec:       corev1.PodSpec{SchedulingGroup: &corev1.PodSchedulingGroup{PodGroupName: ptr.To(group)}},
		Status:     corev1.PodStatus{Phase: phase},
	}
}
