package ephemeralvolume

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/utils/clock"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

func podWithVolume() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "pod", UID: "pod"},
		Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
			VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"of": "template"}}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "wanted"}},
		}}}}},
	}
}

func TestSync(t *testing.T) {
	ctx, key := context.Background(), controller.Key{Namespace: "ns", Name: "pod"}
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		there  *corev1.PersistentVolumeClaim
		made   bool
		fails  string
	}{
		"new":   {made: true},
		"going": {change: func(pod *corev1.Pod) { pod.DeletionTimestamp = &metav1.Time{} }},
		"in the way": {
			there: &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "pod-data"}},
			fails: "was not created for pod",
		},
	} {
		pod := podWithVolume()
		if test.change != nil {
			test.change(pod)
		}
		client, events := fake.NewClientset(), record.NewFakeRecorder(10)
		env := &controller.Env{Client: client, Informers: informers.NewSharedInformerFactory(client, 0), Recorder: events, Clock: clock.RealClock{}}
		built, err := New(env, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := env.Informers.Core().V1().Pods().Informer().GetIndexer().Add(pod); err != nil {
			t.Fatal(err)
		}
		if test.there != nil {
			if err := env.Informers.Core().V1().PersistentVolumeClaims().Informer().GetIndexer().Add(test.there); err != nil {
				t.Fatal(err)
			}
		}
		err = built.(*Controller).sync(ctx, key)
		if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails) || len(events.Events) != 1) {
			t.Errorf("%s: %v, %d events", name, err, len(events.Events))
		}
		claim, err := client.CoreV1().PersistentVolumeClaims("ns").Get(ctx, "pod-data", metav1.GetOptions{})
		if made := err == nil; made != test.made {
			t.Errorf("%s: made: %v", name, made)
		} else if made && (ephemeral.VolumeIsForPod(pod, claim) != nil || claim.Labels["of"] != "template" || claim.Spec.VolumeName != "wanted") {
			t.Errorf("%s: %+v", name, claim)
		}
	}
}
