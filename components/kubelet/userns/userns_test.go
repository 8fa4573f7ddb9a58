package userns

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"
)

func TestRanges(t *testing.T) {
	c := Config{Pods: t.TempDir(), IDsPerPod: 65536, MaxPods: 2}
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	pod := func(uid string, hostUsers *bool) *v1.Pod {
		return &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}, Spec: v1.PodSpec{HostUsers: hostUsers}}
	}
	first := func(r *Ranges, uid string) uint32 {
		t.Helper()
		ns, err := r.Of(pod(uid, ptr.To(false)))
		if err != nil {
			t.Fatal(err)
		}
		if ns.Mode != runtimeapi.NamespaceMode_POD || ns.Uids[0].Length != 65536 || ns.Uids[0].ContainerId != 0 || ns.Gids[0].HostId != ns.Uids[0].HostId {
			t.Fatalf("namespace %v", ns)
		}
		return ns.Uids[0].HostId
	}
	if ns, err := r.Of(pod("plain", nil)); ns != nil || err != nil {
		t.Errorf("a pod that says nothing has %v, %v", ns, err)
	}
	if ns, _ := r.Of(pod("host", ptr.To(true))); ns.Mode != runtimeapi.NamespaceMode_NODE {
		t.Errorf("a pod with the host's users has %v", ns)
	}
	a, b := first(r, "a"), first(r, "b")
	if a == b || a < 65536 || b < 65536 || first(r, "a") != a {
		t.Errorf("ranges from %d and %d", a, b)
	}
	if _, err := r.Of(pod("c", ptr.To(false))); err == nil {
		t.Error("a third pod found a range where there are two")
	}
	again, err := New(c)
	if err != nil || first(again, "b") != b {
		t.Errorf("after a restart b begins elsewhere: %v", err)
	}
	r.Release("a")
	if got := first(r, "c"); got != a {
		t.Errorf("c begins at %d, want %d, which is free again", got, a)
	}
}
