package volumezone

import (
	"context"
	"maps"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

func in(label, value string) func(*v1.PersistentVolume) {
	return func(volume *v1.PersistentVolume) { volume.Labels[label] = value }
}

func TestFilter(t *testing.T) {
	const rejected = Reason + " (unresolvable)"
	anywhere := map[string]string{"here": "", "there": "", "plain": ""}
	for name, test := range map[string]struct {
		objects []apiruntime.Object
		want    map[string]string
	}{
		"no label":      {[]apiruntime.Object{Claim("c", "1Gi", BoundTo("v")), Volume("v", "1Gi")}, anywhere},
		"zone":          {[]apiruntime.Object{Claim("c", "1Gi", BoundTo("v")), Volume("v", "1Gi", in(v1.LabelTopologyZone, "1"))}, map[string]string{"here": "", "there": rejected, "plain": ""}},
		"old label":     {[]apiruntime.Object{Claim("c", "1Gi", BoundTo("v")), Volume("v", "1Gi", in(v1.LabelFailureDomainBetaZone, "2"))}, map[string]string{"here": rejected, "there": "", "plain": ""}},
		"several zones": {[]apiruntime.Object{Claim("c", "1Gi", BoundTo("v")), Volume("v", "1Gi", in(v1.LabelTopologyZone, "1__2"))}, anywhere},
		"region that no node has": {[]apiruntime.Object{Claim("c", "1Gi", BoundTo("v")), Volume("v", "1Gi", in(v1.LabelTopologyRegion, "r"))},
			map[string]string{"here": rejected, "there": rejected, "plain": ""}},
		"empty label": {[]apiruntime.Object{Claim("c", "1Gi", BoundTo("v")), Volume("v", "1Gi", in(v1.LabelTopologyZone, "1__"))}, anywhere},
		"late":        {[]apiruntime.Object{Claim("c", "1Gi"), Class("x", storagev1.VolumeBindingWaitForFirstConsumer)}, anywhere},
		"immediate":   {[]apiruntime.Object{Claim("c", "1Gi"), Class("x", storagev1.VolumeBindingImmediate)}, map[string]string{"*": "PersistentVolume had no name (unresolvable)"}},
		"no class":    {[]apiruntime.Object{Claim("c", "1Gi")}, map[string]string{"*": `storageclass.storage.k8s.io "class" not found (unresolvable)`}},
		"no claim":    {nil, map[string]string{"*": `persistentvolumeclaim "c" not found (unresolvable)`}},
		"no volume":   {[]apiruntime.Object{Claim("c", "1Gi", BoundTo("v"))}, map[string]string{"*": `persistentvolume "v" not found (unresolvable)`}},
	} {
		cluster := NewCluster(t, append(test.objects, Node("here", Labelled(v1.LabelTopologyZone, "1")), Node("there", Labelled(v1.LabelTopologyZone, "2")), Node("plain"))...)
		plugin, err := New(context.Background(), nil, cluster)
		if err != nil {
			t.Fatal(err)
		}
		if got := cluster.Filter(t, plugin, Pod("p", Mounts("c"))); !maps.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestHints(t *testing.T) {
	pod := Pod("p", Mounts("c"))
	one, two := Volume("v", "1Gi", in(v1.LabelTopologyZone, "1")), Volume("v", "1Gi", in(v1.LabelTopologyZone, "2"))
	for name, test := range map[string]struct {
		hint         fwk.QueueingHintFn
		older, newer any
		want         fwk.QueueingHint
	}{
		"its claim":       {claimChanged, nil, Claim("c", "1Gi"), fwk.Queue},
		"another claim":   {claimChanged, nil, Claim("d", "1Gi"), fwk.QueueSkip},
		"late class":      {classAdded, nil, Class("x", storagev1.VolumeBindingWaitForFirstConsumer), fwk.Queue},
		"immediate class": {classAdded, nil, Class("x", storagev1.VolumeBindingImmediate), fwk.QueueSkip},
		"volume moved":    {volumeChanged, one, two, fwk.Queue},
		"volume stayed":   {volumeChanged, one, one, fwk.QueueSkip},
		"new volume":      {volumeChanged, nil, one, fwk.Queue},
	} {
		if got, err := test.hint(klog.Background(), pod, test.older, test.newer); err != nil || got != test.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
