package eviction

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
)

const mebibyte = 1 << 20

// fakeNode has 1 GiB; what pods use is missing from it.
type fakeNode struct {
	used    map[string]uint64 // bytes of memory by pod
	volumes map[string]map[string]uint64
}

func (f *fakeNode) Node(context.Context) (statsapi.NodeStats, error) {
	var working uint64
	for _, bytes := range f.used {
		working += bytes
	}
	available := 1024*mebibyte - working
	return statsapi.NodeStats{Memory: &statsapi.MemoryStats{AvailableBytes: &available, WorkingSetBytes: &working}}, nil
}

func (f *fakeNode) PodStats(context.Context) ([]statsapi.PodStats, error) {
	var all []statsapi.PodStats
	for name, bytes := range f.used {
		stats := statsapi.PodStats{
			PodRef:     statsapi.PodReference{Name: name, UID: name},
			Memory:     &statsapi.MemoryStats{WorkingSetBytes: &bytes},
			Containers: []statsapi.ContainerStats{{Name: "c", Memory: &statsapi.MemoryStats{WorkingSetBytes: &bytes}}},
		}
		for volume, size := range f.volumes[name] {
			stats.VolumeStats = append(stats.VolumeStats, statsapi.VolumeStats{Name: volume, FsStats: statsapi.FsStats{UsedBytes: &size}})
		}
		all = append(all, stats)
	}
	return all, nil
}

func pod(name, request string, priority int32) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Name: "c"}}},
		Status:     corev1.PodStatus{QOSClass: corev1.PodQOSBestEffort},
	}
	if request != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(request)}
		p.Status.QOSClass = corev1.PodQOSBurstable
	}
	return p
}

type rig struct {
	*Manager
	node    *fakeNode
	clock   *clocktesting.FakeClock
	evicted []Eviction
	pods    []*corev1.Pod
}

func newRig(t *testing.T, settings Settings, pods ...*corev1.Pod) *rig {
	t.Helper()
	thresholds, err := settings.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{node: &fakeNode{used: map[string]uint64{}}, clock: clocktesting.NewFakeClock(time.Unix(1000, 0)), pods: pods}
	r.Manager = New(Config{
		Thresholds: thresholds, TransitionPeriod: time.Minute, Interval: time.Second, Figures: r.node, Clock: r.clock,
		Pods: func() []*corev1.Pod { return r.pods },
		Evict: func(_ context.Context, e Eviction) error {
			r.evicted = append(r.evicted, e)
			delete(r.node.used, e.Pod.Name)
			return nil
		},
	})
	return r
}

func (r *rig) names() string {
	var names []string
	for _, e := range r.evicted {
		names = append(names, e.Pod.Name)
	}
	return strings.Join(names, " ")
}

func TestMemoryPressureEndsPodsInOrder(t *testing.T) {
	static := pod("static", "", 0)
	static.Annotations = map[string]string{"kubernetes.io/config.source": "file"}
	r := newRig(t, Settings{Hard: map[string]string{"memory.available": "900Mi"}},
		static,
		pod("critical", "", 2_000_001_000),
		pod("within", "200Mi", 0),
		pod("over", "50Mi", 0),
		pod("besteffort", "", 0),
		pod("important", "", 10),
	)
	r.node.used = map[string]uint64{
		"static": 150 * mebibyte, "critical": 150 * mebibyte, "within": 100 * mebibyte,
		"over": 120 * mebibyte, "besteffort": 80 * mebibyte, "important": 90 * mebibyte,
	}
	for range 10 {
		if !r.relieve(t.Context()) {
			break
		}
		r.pods = append([]*corev1.Pod(nil), r.pods...)
		for i, p := range r.pods {
			if p.Name == r.evicted[len(r.evicted)-1].Pod.Name {
				r.pods = append(r.pods[:i], r.pods[i+1:]...)
				break
			}
		}
	}
	// besteffort is 80 over its request, over only 70; important has the higher priority;
	// within stays below its request, so it goes last.
	if got, want := r.names(), "besteffort over important within"; got != want {
		t.Errorf("evicted %q, want %q", got, want)
	}
	if !r.Pressure(corev1.NodeMemoryPressure) {
		t.Error("the node is not under memory pressure")
	}
	first := r.evicted[0]
	if want := "The node was low on resource: memory. Threshold quantity: 900Mi, available: 334Mi. Container c was using 80Mi, request is 0, has larger consumption of memory. "; first.Message != want {
		t.Errorf("message %q, want %q", first.Message, want)
	}
	if first.Condition.Reason != "TerminationByKubelet" || first.GracePeriod != 0 {
		t.Errorf("condition %v, grace %d", first.Condition, first.GracePeriod)
	}
}

func TestPressureEndsAfterTheTransitionPeriod(t *testing.T) {
	r := newRig(t, Settings{Hard: map[string]string{"memory.available": "100Mi"}}, pod("hog", "", 0))
	r.node.used["hog"] = 1000 * mebibyte
	r.relieve(t.Context())
	if r.names() != "hog" {
		t.Fatalf("evicted %q, want the hog", r.names())
	}
	besteffort := pod("new", "", 0)
	if ok, message := r.Admit(besteffort); ok || message != "The node had condition: [MemoryPressure]. " {
		t.Errorf("a BestEffort pod was admitted under pressure, or told %q", message)
	}
	if ok, _ := r.Admit(pod("burstable", "1Mi", 0)); !ok {
		t.Error("a Burstable pod was refused under memory pressure")
	}
	r.clock.Step(59 * time.Second)
	r.relieve(t.Context())
	if !r.Pressure(corev1.NodeMemoryPressure) {
		t.Error("the condition went before its period was over")
	}
	r.clock.Step(time.Second)
	r.relieve(t.Context())
	if r.Pressure(corev1.NodeMemoryPressure) {
		t.Error("the condition stays after its period")
	}
	if ok, _ := r.Admit(besteffort); !ok {
		t.Error("a BestEffort pod is still refused")
	}
}

func TestSoftThresholdWaitsAndGivesTime(t *testing.T) {
	r := newRig(t, Settings{Soft: map[string]string{"memory.available": "50%"}, SoftGrace: map[string]string{"memory.available": "30s"}}, pod("hog", "", 0))
	r.config.MaxPodGracePeriod = 7
	r.node.used["hog"] = 600 * mebibyte
	r.relieve(t.Context())
	r.clock.Step(29 * time.Second)
	r.relieve(t.Context())
	if len(r.evicted) != 0 {
		t.Fatal("evicted before the grace period was over")
	}
	r.clock.Step(time.Second)
	r.relieve(t.Context())
	if len(r.evicted) != 1 || r.evicted[0].GracePeriod != 7 {
		t.Fatalf("evicted %+v, want the hog with the bounded grace period", r.evicted)
	}
}

func TestEmptyDirLimitIsEnforcedWithoutPressure(t *testing.T) {
	p := pod("writer", "", 0)
	p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("10Mi"))},
	}}}
	r := newRig(t, Settings{}, p)
	r.node.used["writer"] = 1
	r.node.volumes = map[string]map[string]uint64{"writer": {"scratch": 10 * mebibyte}}
	if r.relieve(t.Context()) {
		t.Fatal("evicted at the limit, not beyond it")
	}
	r.node.volumes["writer"]["scratch"]++
	r.relieve(t.Context())
	if len(r.evicted) != 1 || r.evicted[0].Message != `Usage of EmptyDir volume "scratch" exceeds the limit "10Mi". ` {
		t.Fatalf("evicted %+v, want the writer", r.evicted)
	}
}

func TestSettingsNameTheField(t *testing.T) {
	for _, test := range []struct {
		settings Settings
		want     string
	}{
		{Settings{Hard: map[string]string{"memory.free": "1Mi"}}, "evictionHard[memory.free]: Unsupported value"},
		{Settings{Hard: map[string]string{"memory.available": "-1Mi"}}, "evictionHard[memory.available]: Invalid value"},
		{Settings{Hard: map[string]string{"nodefs.available": "101%"}}, "from 0% to 100%"},
		{Settings{Soft: map[string]string{"memory.available": "1Mi"}}, "evictionSoftGracePeriod[memory.available]: Required value"},
		{Settings{SoftGrace: map[string]string{"memory.available": "1m"}}, "no such soft threshold"},
		{Settings{MinimumReclaim: map[string]string{"pid.available": "many"}}, "evictionMinimumReclaim[pid.available]: Invalid value"},
	} {
		if _, err := test.settings.Thresholds(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.settings, err, test.want)
		}
	}
}
