package verdict

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler"
	"github.com/plumbline/plumbline/components/scheduler/cache"
	"github.com/plumbline/plumbline/components/scheduler/configuration"
	"github.com/plumbline/plumbline/components/scheduler/cycle"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	"github.com/plumbline/plumbline/components/scheduler/queue"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
)

// cluster is a scheduler that is told everything by hand: its informers are never started.
type cluster struct {
	close     context.CancelFunc
	informers informers.SharedInformerFactory
	nominator *queue.Nominator
	scheduler *cycle.Scheduler
	done      done
	made      int
}

func newCluster(ctx context.Context) (*cluster, error) {
	config, err := configuration.Default()
	if err != nil {
		return nil, err
	}
	// Nothing is ever sent: informers are not started, and bindings are taken here.
	offline, err := kubernetes.NewForConfig(&rest.Config{Host: "127.0.0.1:0"})
	if err != nil {
		return nil, err
	}
	happened := done{bound: make(chan struct{}, 1024), deleted: make(chan string, 1024)}
	client := instant{offline, happened}
	m := metrics.New()
	factory := informers.NewSharedInformerFactory(client, 0)
	snapshot, nominator := cache.NewSnapshot(), queue.NewNominator(nil)
	q := queue.New(queue.Config{InitialBackoff: time.Second, MaxBackoff: time.Minute, Nominator: nominator, Metrics: m})
	shared := &runtime.Shared{
		Client: client, Informers: factory, Snapshot: snapshot, Nominator: nominator, Activator: q, Metrics: m,
		Parallelism: int(*config.Parallelism), Recorder: func(string) events.EventRecorderLogger { return silent{} },
	}
	ctx, stop := context.WithCancel(ctx)
	profile, err := runtime.NewProfile(ctx, &config.Profiles[0], scheduler.Plugins(m), shared)
	if err != nil {
		stop()
		return nil, err
	}
	q.SetProfiles(profile.Less, map[string]queue.Profile{profile.ProfileName(): {}})
	return &cluster{
		close:     stop,
		done:      happened,
		informers: factory,
		nominator: nominator,
		scheduler: cycle.New(cycle.Config{
			Client: client, Pods: factory.Core().V1().Pods().Lister(), Cache: cache.New(), Snapshot: snapshot, Queue: q,
			Profiles: map[string]*runtime.Profile{profile.ProfileName(): profile}, Metrics: m,
		}),
	}, nil
}

func decode[T apiruntime.Object](raw json.RawMessage) (T, error) {
	var none T
	object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
	if err != nil {
		return none, err
	}
	typed, ok := object.(T)
	if !ok {
		return none, fmt.Errorf("a %s is no %T", kind.Kind, none)
	}
	return typed, nil
}

// store is the informer's store for objects of the kind.
func (c *cluster) store(object apiruntime.Object) (clientcache.Store, error) {
	resource, _ := meta.UnsafeGuessKindToResource(object.GetObjectKind().GroupVersionKind())
	informer, err := c.informers.ForResource(resource)
	if err != nil {
		return nil, err
	}
	return informer.Informer().GetStore(), nil
}

func (c *cluster) change(r *Request) error {
	for _, step := range []struct {
		name    string
		objects []json.RawMessage
		take    func(apiruntime.Object) error
	}{{"set", r.Set, c.set}, {"delete", r.Delete, c.delete}} {
		for i, raw := range step.objects {
			object, err := decode[apiruntime.Object](raw)
			if err == nil {
				err = step.take(object)
			}
			if err != nil {
				return fmt.Errorf("%s[%d]: %w", step.name, i, err)
			}
		}
	}
	for i, n := range r.Nominate {
		pod, err := decode[*v1.Pod](n.Pod)
		if err != nil {
			return fmt.Errorf("nominate[%d]: %w", i, err)
		}
		info, err := nodeinfo.NewPodInfo(pod)
		if err != nil {
			return fmt.Errorf("nominate[%d]: %w", i, err)
		}
		c.nominator.AddNominatedPod(klog.Background(), info, &fwk.NominatingInfo{NominatingMode: fwk.ModeOverride, NominatedNodeName: n.Node})
	}
	return nil
}

func (c *cluster) set(object apiruntime.Object) error {
	store, err := c.store(object)
	if err != nil {
		return err
	}
	switch o := object.(type) {
	case *v1.Node:
		c.scheduler.Cache.AddNode(o)
	case *v1.Pod:
		if o.Spec.NodeName == "" {
			break
		}
		c.nominator.DeleteNominatedPodIfExists(o)
		if err := c.scheduler.Cache.AddPod(o); err != nil {
			return err
		}
	}
	return store.Add(object)
}

func (c *cluster) delete(object apiruntime.Object) error {
	store, err := c.store(object)
	if err != nil {
		return err
	}
	switch o := object.(type) {
	case *v1.Node:
		err = c.scheduler.Cache.RemoveNode(o.Name)
	case *v1.Pod:
		c.nominator.DeleteNominatedPodIfExists(o)
		if o.Spec.NodeName != "" {
			err = c.scheduler.Cache.RemovePod(o)
		}
	}
	if err != nil {
		return err
	}
	return store.Delete(object)
}
