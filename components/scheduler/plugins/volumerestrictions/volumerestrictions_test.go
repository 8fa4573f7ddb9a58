package volumerestrictions

import (
	"context"
	"testing"

	v1 "k8s.io/api/core/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func pluginOver(t *testing.T, objects ...apiruntime.Object) (fwk.Plugin, *Cluster) {
	t.Helper()
	cluster := NewCluster(t, append(objects, Node("a"), Node("b"))...)
	plugin, err := New(context.Background(), nil, cluster)
	if err != nil {
		t.Fatal(err)
	}
	return plugin, cluster
}

func exclusive(claim *v1.PersistentVolumeClaim) {
	claim.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOncePod}
}

func has(source v1.VolumeSource) func(*v1.Pod) {
	return func(pod *v1.Pod) { pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{VolumeSource: source}) }
}

func gce(name string, readOnly bool) v1.VolumeSource {
	return v1.VolumeSource{GCEPersistentDisk: &v1.GCEPersistentDiskVolumeSource{PDName: name, ReadOnly: readOnly}}
}

func rbd(image string, monitors ...string) v1.VolumeSource {
	return v1.VolumeSource{RBD: &v1.RBDVolumeSource{RBDImage: image, CephMonitors: monitors}}
}

func TestClaims(t *testing.T) {
	for name, test := range map[string]struct {
		claim *v1.PersistentVolumeClaim
		user  *v1.Pod
		want  string
	}{
		"shared":            {Claim("c", "1Gi"), Pod("user", Mounts("c"), On("a")), ""},
		"free":              {Claim("c", "1Gi", exclusive), Pod("user", On("a")), ""},
		"taken":             {Claim("c", "1Gi", exclusive), Pod("user", Mounts("c"), On("a")), OncePodReason},
		"another namespace": {Claim("c", "1Gi", exclusive), Pod("user", Mounts("c"), On("a"), func(p *v1.Pod) { p.Namespace = "other" }), ""},
	} {
		plugin, cluster := pluginOver(t, test.claim, test.user)
		got := cluster.Filter(t, plugin, Pod("p", Mounts("c")))
		for _, node := range []string{"a", "b"} {
			if got[node] != test.want {
				t.Errorf("%s, on %s: %q", name, node, got[node])
			}
		}
	}
	plugin, cluster := pluginOver(t)
	if got := cluster.Filter(t, plugin, Pod("p", Mounts("c")))["*"]; got != `persistentvolumeclaim "c" not found (unresolvable)` {
		t.Error(got)
	}
}

// TestPreemption: with the claim's user gone, the pod fits.
func TestPreemption(t *testing.T) {
	ctx, user := context.Background(), Pod("user", Mounts("c"), On("a"))
	plugin, cluster := pluginOver(t, Claim("c", "1Gi", exclusive), user)
	r, state, pod := plugin.(*VolumeRestrictions), runtime.NewCycleState(false), Pod("p", Mounts("c"))
	if _, status := r.PreFilter(ctx, state, pod, nil); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	node, err := cluster.Snapshot.Get("a")
	if err != nil {
		t.Fatal(err)
	}
	info, err := nodeinfo.NewPodInfo(user)
	if err != nil {
		t.Fatal(err)
	}
	without := state.Clone()
	if status := r.RemovePod(ctx, without, pod, info, node); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	if status := r.Filter(ctx, without, pod, node); !status.IsSuccess() {
		t.Errorf("with the user gone: %s", Word(status))
	}
	if status := r.Filter(ctx, state, pod, node); status.IsSuccess() {
		t.Error("the copy was not one")
	}
	if status := r.AddPod(ctx, without, pod, info, node); !status.IsSuccess() || r.Filter(ctx, without, pod, node).IsSuccess() {
		t.Error("with the user back, the pod fits")
	}
}

func TestDisks(t *testing.T) {
	aws := v1.VolumeSource{AWSElasticBlockStore: &v1.AWSElasticBlockStoreVolumeSource{VolumeID: "x", ReadOnly: true}}
	for name, test := range map[string]struct {
		mine, theirs v1.VolumeSource
		conflict     bool
	}{
		"same disk":            {gce("x", false), gce("x", true), true},
		"same disk, only read": {gce("x", true), gce("x", true), false},
		"other disk":           {gce("x", false), gce("y", false), false},
		"AWS, only read":       {aws, aws, true},
		"other kind":           {aws, gce("x", false), false},
		"common monitor":       {rbd("x", "1", "2"), rbd("x", "2", "3"), true},
		"no common monitor":    {rbd("x", "1"), rbd("x", "3"), false},
	} {
		plugin, cluster := pluginOver(t, Pod("user", has(test.theirs), On("a")))
		got := cluster.Filter(t, plugin, Pod("p", has(test.mine)))
		if want := map[bool]string{true: DiskReason}[test.conflict]; got["a"] != want || got["b"] != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestHints(t *testing.T) {
	for name, test := range map[string]struct {
		gone *v1.Pod
		want fwk.QueueingHint
	}{
		"same claim":  {Pod("gone", Mounts("c"), On("a")), fwk.Queue},
		"other claim": {Pod("gone", Mounts("d"), On("a")), fwk.QueueSkip},
		"same disk":   {Pod("gone", has(gce("x", false)), On("a")), fwk.Queue},
		"no volumes":  {Pod("gone", On("a")), fwk.QueueSkip},
	} {
		if got, err := podDeleted(klog.Background(), Pod("p", Mounts("c"), has(gce("x", false))), test.gone, nil); err != nil || got != test.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := claimAdded(klog.Background(), Pod("p", Mounts("c")), nil, Claim("c", "1Gi")); err != nil || got != fwk.Queue {
		t.Errorf("%v, %v", got, err)
	}
}
