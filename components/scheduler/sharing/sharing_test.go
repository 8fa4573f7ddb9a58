package sharing

import (
	"bytes"
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// codec encodes and decodes as a client of the core group does.
type codec struct {
	testing.TB
	info           runtime.SerializerInfo
	plain, sharing runtime.Decoder
}

func newCodec(t testing.TB) *codec {
	t.Helper()
	plain := scheme.Codecs.WithoutConversion()
	sharing := Negotiated(plain)
	decoder := func(from runtime.NegotiatedSerializer) (runtime.SerializerInfo, runtime.Decoder) {
		info, found := runtime.SerializerInfoForMediaType(from.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
		if !found {
			t.Fatal("no protobuf")
		}
		return info, from.DecoderToVersion(info.Serializer, v1.SchemeGroupVersion)
	}
	c := &codec{TB: t}
	_, c.plain = decoder(plain)
	c.info, c.sharing = decoder(sharing)
	return c
}

func (c *codec) encode(obj runtime.Object) []byte {
	c.Helper()
	data, err := runtime.Encode(scheme.Codecs.WithoutConversion().EncoderForVersion(c.info.Serializer, v1.SchemeGroupVersion), obj)
	if err != nil {
		c.Fatal(err)
	}
	return data
}

// decode decodes what the object is encoded to, and compares it with what would plainly be decoded.
func (c *codec) decode(obj runtime.Object) runtime.Object {
	c.Helper()
	data := c.encode(obj)
	want, _, err := c.plain.Decode(data, nil, nil)
	if err != nil {
		c.Fatal(err)
	}
	want.(metav1.Object).SetManagedFields(nil)
	got, gvk, err := c.sharing.Decode(data, nil, nil)
	if err != nil {
		c.Fatal(err)
	}
	if want := v1.SchemeGroupVersion.WithKind(reflect.TypeOf(obj).Elem().Name()); *gvk != want {
		c.Errorf("decoded %v, want %v", gvk, want)
	}
	if !equality.Semantic.DeepEqual(got, want) {
		c.Fatalf("decoded\n%v\nwant\n%v", got, want)
	}
	return got
}

func (c *codec) pod(edits ...func(*v1.Pod)) *v1.Pod {
	c.Helper()
	return c.decode(pod(edits...)).(*v1.Pod)
}

var made int

// pod makes a pod as the API server stores one of a Deployment's.
func pod(edits ...func(*v1.Pod)) *v1.Pod {
	made++
	name := fmt.Sprintf("web-%d", made)
	controls := true
	needs := v1.ResourceList{v1.ResourceCPU: resource.MustParse("100m"), v1.ResourceMemory: resource.MustParse("500Mi")}
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, GenerateName: "web-", Namespace: "shop", UID: types.UID(name + "-uid"), ResourceVersion: fmt.Sprint(made), Generation: 1,
			CreationTimestamp: metav1.Unix(int64(made), 0),
			Labels:            map[string]string{"app": "web", "pod-template-hash": "abc"},
			OwnerReferences:   []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "r", Controller: &controls}},
			ManagedFields:     []metav1.ManagedFieldsEntry{{Manager: "m", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: &metav1.FieldsV1{Raw: []byte("{}")}}},
		},
		Spec: v1.PodSpec{
			SchedulerName: "default-scheduler",
			Containers: []v1.Container{
				{Name: "main", Image: "web", Ports: []v1.ContainerPort{{ContainerPort: 80}}, Resources: v1.ResourceRequirements{Requests: needs, Limits: needs}},
				{Name: "side", Image: "side", Env: []v1.EnvVar{{Name: "A", Value: "b"}}},
			},
			Tolerations: []v1.Toleration{{Key: "a", Operator: v1.TolerationOpExists}, {Key: "b", Operator: v1.TolerationOpExists}, {Key: "c", Operator: v1.TolerationOpExists}},
		},
		Status: v1.PodStatus{Phase: v1.PodPending, QOSClass: v1.PodQOSBurstable},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

// token gives a pod a volume whose name is its own, as admission does.
func token(p *v1.Pod) {
	volume := "kube-api-access-" + p.Name
	expires := int64(3607)
	p.Spec.Volumes = []v1.Volume{{Name: volume, VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
		{ServiceAccountToken: &v1.ServiceAccountTokenProjection{ExpirationSeconds: &expires, Path: "token"}},
	}}}}}
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].VolumeMounts = []v1.VolumeMount{{Name: volume, MountPath: "/var/run/secrets"}}
	}
}

func on(node string) func(*v1.Pod) { return func(p *v1.Pod) { p.Spec.NodeName = node } }

// TestPodsOfOneTemplateShare tells what the third pod of a template, bound or not, has in common with the second.
func TestPodsOfOneTemplateShare(t *testing.T) {
	for name, edits := range map[string][]func(*v1.Pod){"waiting": nil, "bound": {on("n1")}} {
		t.Run(name, func(t *testing.T) {
			c := newCodec(t)
			c.pod(edits...)
			a, b := c.pod(edits...), c.pod()
			if reflect.ValueOf(a.Labels).Pointer() != reflect.ValueOf(b.Labels).Pointer() {
				t.Error("the labels are held twice")
			}
			if &a.OwnerReferences[0] != &b.OwnerReferences[0] {
				t.Error("the owner is held twice")
			}
			if &a.Spec.Containers[0] != &b.Spec.Containers[0] {
				t.Error("the containers are held twice")
			}
			if unsafe.StringData(a.Namespace) != unsafe.StringData(b.Namespace) {
				t.Error("the namespace's name is held twice")
			}
		})
	}
}

func TestPodsWithTokensShareTheRest(t *testing.T) {
	c := newCodec(t)
	c.pod(token)
	a, b := c.pod(token), c.pod(token)
	if &a.Spec.Tolerations[0] != &b.Spec.Tolerations[0] {
		t.Error("the tolerations are held twice")
	}
	if &a.Spec.Containers[0] == &b.Spec.Containers[0] {
		t.Error("the mounts differ, and the containers are the same")
	}
	if &a.Spec.Containers[1].Env[0] != &b.Spec.Containers[1].Env[0] {
		t.Error("a container's environment is held twice")
	}
	if a.Spec.Volumes[0].Projected != b.Spec.Volumes[0].Projected {
		t.Error("the token's volume is held twice")
	}
}

// TestOnePodByItselfIsItsOwn: what comes once is not worth remembering.
func TestOnePodByItselfIsItsOwn(t *testing.T) {
	c := newCodec(t)
	a, b := c.pod(), c.pod()
	if &a.Spec.Containers[0] == &b.Spec.Containers[0] {
		t.Error("the first pod's containers were remembered")
	}
}

// TestNothingThatDiffersIsShared edits every field of pods, over and over.
func TestNothingThatDiffersIsShared(t *testing.T) {
	c := newCodec(t)
	for name, edit := range map[string]func(*v1.Pod){
		"label":       func(p *v1.Pod) { p.Labels["app"] = "db" },
		"namespace":   func(p *v1.Pod) { p.Namespace = "other" },
		"owner":       func(p *v1.Pod) { p.OwnerReferences[0].UID = "s" },
		"image":       func(p *v1.Pod) { p.Spec.Containers[1].Image = "other" },
		"request":     func(p *v1.Pod) { p.Spec.Containers[0].Resources.Requests[v1.ResourceCPU] = resource.MustParse("1") },
		"toleration":  func(p *v1.Pod) { p.Spec.Tolerations = p.Spec.Tolerations[:2] },
		"node":        on("n2"),
		"token":       token,
		"init":        func(p *v1.Pod) { token(p); p.Spec.InitContainers = []v1.Container{{Name: "init"}} },
		"phase":       func(p *v1.Pod) { p.Status.Phase = v1.PodRunning },
		"gone":        func(p *v1.Pod) { now := metav1.Unix(5, 0); p.DeletionTimestamp = &now },
		"no labels":   func(p *v1.Pod) { p.Labels = nil },
		"no spec":     func(p *v1.Pod) { p.Spec = v1.PodSpec{} },
		"volumes":     func(p *v1.Pod) { p.Spec.Volumes = []v1.Volume{{Name: "a"}, {Name: "b"}} },
		"condition":   func(p *v1.Pod) { p.Status.Conditions = []v1.PodCondition{{Type: v1.PodScheduled}} },
		"annotations": func(p *v1.Pod) { p.Annotations = map[string]string{"a": strings.Repeat("b", 300)} },
	} {
		t.Run(name, func(t *testing.T) {
			for range 4 {
				c.pod()
				c.pod(edit)
			}
		})
	}
}

// TestRandomObjects decodes pods and nodes that have anything in any field, each several times, and between others.
func TestRandomObjects(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	source := rand.NewSource(seed)
	fill := fuzzer.FuzzerFor(metafuzzer.Funcs, source, scheme.Codecs).NilChance(0.7).NumElements(1, 3)
	r := rand.New(source)
	c := newCodec(t)
	var seen []runtime.Object
	for range 300 {
		p, n := &v1.Pod{}, &v1.Node{}
		fill.Fill(p)
		fill.Fill(n)
		p.TypeMeta, n.TypeMeta = metav1.TypeMeta{}, metav1.TypeMeta{}
		seen = append(seen, p, n)
		for range 4 {
			c.decode(seen[r.Intn(len(seen))])
		}
	}
}

// TestSharedSlicesHaveNoRoom: appending to a shallow copy must not reach another pod.
func TestSharedSlicesHaveNoRoom(t *testing.T) {
	c := newCodec(t)
	c.pod()
	c.pod()
	a, b := *c.pod(), *c.pod()
	if cap(a.Spec.Tolerations) != 3 {
		t.Errorf("three tolerations have room for %d", cap(a.Spec.Tolerations))
	}
	a.Spec.Tolerations = append(a.Spec.Tolerations, v1.Toleration{Key: "mine"})
	b.Spec.Tolerations = append(b.Spec.Tolerations, v1.Toleration{Key: "yours"})
	if a.Spec.Tolerations[3].Key != "mine" {
		t.Error("one pod's toleration is another's")
	}
}

func TestNodesShareWhatTheyOffer(t *testing.T) {
	c := newCodec(t)
	made := 0
	node := func() *v1.Node {
		made++
		offer := v1.ResourceList{v1.ResourceCPU: resource.MustParse("4"), v1.ResourcePods: resource.MustParse("110")}
		name := fmt.Sprintf("n%d", made)
		return c.decode(&v1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1.LabelHostname: name}},
			Spec:       v1.NodeSpec{PodCIDR: fmt.Sprintf("10.0.%d.0/24", made), Taints: []v1.Taint{{Key: "a"}}},
			Status: v1.NodeStatus{
				Capacity: offer, Allocatable: offer, Images: []v1.ContainerImage{{Names: []string{"a", "b"}}},
				Conditions: []v1.NodeCondition{{Type: v1.NodeReady, LastHeartbeatTime: metav1.Unix(int64(made), 0)}},
			},
		}).(*v1.Node)
	}
	node()
	a, b := node(), node()
	if reflect.ValueOf(a.Status.Allocatable).Pointer() != reflect.ValueOf(b.Status.Allocatable).Pointer() {
		t.Error("what nodes offer is held twice")
	}
	if &a.Status.Images[0] != &b.Status.Images[0] || &a.Spec.Taints[0] != &b.Spec.Taints[0] {
		t.Error("images or taints are held twice")
	}
}

// TestOthersAreDecodedPlainly: kinds that are not shared, objects to decode into, and what is no object at all.
func TestOthersAreDecodedPlainly(t *testing.T) {
	c := newCodec(t)
	c.decode(&v1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}})
	into := &v1.Pod{}
	if got, _, err := c.sharing.Decode(c.encode(pod()), nil, into); err != nil || got != runtime.Object(into) {
		t.Errorf("decoded %v, %v", got, err)
	}
	data := c.encode(pod())
	for name, wrong := range map[string][]byte{"cut": data[:len(data)-3], "empty": nil, "JSON": []byte("{}")} {
		_, _, want := c.plain.Decode(wrong, nil, nil)
		if _, _, err := c.sharing.Decode(wrong, nil, nil); err == nil || err.Error() != want.Error() {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
	}
}

// TestWatchEvents reads events as client-go does.
func TestWatchEvents(t *testing.T) {
	c := newCodec(t)
	object := c.encode(pod())
	var written bytes.Buffer
	stream := c.info.StreamSerializer
	if err := stream.Encode(&metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: object}}, &written); err != nil {
		t.Fatal(err)
	}
	var event metav1.WatchEvent
	got, _, err := stream.Decode(written.Bytes(), nil, &event)
	if err != nil || got != runtime.Object(&event) {
		t.Fatalf("decoded %v, %v", got, err)
	}
	if event.Type != "ADDED" || !bytes.Equal(event.Object.Raw, object) {
		t.Errorf("decoded %q with %d bytes, want those of the object, %d", event.Type, len(event.Object.Raw), len(object))
	}
	if _, _, err := stream.Decode(written.Bytes()[:20], nil, &metav1.WatchEvent{}); err == nil {
		t.Error("half an event is one")
	}
}

// TestTheTableForgets: it holds on to so many messages, and not to those that do not come again.
func TestTheTableForgets(t *testing.T) {
	table := newTable[int]()
	keep := []byte("kept")
	value := 7
	table.add(keep, &value)
	for i := range 10 * generation {
		table.add(fmt.Append(nil, i), new(int))
		if i%100 == 0 && table.find(keep) != &value {
			t.Fatalf("what is used is forgotten after %d others", i)
		}
	}
	if table.find([]byte("0")) != nil {
		t.Error("what came once is remembered for ever")
	}
	if held := len(table.recent) + len(table.older); held > 2*generation {
		t.Errorf("%d messages are held", held)
	}
}

func BenchmarkPods(b *testing.B) {
	for name, edits := range map[string][]func(*v1.Pod){"plain": nil, "tokens": {token}} {
		c := newCodec(b)
		data := make([][]byte, 1000)
		for i := range data {
			data[i] = c.encode(pod(edits...))
		}
		for how, decoder := range map[string]runtime.Decoder{"plainly": c.plain, "sharing": c.sharing} {
			b.Run(name+"/"+how, func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, _, err := decoder.Decode(data[i%len(data)], nil, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
