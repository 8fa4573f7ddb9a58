package persistentvolume

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/clock"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

const (
	once = corev1.ReadWriteOnce
	many = corev1.ReadWriteMany
)

// world is a controller and an API server whose changes it is told of when a test says so.
type world struct {
	*testing.T
	c      *Controller
	client *fake.Clientset
	events *record.FakeRecorder
}

func worldOf(t *testing.T, objects ...runtime.Object) *world {
	t.Helper()
	w := &world{T: t, client: fake.NewClientset(objects...), events: record.NewFakeRecorder(100)}
	env := &controller.Env{Client: w.client, Informers: informers.NewSharedInformerFactory(w.client, 0), Recorder: w.events, Clock: clock.RealClock{}}
	built, err := New(env, Config{DynamicProvisioning: true})
	if err != nil {
		t.Fatal(err)
	}
	w.c = built.(*Controller)
	for _, object := range objects {
		switch object.(type) {
		case *storagev1.StorageClass:
			err = env.Informers.Storage().V1().StorageClasses().Informer().GetIndexer().Add(object)
		case *corev1.Pod:
			err = env.Informers.Core().V1().Pods().Informer().GetIndexer().Add(object)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// settle gives every claim and volume a few turns, as their changes would.
func (w *world) settle() *world {
	w.Helper()
	for range 4 {
		w.observe()
		for len := w.c.queue.Len(); len > 0; len = w.c.queue.Len() {
			w.turns()
		}
	}
	return w
}

// observe does what the informers do.
func (w *world) observe() {
	w.Helper()
	claims, volumes := w.claims(), w.volumes()
	for _, known := range w.c.claims.list(func(*corev1.PersistentVolumeClaim) bool { return true }) {
		if now, there := claims[known.Name]; !there || now.UID != known.UID {
			w.c.claimGone(known)
		}
	}
	for _, known := range w.c.volumes.list(func(*corev1.PersistentVolume) bool { return true }) {
		if _, there := volumes[known.Name]; !there {
			w.c.volumeGone(known)
		}
	}
	for _, volume := range volumes {
		w.c.volumeSeen(volume)
	}
	for _, claim := range claims {
		w.c.claimSeen(claim)
	}
}

func (w *world) turns() {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	// A queue whose context is done works off what it holds and ends.
	w.c.queue.Run(ctx, 1)
	w.c.queue = controller.NewQueue("test", clock.RealClock{}, controller.DefaultBackoff, w.c.sync)
}

func (w *world) claims() map[string]*corev1.PersistentVolumeClaim {
	w.Helper()
	list, err := w.client.CoreV1().PersistentVolumeClaims("ns").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	byName := map[string]*corev1.PersistentVolumeClaim{}
	for i := range list.Items {
		byName[list.Items[i].Name] = &list.Items[i]
	}
	return byName
}

func (w *world) volumes() map[string]*corev1.PersistentVolume {
	w.Helper()
	list, err := w.client.CoreV1().PersistentVolumes().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	byName := map[string]*corev1.PersistentVolume{}
	for i := range list.Items {
		byName[list.Items[i].Name] = &list.Items[i]
	}
	return byName
}

func (w *world) deleteClaim(name string) {
	w.Helper()
	if err := w.client.CoreV1().PersistentVolumeClaims("ns").Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
}

// said tells whether an event with that text was written.
func (w *world) said(text string) bool {
	for {
		select {
		case event := <-w.events.Events:
			if strings.Contains(event, text) {
				return true
			}
		default:
			return false
		}
	}
}

// holds says which claim has which volume, both sides agreeing, and nothing of the others.
func (w *world) holds(want map[string]string) {
	w.Helper()
	volumes := w.volumes()
	for name, claim := range w.claims() {
		if claim.Spec.VolumeName != want[name] {
			w.Errorf("claim %s has volume %q, want %q", name, claim.Spec.VolumeName, want[name])
			continue
		}
		if want[name] == "" {
			if claim.Status.Phase != corev1.ClaimPending {
				w.Errorf("claim %s is %q, want Pending", name, claim.Status.Phase)
			}
			continue
		}
		volume := volumes[claim.Spec.VolumeName]
		if claim.Status.Phase != corev1.ClaimBound || unbound(claim) || volume.Status.Phase != corev1.VolumeBound || volume.Spec.ClaimRef.UID != claim.UID {
			w.Errorf("claim %s is %s (%v), its volume %s of %+v", name, claim.Status.Phase, claim.Annotations, volume.Status.Phase, volume.Spec.ClaimRef)
		}
	}
}

func storage(size string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
}

func claim(name, size string, edits ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	class := "slow"
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{once}, StorageClassName: &class,
			Resources: corev1.VolumeResourceRequirements{Requests: storage(size)},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
	for _, edit := range edits {
		edit(c)
	}
	return c
}

func volume(name, size string, edits ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{once}, StorageClassName: "slow", Capacity: storage(size),
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}},
		},
	}
	for _, edit := range edits {
		edit(v)
	}
	return v
}

func class(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

// reservedFor makes a volume as a user who wants it for a claim does, or with uid as the scheduler does.
func reservedFor(claim string, uid types.UID) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: "ns", Name: claim, UID: uid}
	}
}

func TestBestFit(t *testing.T) {
	shared := func(v *corev1.PersistentVolume) { v.Spec.AccessModes = append(v.Spec.AccessModes, many) }
	w := worldOf(t,
		claim("a", "2Gi"), claim("shared", "1Gi", func(c *corev1.PersistentVolumeClaim) { c.Spec.AccessModes[0] = many }), claim("huge", "1Ti"),
		volume("small", "1Gi"), volume("fitting", "3Gi"), volume("large", "9Gi"), volume("tight", "2Gi", shared),
	).settle()
	w.holds(map[string]string{"a": "fitting", "shared": "tight"})
	if got := w.claims()["a"]; got.Status.Capacity.Storage().String() != "3Gi" || got.Annotations[volumehelpers.AnnBoundByController] != "yes" {
		t.Errorf("%+v %v", got.Status, got.Annotations)
	}
	if phase := w.volumes()["large"].Status.Phase; phase != corev1.VolumeAvailable {
		t.Errorf("the volume that nobody has is %s", phase)
	}
}

func TestOneVolumeOneClaim(t *testing.T) {
	w := worldOf(t, claim("a", "1Gi"), claim("b", "1Gi"), claim("c", "1Gi"), volume("only", "1Gi")).settle()
	bound := 0
	for _, c := range w.claims() {
		if c.Status.Phase == corev1.ClaimBound {
			bound++
		}
	}
	if bound != 1 {
		t.Errorf("%d claims are bound to one volume", bound)
	}
}

func TestReserved(t *testing.T) {
	w := worldOf(t, claim("mine", "1Gi"), claim("other", "1Gi"), volume("kept", "5Gi", reservedFor("mine", ""))).settle()
	w.holds(map[string]string{"mine": "kept"})
	if _, ours := w.volumes()["kept"].Annotations[volumehelpers.AnnBoundByController]; ours {
		t.Error("a volume that a user reserved is marked as bound by the controller")
	}
}

func TestNamed(t *testing.T) {
	named := func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "chosen" }
	worldOf(t, claim("a", "1Gi", named), volume("chosen", "5Gi"), volume("fitting", "1Gi")).settle().holds(map[string]string{"a": "chosen"})

	w := worldOf(t, claim("a", "6Gi", named), volume("chosen", "5Gi")).settle()
	if got := w.claims()["a"].Status.Phase; got != corev1.ClaimPending || !w.said(`Cannot bind to requested volume "chosen": requested PV is too small`) {
		t.Error(got)
	}
	w = worldOf(t, claim("a", "1Gi", named), claim("b", "1Gi"), volume("chosen", "5Gi", reservedFor("b", "b"))).settle()
	if got := w.claims()["a"].Status.Phase; got != corev1.ClaimPending || !w.said(`volume "chosen" already bound to a different claim.`) {
		t.Error(got)
	}
}

func TestLateBinding(t *testing.T) {
	late := class("slow", volumehelpers.NotSupportedProvisioner, storagev1.VolumeBindingWaitForFirstConsumer)
	w := worldOf(t, late, claim("a", "1Gi"), volume("v", "1Gi")).settle()
	w.holds(nil)
	if !w.said("waiting for first consumer to be created before binding") {
		t.Error("nothing says what the claim waits for")
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "user"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "a"}}},
	}}}
	if w = worldOf(t, late, pod, claim("a", "1Gi")).settle(); !w.said("waiting for pod user to be scheduled") {
		t.Error("nothing names the pod that the claim waits for")
	}
	// The scheduler chose.
	worldOf(t, late, claim("a", "1Gi"), volume("v", "1Gi", reservedFor("a", "a"))).settle().holds(map[string]string{"a": "v"})
}

func TestProvisioners(t *testing.T) {
	w := worldOf(t, class("slow", "example.com/maker", storagev1.VolumeBindingImmediate), claim("a", "1Gi")).settle()
	w.holds(nil)
	for _, key := range []string{volumehelpers.AnnStorageProvisioner, volumehelpers.AnnBetaStorageProvisioner} {
		if got := w.claims()["a"].Annotations[key]; got != "example.com/maker" {
			t.Errorf("%s is %q", key, got)
		}
	}
	if !w.said("external provisioner 'example.com/maker'") {
		t.Error("nothing says who is waited for")
	}
	if w = worldOf(t, class("slow", volumehelpers.NotSupportedProvisioner, storagev1.VolumeBindingImmediate), claim("a", "1Gi")).settle(); !w.said("ProvisioningFailed no volume plugin matched name: kubernetes.io/no-provisioner") {
		t.Error("nothing says that nobody will make a volume")
	}
	late := class("slow", "example.com/maker", storagev1.VolumeBindingWaitForFirstConsumer)
	if w = worldOf(t, late, claim("a", "1Gi")).settle(); w.claims()["a"].Annotations[volumehelpers.AnnStorageProvisioner] != "" {
		t.Error("a volume is asked for before the node is known")
	}
	placed := claim("a", "1Gi", func(c *corev1.PersistentVolumeClaim) {
		c.Annotations = map[string]string{volumehelpers.AnnSelectedNode: "node"}
	})
	if w = worldOf(t, late, placed).settle(); w.claims()["a"].Annotations[volumehelpers.AnnStorageProvisioner] == "" {
		t.Error("no volume is asked for though the node is known")
	}
}

func TestDefaultClassComesLate(t *testing.T) {
	marked := class("usual", "example.com/maker", storagev1.VolumeBindingImmediate)
	marked.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
	none := func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }
	empty := func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = new(string) }
	w := worldOf(t, marked, class("other", "example.com/maker", storagev1.VolumeBindingImmediate), claim("open", "1Gi", none), claim("static", "1Gi", empty)).settle()
	if got := w.claims()["open"].Spec.StorageClassName; got == nil || *got != "usual" {
		t.Error("a claim without class did not get the default")
	}
	if got := *w.claims()["static"].Spec.StorageClassName; got != "" {
		t.Errorf("a claim of class \"\" got %q", got)
	}
}

func TestReclaim(t *testing.T) {
	deleted := func(v *corev1.PersistentVolume) {
		v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete
	}
	at := func(path string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) { v.Spec.HostPath.Path = path }
	}
	released := func(t *testing.T, edits ...func(*corev1.PersistentVolume)) *world {
		t.Helper()
		w := worldOf(t, claim("a", "1Gi"), volume("v", "1Gi", edits...)).settle()
		w.holds(map[string]string{"a": "v"})
		w.deleteClaim("a")
		return w.settle()
	}

	w := released(t)
	again := claim("a", "1Gi")
	again.UID = "another"
	if _, err := w.client.CoreV1().PersistentVolumeClaims("ns").Create(context.Background(), again, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.settle().holds(nil)
	if phase := w.volumes()["v"].Status.Phase; phase != corev1.VolumeReleased {
		t.Errorf("a retained volume is %s", phase)
	}

	data := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(data, scratch) {
		w = released(t, deleted, at(data))
		if _, err := os.Stat(data); len(w.volumes()) > 0 || !os.IsNotExist(err) {
			t.Errorf("volume and data are not deleted: %v", err)
		}
	}
	for path, local := range map[string]bool{"/data": false, "/tmp": false, "/tmp/../data": false, "": true} {
		w = released(t, deleted, at(path), func(v *corev1.PersistentVolume) {
			if local {
				v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/disk"}}
			}
		})
		if got := w.volumes()["v"].Status; got.Phase != corev1.VolumeFailed || got.Message == "" || !w.said("VolumeFailedDelete") {
			t.Errorf("%q: %+v", path, got)
		}
	}
	w = released(t, deleted, func(v *corev1.PersistentVolume) {
		v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h"}}
	})
	if got := w.volumes()["v"].Status.Phase; got != corev1.VolumeReleased {
		t.Errorf("a driver's volume is %s", got)
	}
}

func TestLost(t *testing.T) {
	w := worldOf(t, claim("a", "1Gi"), volume("v", "1Gi")).settle()
	if err := w.client.CoreV1().PersistentVolumes().Delete(context.Background(), "v", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := w.settle().claims()["a"].Status.Phase; got != corev1.ClaimLost || !w.said("ClaimLost") {
		t.Error(got)
	}
}

func TestBoundElsewhere(t *testing.T) {
	ours := func(v *corev1.PersistentVolume) {
		reservedFor("a", "a")(v)
		v.Annotations = map[string]string{volumehelpers.AnnBoundByController: "yes"}
	}
	w := worldOf(t, claim("a", "1Gi"), volume("v", "1Gi")).settle()
	for _, spare := range []*corev1.PersistentVolume{volume("ours", "1Gi", ours), volume("users", "1Gi", reservedFor("a", "a"))} {
		if _, err := w.client.CoreV1().PersistentVolumes().Create(context.Background(), spare, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	volumes := w.settle().volumes()
	if got := volumes["ours"]; got.Spec.ClaimRef != nil || got.Status.Phase != corev1.VolumeAvailable || len(got.Annotations) > 0 {
		t.Errorf("%+v", got)
	}
	if got := volumes["users"]; got.Spec.ClaimRef == nil || got.Spec.ClaimRef.UID != "" || got.Status.Phase != corev1.VolumeAvailable {
		t.Errorf("%+v", got)
	}
}

func TestNewest(t *testing.T) {
	at := func(version string) *corev1.PersistentVolume {
		v := volume("v", "1Gi")
		v.ResourceVersion = version
		return v
	}
	var n newest[*corev1.PersistentVolume]
	key := controller.Key{Name: "v"}
	n.see(at("5"))
	n.wrote(at("7"))
	if n.see(at("6")) {
		t.Error("an old version is news")
	}
	if got, _ := n.get(key); got.ResourceVersion != "7" {
		t.Errorf("version %s", got.ResourceVersion)
	}
	n.drop(at("8"))
	n.wrote(at("7"))
	if _, known := n.get(key); known {
		t.Error("a late answer brought back what is gone")
	}
}
