package nodevolumelimits

import (
	"context"
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

const driver = "csi.example.com"

// taking says how many volumes of the driver the node takes.
func taking(node string, count int32) *storagev1.CSINode {
	return &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
		{Name: driver, Allocatable: &storagev1.VolumeNodeResources{Count: &count}},
	}}}
}

func TestFilter(t *testing.T) {
	// Claims c0 to c3 are bound to the driver's volumes v0 to v3.
	objects := func(more ...apiruntime.Object) []apiruntime.Object {
		more = append(more, Node("a"), Node("b"))
		for i := range 4 {
			claim, volume := fmt.Sprintf("c%d", i), fmt.Sprintf("v%d", i)
			more = append(more, Claim(claim, "1Gi", BoundTo(volume)), Volume(volume, "1Gi", OfDriver(driver)))
		}
		return more
	}
	strict, pv := true, "v3"
	for name, test := range map[string]struct {
		objects []apiruntime.Object
		claims  []string
		want    string
	}{
		"no claims":              {objects(taking("a", 0)), nil, ""},
		"no CSINode":             {objects(), []string{"c0"}, ""},
		"room":                   {objects(taking("a", 2), Pod("user", Mounts("c1"), On("a"))), []string{"c0"}, ""},
		"no room":                {objects(taking("a", 1), Pod("user", Mounts("c1"), On("a"))), []string{"c0"}, Reason},
		"no room for both":       {objects(taking("a", 2), Pod("user", Mounts("c1"), On("a"))), []string{"c0", "c2"}, Reason},
		"there already":          {objects(taking("a", 1), Pod("user", Mounts("c0"), On("a"))), []string{"c0"}, ""},
		"still attached":         {objects(taking("a", 1), &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: storagev1.VolumeAttachmentSpec{Attacher: driver, NodeName: "a", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv}}}), []string{"c0"}, Reason},
		"to be provisioned":      {objects(taking("a", 1), Pod("user", Mounts("c1"), On("a")), Claim("new", "1Gi"), Class(driver, storagev1.VolumeBindingWaitForFirstConsumer)), []string{"new"}, Reason},
		"of no driver":           {objects(taking("a", 0), Claim("plain", "1Gi", BoundTo("disk")), Volume("disk", "1Gi")), []string{"plain"}, ""},
		"driver must be there":   {objects(&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}, Spec: storagev1.CSIDriverSpec{PreventPodSchedulingIfMissing: &strict}}), []string{"c0"}, driver + " CSI driver is not installed on the node"},
		"driver may be missing":  {objects(&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}}), []string{"c0"}, ""},
		"claim that is not made": {objects(), []string{"none"}, `looking up PVC default/none: persistentvolumeclaim "none" not found (unresolvable)`},
	} {
		cluster := NewCluster(t, test.objects...)
		plugin, err := New(context.Background(), nil, cluster)
		if err != nil {
			t.Fatal(err)
		}
		if got := cluster.Filter(t, plugin, Pod("p", Mounts(test.claims...)))["a"]; got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestHints(t *testing.T) {
	pod := Pod("p", Mounts("c"))
	for name, test := range map[string]struct {
		hint         fwk.QueueingHintFn
		older, newer any
		want         fwk.QueueingHint
	}{
		"more room":                {limitChanged, taking("a", 1), taking("a", 2), fwk.Queue},
		"less room":                {limitChanged, taking("a", 2), taking("a", 1), fwk.QueueSkip},
		"a user of claims is gone": {podDeleted, Pod("gone", Mounts("d"), On("a")), nil, fwk.Queue},
		"a pod without is gone":    {podDeleted, Pod("gone", On("a")), nil, fwk.QueueSkip},
		"one without node is gone": {podDeleted, Pod("gone", Mounts("d")), nil, fwk.QueueSkip},
		"its claim":                {claimAdded, nil, Claim("c", "1Gi"), fwk.Queue},
		"another claim":            {claimAdded, nil, Claim("d", "1Gi"), fwk.QueueSkip},
		"detached":                 {detached, &storagev1.VolumeAttachment{}, nil, fwk.Queue},
	} {
		if got, err := test.hint(klog.Background(), pod, test.older, test.newer); err != nil || got != test.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := detached(klog.Background(), Pod("p", func(*v1.Pod) {}), nil, nil); err != nil || got != fwk.QueueSkip {
		t.Errorf("a pod without claims: %v, %v", got, err)
	}
}
