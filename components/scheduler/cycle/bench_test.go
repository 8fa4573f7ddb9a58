package cycle_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/scheduler"
	"github.com/plumbline/plumbline/components/scheduler/cache"
	"github.com/plumbline/plumbline/components/scheduler/configuration"
	"github.com/plumbline/plumbline/components/scheduler/cycle"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/queue"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
	. "github.com/plumbline/plumbline/components/scheduler/schedulertest"
)

// instant is an API server that binds at once and keeps nothing.
type instant struct {
	clientset.Interface
	bound chan struct{}
}

type instantCore struct {
	typedcorev1.CoreV1Interface
	bound chan struct{}
}

type instantPods struct {
	typedcorev1.PodInterface
	bound chan struct{}
}

func (i instant) CoreV1() typedcorev1.CoreV1Interface {
	return instantCore{i.Interface.CoreV1(), i.bound}
}

func (i instantCore) Pods(namespace string) typedcorev1.PodInterface {
	return instantPods{i.CoreV1Interface.Pods(namespace), i.bound}
}

func (i instantPods) Bind(context.Context, *v1.Binding, metav1.CreateOptions) error {
	i.bound <- struct{}{}
	return nil
}

type silent struct{}

func (silent) Eventf(apiruntime.Object, apiruntime.Object, string, string, string, string, ...any) {}
func (s silent) WithLogger(klog.Logger) events.EventRecorderLogger                                 { return s }

// BenchmarkCycle measures scheduling and binding cycles without an API server, under the default profile. The kinds of
// pods are those of scheduler_perf's basic, affinity and spreading workloads.
func BenchmarkCycle(b *testing.B) {
	spread := Spread(v1.TopologySpreadConstraint{TopologyKey: v1.LabelTopologyZone, MaxSkew: 5, WhenUnsatisfiable: v1.DoNotSchedule, LabelSelector: Selects("app", "web")})
	far := Affinity(v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{{LabelSelector: Selects("app", "far"), TopologyKey: v1.LabelHostname}}}})
	for _, nodes := range []int{500, 5000} {
		for _, kind := range []struct {
			name string
			edit func(*v1.Pod)
		}{
			{"plain", Labels("app", "plain")},
			{"spread", func(p *v1.Pod) { Labels("app", "web")(p); spread(p) }},
			{"anti-affinity", func(p *v1.Pod) { Labels("app", "far")(p); far(p) }},
		} {
			b.Run(fmt.Sprintf("nodes=%d/%s", nodes, kind.name), func(b *testing.B) { run(b, nodes, kind.edit) })
		}
	}
}

func run(b *testing.B, nodes int, edit func(*v1.Pod)) {
	config, err := configuration.Default()
	if err != nil {
		b.Fatal(err)
	}
	bound := make(chan struct{}, 1024)
	m := metrics.New()
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	snapshot, state := cache.NewSnapshot(), cache.New()
	q := queue.New(queue.Config{InitialBackoff: time.Second, MaxBackoff: time.Minute, Nominator: queue.NewNominator(nil), Metrics: m})
	shared := &runtime.Shared{
		Client: instant{fake.NewClientset(), bound}, Informers: factory, Snapshot: snapshot, Nominator: q.Nominator, Activator: q,
		Parallelism: 16, Metrics: m, Recorder: func(string) events.EventRecorderLogger { return silent{} },
	}
	profile, err := runtime.NewProfile(context.Background(), &config.Profiles[0], scheduler.Plugins(m), shared)
	if err != nil {
		b.Fatal(err)
	}
	q.SetProfiles(profile.Less, map[string]queue.Profile{profile.ProfileName(): {}})
	for i := range nodes {
		state.AddNode(Node(fmt.Sprintf("node-%d", i), Labelled(v1.LabelTopologyZone, fmt.Sprintf("zone-%d", i%3)),
			Offers(map[v1.ResourceName]string{v1.ResourceCPU: "64", v1.ResourceMemory: "256Gi", v1.ResourcePods: "1000"})))
	}
	sched := cycle.New(cycle.Config{
		Client: shared.Client, Pods: factory.Core().V1().Pods().Lister(), Cache: state, Snapshot: snapshot, Queue: q,
		Profiles: map[string]*runtime.Profile{profile.ProfileName(): profile}, Metrics: m,
	})
	requests := Requests(map[v1.ResourceName]string{v1.ResourceCPU: "10m", v1.ResourceMemory: "50Mi"})
	ctx := context.Background()
	one := func(i int) {
		q.Add(Pod(fmt.Sprintf("pod-%d", i), requests, edit))
		sched.Schedule(ctx, q.Pop())
		<-bound
	}
	one(-1)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		one(i)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}
