package resource

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/features"
)

func TestOffFeatures(t *testing.T) {
	off, err := compileFeatures(reflect.TypeFor[*corev1.Pod](), []Feature{
		{Name: "Mode", Fields: []string{"spec.volumes.emptyDir.medium"}},
		{Name: "Stop", Fields: []string{"spec.containers.lifecycle.stopSignal", "spec.containers.workingDir"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	build := func() *corev1.Pod {
		volume := corev1.Volume{Name: "v"}
		volume.EmptyDir = &corev1.EmptyDirVolumeSource{Medium: "Memory"}
		return &corev1.Pod{Spec: corev1.PodSpec{
			Volumes: []corev1.Volume{{Name: "other"}, volume},
			Containers: []corev1.Container{
				{Name: "a"}, {Name: "b", WorkingDir: "/", Lifecycle: &corev1.Lifecycle{StopSignal: ptr.To(corev1.SIGHUP)}},
			},
		}}
	}
	pod := build()
	off.drop(pod, nil)
	if pod.Spec.Volumes[1].EmptyDir.Medium != "" || pod.Spec.Containers[1].Lifecycle.StopSignal != nil || pod.Spec.Containers[1].WorkingDir != "" {
		t.Errorf("a new object kept fields of features that are off: %+v", pod.Spec)
	}
	if pod.Spec.Containers[1].Name != "b" {
		t.Error("a field of no feature was cleared")
	}

	pod, old := build(), build()
	old.Spec.Volumes = nil
	old.Spec.Containers[1].Lifecycle = nil
	off.drop(pod, old)
	if pod.Spec.Volumes[1].EmptyDir.Medium != "" {
		t.Error("a field was kept of a feature that the stored object does not use")
	}
	if pod.Spec.Containers[1].Lifecycle.StopSignal == nil {
		t.Error("a field was cleared of a feature whose other field the stored object uses")
	}
}

func TestAFeatureThatIsOnKeepsItsFields(t *testing.T) {
	off, err := compileFeatures(reflect.TypeFor[*corev1.Pod](), []Feature{
		{Name: features.GenericWorkload, Fields: []string{"spec.schedulingGroup"}},
		{Name: "Other", Fields: []string{"spec.hostname"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, on := range []bool{false, true} {
		enabled := features.Set{}
		if on {
			enabled.Insert(features.GenericWorkload)
		}
		pod := &corev1.Pod{Spec: corev1.PodSpec{Hostname: "h", SchedulingGroup: &corev1.PodSchedulingGroup{PodGroupName: ptr.To("g")}}}
		off.without(enabled).drop(pod, nil)
		if kept := pod.Spec.SchedulingGroup != nil; kept != on {
			t.Errorf("the feature is on: %v; its field was kept: %v", on, kept)
		}
		if pod.Spec.Hostname != "" {
			t.Error("a field of another feature was kept")
		}
	}
}

func TestOffFeaturesNameRealFields(t *testing.T) {
	_, err := compileFeatures(reflect.TypeFor[*corev1.Pod](), []Feature{{Name: "X", Fields: []string{"spec.containers.colour"}}})
	if err == nil {
		t.Error("a path that does not exist was taken")
	}
}
