package volumebinding

import (
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clienttesting "k8s.io/client-go/testing"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/runtime"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

const (
	late      = storagev1.VolumeBindingWaitForFirstConsumer
	immediate = storagev1.VolumeBindingImmediate
	static    = volumehelpers.NotSupportedProvisioner
	maker     = "example.com/maker"
)

func pluginOver(t *testing.T, objects ...apiruntime.Object) (*VolumeBinding, *Cluster) {
	t.Helper()
	cluster := NewCluster(t, append(objects, Node("a"), Node("b"))...)
	plugin, err := New(context.Background(), Args[configv1.VolumeBindingArgs](t, ""), cluster)
	if err != nil {
		t.Fatal(err)
	}
	// The index came after the objects.
	b, informer := plugin.(*VolumeBinding), cluster.Informers.Core().V1().PersistentVolumes().Informer()
	for _, object := range objects {
		if volume, ok := object.(*v1.PersistentVolume); ok {
			if err := informer.GetIndexer().Update(volume); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b, cluster
}

func reservedFor(claim string) func(*v1.PersistentVolume) {
	return func(v *v1.PersistentVolume) {
		v.Spec.ClaimRef = &v1.ObjectReference{Namespace: "default", Name: claim}
	}
}

func selected(node string) func(*v1.PersistentVolumeClaim) {
	return func(claim *v1.PersistentVolumeClaim) { claim.Annotations[volumehelpers.AnnSelectedNode] = node }
}

func allowing(class *storagev1.StorageClass, node string) *storagev1.StorageClass {
	class.AllowedTopologies = []v1.TopologySelectorTerm{{MatchLabelExpressions: []v1.TopologySelectorLabelRequirement{{Key: v1.LabelHostname, Values: []string{node}}}}}
	return class
}

func reporting(amount, node string) []apiruntime.Object {
	yes, quantity := true, resource.MustParse(amount)
	return []apiruntime.Object{
		&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: maker}, Spec: storagev1.CSIDriverSpec{StorageCapacity: &yes}},
		&storagev1.CSIStorageCapacity{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "report"}, StorageClassName: "class", Capacity: &quantity,
			NodeTopology: Selects(v1.LabelHostname, node),
		},
	}
}

func TestFilter(t *testing.T) {
	const (
		none      = NoVolumeReason + " (unresolvable)"
		elsewhere = ElsewhereReason + " (unresolvable)"
	)
	type objects = []apiruntime.Object
	for name, test := range map[string]struct {
		objects objects
		claims  []string
		want    map[string]string
	}{
		"no claims":                 {nil, nil, map[string]string{"a": "", "b": ""}},
		"unknown claim":             {nil, []string{"c"}, map[string]string{"*": `persistentvolumeclaim "c" not found (unresolvable)`}},
		"bound, local":              {objects{Claim("c", "1Gi", BoundTo("v")), Volume("v", "1Gi", LocalTo("b"))}, []string{"c"}, map[string]string{"a": elsewhere, "b": ""}},
		"bound, volume gone":        {objects{Claim("c", "1Gi", BoundTo("v"))}, []string{"c"}, map[string]string{"a": LostReason + " (unresolvable)", "b": LostReason + " (unresolvable)"}},
		"to be bound by others":     {objects{Claim("c", "1Gi"), Class(static, immediate), Volume("v", "1Gi")}, []string{"c"}, map[string]string{"*": UnboundReason + " (unresolvable)"}},
		"late, local":               {objects{Claim("c", "1Gi"), Class(static, late), Volume("v", "1Gi", LocalTo("b"))}, []string{"c"}, map[string]string{"a": none, "b": ""}},
		"late, too small":           {objects{Claim("c", "2Gi"), Class(static, late), Volume("v", "1Gi")}, []string{"c"}, map[string]string{"a": none, "b": none}},
		"late, somebody else's":     {objects{Claim("c", "1Gi"), Class(static, late), Volume("v", "1Gi", reservedFor("x"))}, []string{"c"}, map[string]string{"a": none, "b": none}},
		"late, reserved":            {objects{Claim("c", "1Gi"), Class(static, late), Volume("v", "1Gi", reservedFor("c"), LocalTo("a"))}, []string{"c"}, map[string]string{"a": "", "b": none}},
		"late, two for one volume":  {objects{Claim("c", "1Gi"), Claim("d", "1Gi"), Class(static, late), Volume("v", "1Gi", LocalTo("a")), Volume("w", "1Gi", LocalTo("a")), Volume("x", "1Gi", LocalTo("b"))}, []string{"c", "d"}, map[string]string{"a": "", "b": none}},
		"provisioned anywhere":      {objects{Claim("c", "1Gi"), Class(maker, late)}, []string{"c"}, map[string]string{"a": "", "b": ""}},
		"provisioned in a topology": {objects{Claim("c", "1Gi"), allowing(Class(maker, late), "b")}, []string{"c"}, map[string]string{"a": none, "b": ""}},
		"provisioning has begun":    {objects{Claim("c", "1Gi", selected("a")), Class(maker, late)}, []string{"c"}, map[string]string{"a": "", "b": none}},
		"capacity on one":           {append(reporting("5Gi", "a"), Claim("c", "2Gi"), Class(maker, late)), []string{"c"}, map[string]string{"a": "", "b": NoSpaceReason + " (unresolvable)"}},
		"capacity too small":        {append(reporting("1Gi", "a"), Claim("c", "2Gi"), Class(maker, late)), []string{"c"}, map[string]string{"a": NoSpaceReason + " (unresolvable)", "b": NoSpaceReason + " (unresolvable)"}},
		"elsewhere, and none": {objects{Claim("c", "1Gi", BoundTo("v")), Volume("v", "1Gi", LocalTo("b"), reservedFor("c")), Claim("d", "1Gi"), Class(static, late)}, []string{"c", "d"},
			map[string]string{"a": ElsewhereReason + ", " + none, "b": none}},
		"lost claim": {objects{Claim("c", "1Gi", func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeName, c.Status.Phase = "v", v1.ClaimLost })}, []string{"c"},
			map[string]string{"*": `persistentvolumeclaim "c" bound to non-existent persistentvolume "v" (unresolvable)`}},
		"claim that is going": {objects{Claim("c", "1Gi", func(c *v1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} })}, []string{"c"},
			map[string]string{"*": `persistentvolumeclaim "c" is being deleted (unresolvable)`}},
	} {
		t.Run(name, func(t *testing.T) {
			plugin, cluster := pluginOver(t, test.objects...)
			if got := cluster.Filter(t, plugin, Pod("p", Mounts(test.claims...))); !maps.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestEphemeral(t *testing.T) {
	pod := Pod("p")
	pod.Spec.Volumes = []v1.Volume{{Name: "data", VolumeSource: v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{}}}}
	plugin, cluster := pluginOver(t)
	if got := cluster.Filter(t, plugin, pod)["*"]; got != `waiting for ephemeral volume controller to create the persistentvolumeclaim "p-data" (unresolvable)` {
		t.Error(got)
	}
	plugin, cluster = pluginOver(t, Claim("p-data", "1Gi", BoundTo("v")), Volume("v", "1Gi"))
	if got := cluster.Filter(t, plugin, pod)["*"]; got == "" {
		t.Error("a pod gets the claim of somebody else for its own")
	}
}

// cycleOn takes a pod to the point where a node is chosen.
func cycleOn(t *testing.T, b *VolumeBinding, cluster *Cluster, pod *v1.Pod, node string) fwk.CycleState {
	t.Helper()
	ctx, state := context.Background(), runtime.NewCycleState(false)
	if _, status := b.PreFilter(ctx, state, pod, nil); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	info, err := cluster.Snapshot.Get(node)
	if err != nil {
		t.Fatal(err)
	}
	if status := b.Filter(ctx, state, pod, info); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	return state
}

func TestReserve(t *testing.T) {
	ctx := context.Background()
	b, cluster := pluginOver(t, Claim("c", "1Gi"), Claim("d", "1Gi"), Class(static, late), Volume("v", "1Gi", LocalTo("a")))
	first, second := Pod("first", Mounts("c")), Pod("second", Mounts("d"))
	state := cycleOn(t, b, cluster, first, "a")
	if status := b.Reserve(ctx, state, first, "a"); !status.IsSuccess() {
		t.Fatal(status.AsError())
	}
	if got := cluster.Filter(t, b, second)["a"]; got == "" {
		t.Error("a volume is given away twice")
	}
	if _, status := b.PreBindPreFlight(ctx, state, first, "a"); !status.IsSuccess() {
		t.Errorf("nothing to bind: %v", status)
	}
	b.Unreserve(ctx, state, first, "a")
	if got := cluster.Filter(t, b, second)["a"]; got != "" {
		t.Errorf("a volume that was given back is not free: %s", got)
	}
	// What the watch delivers meanwhile counts.
	state = cycleOn(t, b, cluster, first, "a")
	taken := Volume("v", "1Gi", LocalTo("a"), reservedFor("x"))
	taken.ResourceVersion = "2"
	if err := cluster.Informers.Core().V1().PersistentVolumes().Informer().GetIndexer().Update(taken); err != nil {
		t.Fatal(err)
	}
	if status := b.Reserve(ctx, state, first, "a"); status.IsSuccess() {
		t.Error("a volume is reserved on the word of an old version")
	}
}

// deliver does what informers do.
func deliver(t *testing.T, b *VolumeBinding, cluster *Cluster, objects ...apiruntime.Object) {
	t.Helper()
	core := cluster.Informers.Core().V1()
	for _, object := range objects {
		var err error
		switch object.(type) {
		case *v1.PersistentVolume:
			err = core.PersistentVolumes().Informer().GetIndexer().Update(object)
		case *v1.PersistentVolumeClaim:
			err = core.PersistentVolumeClaims().Informer().GetIndexer().Update(object)
		}
		if err != nil {
			t.Fatal(err)
		}
		b.changes.tell()
	}
}

func TestPreBind(t *testing.T) {
	ctx := context.Background()
	pod := Pod("p", Mounts("c"), On("a"))
	start := func(t *testing.T, objects ...apiruntime.Object) (*VolumeBinding, *Cluster, <-chan *fwk.Status) {
		t.Helper()
		b, cluster := pluginOver(t, append(objects, pod)...)
		// The fake API server does not count versions: what is written has version 2 here.
		cluster.Client.PrependReactor("update", "*", func(action clienttesting.Action) (bool, apiruntime.Object, error) {
			written, err := meta.Accessor(action.(clienttesting.UpdateAction).GetObject())
			if err == nil {
				written.SetResourceVersion("2")
			}
			return false, nil, err
		})
		state := cycleOn(t, b, cluster, pod, "a")
		if status := b.Reserve(ctx, state, pod, "a"); !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		done := make(chan *fwk.Status, 1)
		go func() { done <- b.PreBind(ctx, state, pod, "a") }()
		synctest.Wait() // it has written, and waits for what the watch delivers
		return b, cluster, done
	}
	run := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
	run("bound", func(t *testing.T) {
		b, cluster, done := start(t, Claim("c", "1Gi"), Class(static, late), Volume("v", "1Gi", LocalTo("a")))
		taken := Volume("v", "1Gi", LocalTo("a"), reservedFor("c"))
		taken.ResourceVersion, taken.Spec.ClaimRef.UID = "3", "c"
		deliver(t, b, cluster, taken, Claim("c", "1Gi", BoundTo("v")))
		if status := <-done; !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		written, err := cluster.Client.CoreV1().PersistentVolumes().Get(ctx, "v", metav1.GetOptions{})
		if err != nil || written.Spec.ClaimRef == nil || written.Spec.ClaimRef.UID != "c" || written.Annotations[volumehelpers.AnnBoundByController] != "yes" {
			t.Errorf("%v %+v", err, written)
		}
	})
	run("taken back", func(t *testing.T) {
		b, cluster, done := start(t, Claim("c", "1Gi"), Class(static, late), Volume("v", "1Gi", LocalTo("a")))
		free := Volume("v", "1Gi", LocalTo("a"))
		free.ResourceVersion = "3"
		deliver(t, b, cluster, free)
		if status := <-done; status.IsSuccess() {
			t.Error("a binding that was taken back counts as bound")
		}
	})
	run("provisioned", func(t *testing.T) {
		b, cluster, done := start(t, Claim("c", "1Gi"), Class(maker, late))
		made := Claim("c", "1Gi", selected("a"), BoundTo("made"))
		made.ResourceVersion = "3"
		deliver(t, b, cluster, Volume("made", "1Gi", LocalTo("a")), made)
		if status := <-done; !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		written, err := cluster.Client.CoreV1().PersistentVolumeClaims("default").Get(ctx, "c", metav1.GetOptions{})
		if err != nil || written.Annotations[volumehelpers.AnnSelectedNode] != "a" {
			t.Errorf("%v %+v", err, written)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		b, cluster := pluginOver(t, Claim("c", "1Gi"), Class(maker, late), pod)
		b.timeout = 0
		state := cycleOn(t, b, cluster, pod, "a")
		if status := b.Reserve(ctx, state, pod, "a"); !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		// The claim has a node, as written, and no volume.
		asked := Claim("c", "1Gi", selected("a"))
		asked.ResourceVersion = "2"
		deliver(t, b, cluster, asked)
		status := b.PreBind(ctx, state, pod, "a")
		if want := "binding volumes: " + context.DeadlineExceeded.Error(); status.IsSuccess() || status.AsError().Error() != want {
			t.Errorf("got %v, want %s", status, want)
		}
	})
}

func TestScore(t *testing.T) {
	ctx := context.Background()
	score := func(t *testing.T, objects []apiruntime.Object, node string) int64 {
		t.Helper()
		b, cluster := pluginOver(t, objects...)
		pod := Pod("p", Mounts("c"))
		state := cycleOn(t, b, cluster, pod, node)
		if status := b.PreScore(ctx, state, pod, nil); status.IsSkip() {
			return -1
		}
		info, err := cluster.Snapshot.Get(node)
		if err != nil {
			t.Fatal(err)
		}
		got, status := b.Score(ctx, state, pod, info)
		if !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		return got
	}
	volumes := []apiruntime.Object{Claim("c", "1Gi"), Class(static, late), Volume("tight", "1Gi", LocalTo("a")), Volume("roomy", "4Gi", LocalTo("b"))}
	for node, want := range map[string]int64{"a": 0, "b": 75} {
		if got := score(t, volumes, node); got != want {
			t.Errorf("a volume on %s: %d, want %d", node, got, want)
		}
	}
	if got := score(t, append(reporting("5Gi", "a"), Claim("c", "2Gi"), Class(maker, late)), "a"); got != 60 {
		t.Errorf("storage to make a volume from: %d", got)
	}
	if got := score(t, []apiruntime.Object{Claim("c", "1Gi", BoundTo("v")), Volume("v", "1Gi")}, "a"); got != -1 {
		t.Errorf("a bound claim is scored: %d", got)
	}
}

func TestHints(t *testing.T) {
	pod := Pod("p", Mounts("c"))
	other := Claim("c", "1Gi")
	other.Namespace = "elsewhere"
	class, moved := Class(maker, late), allowing(Class(maker, late), "b")
	capacity := func(amount string) *storagev1.CSIStorageCapacity {
		return reporting(amount, "a")[1].(*storagev1.CSIStorageCapacity)
	}
	for name, test := range map[string]struct {
		hint         fwk.QueueingHintFn
		older, newer any
		want         fwk.QueueingHint
	}{
		"its claim":          {claimChanged, nil, Claim("c", "1Gi"), fwk.Queue},
		"another claim":      {claimChanged, nil, Claim("d", "1Gi"), fwk.QueueSkip},
		"another namespace":  {claimChanged, nil, other, fwk.QueueSkip},
		"new class":          {classChanged, nil, class, fwk.Queue},
		"class as it was":    {classChanged, class, class, fwk.QueueSkip},
		"class moved":        {classChanged, class, moved, fwk.Queue},
		"more capacity":      {capacityChanged, capacity("1Gi"), capacity("2Gi"), fwk.Queue},
		"less capacity":      {capacityChanged, capacity("2Gi"), capacity("1Gi"), fwk.QueueSkip},
		"driver stops count": {driverChanged, reporting("1Gi", "a")[0], &storagev1.CSIDriver{}, fwk.Queue},
	} {
		if got, err := test.hint(klog.Background(), pod, test.older, test.newer); err != nil || got != test.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := Validate(field.NewPath("args"), Args[configv1.VolumeBindingArgs](t, "")); err != nil {
		t.Error(err)
	}
	err := Validate(field.NewPath("args"), Args[configv1.VolumeBindingArgs](t, "bindTimeoutSeconds: -1"))
	if want := "args.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := Validate(field.NewPath("args"), Args[configv1.VolumeBindingArgs](t, "shape: [{utilization: 50, score: 11}]")); err == nil {
		t.Error("a score of 11 passes")
	}
}

func TestChanges(t *testing.T) {
	var c changes
	c.tell()
	waiting := c.wait()
	select {
	case <-waiting:
		t.Error("what came before is news")
	case <-time.After(0):
	}
	c.tell()
	<-waiting
}
