package statefulset

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func set() *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "set"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To(int32(3)), ServiceName: "svc",
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
		},
	}
}

func TestOrdinalOf(t *testing.T) {
	for name, want := range map[string]int{"web-0": 0, "web-12": 12, "web": -1, "web-": -1, "web-01": -1, "web-a": -1, "other-1": -1, "web-1-1": -1} {
		got, ok := ordinalOf(set(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if ok != (want >= 0) || (ok && got != want) {
			t.Errorf("%s: got %d, %v", name, got, ok)
		}
	}
}

func TestPodFor(t *testing.T) {
	template := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "data"}, {Name: "tmp"}}}}
	pod := podFor(set(), template, "web-rev", 2)
	if pod.Name != "web-2" || pod.Spec.Hostname != "web-2" || pod.Spec.Subdomain != "svc" || pod.GenerateName != "" {
		t.Errorf("name %q, host %q, subdomain %q", pod.Name, pod.Spec.Hostname, pod.Spec.Subdomain)
	}
	for label, want := range map[string]string{appsv1.StatefulSetPodNameLabel: "web-2", appsv1.PodIndexLabel: "2", appsv1.StatefulSetRevisionLabel: "web-rev"} {
		if pod.Labels[label] != want {
			t.Errorf("%s: got %q, want %q", label, pod.Labels[label], want)
		}
	}
	if len(pod.Spec.Volumes) != 2 || pod.Spec.Volumes[0].PersistentVolumeClaim == nil || pod.Spec.Volumes[0].PersistentVolumeClaim.ClaimName != "data-web-2" {
		t.Errorf("volumes: %+v", pod.Spec.Volumes)
	}
}

func TestClaimOwners(t *testing.T) {
	const keep, drop = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-2", UID: "pod"}}
	ofSet := *metav1.NewControllerRef(set(), kind)
	foreign := metav1.OwnerReference{APIVersion: "v1", Kind: "Other", Name: "x", UID: "x", Controller: ptr.To(true)}
	for _, c := range []struct {
		name             string
		deleted, scaled  appsv1.PersistentVolumeClaimRetentionPolicyType
		leaving          bool
		has              []metav1.OwnerReference
		wantUID          string
		changed, foreign bool
	}{
		{"kept always", keep, keep, true, nil, "", false, false},
		{"deleted with the set", drop, keep, false, nil, "set", true, false},
		{"deleted with the set, known already", drop, keep, false, []metav1.OwnerReference{ofSet}, "set", false, false},
		{"deleted when scaled away, but it stays", keep, drop, false, nil, "", false, false},
		{"deleted when scaled away, and it goes", keep, drop, true, nil, "pod", true, false},
		{"from the set's to the pod's", drop, drop, true, []metav1.OwnerReference{ofSet}, "pod", true, false},
		{"the policy is taken back", keep, keep, false, []metav1.OwnerReference{ofSet}, "", true, false},
		{"managed by somebody else", drop, drop, true, []metav1.OwnerReference{foreign}, "x", false, true},
	} {
		s := set()
		s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: c.deleted, WhenScaled: c.scaled}
		refs, changed := claimOwners(s, pod, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{OwnerReferences: c.has}}, c.leaving)
		got := ""
		if len(refs) == 1 {
			got = string(refs[0].UID)
		}
		if got != c.wantUID || changed != c.changed || len(refs) > 1 {
			t.Errorf("%s: got %v, changed %v", c.name, refs, changed)
		}
	}
}

func TestVersionFor(t *testing.T) {
	rolling := func(partition *int32) *turn {
		s := set()
		s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType}
		if partition != nil {
			s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: partition}
		}
		s.Status.CurrentReplicas = 1
		return &turn{set: s, current: version{name: "old"}, update: version{name: "new"}}
	}
	for _, c := range []struct {
		name string
		t    *turn
		slot int
		want string
	}{
		{"below the partition", rolling(ptr.To(int32(2))), 1, "old"},
		{"at the partition", rolling(ptr.To(int32(2))), 2, "new"},
		{"not got there yet", rolling(nil), 0, "old"},
		{"got there", rolling(nil), 1, "new"},
	} {
		if got := c.t.versionFor(c.slot).name; got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
