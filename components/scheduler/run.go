// Package scheduler is kube-scheduler: it chooses nodes for pods. Its rooms: configuration (KubeSchedulerConfiguration),
// queue (what waits), cache (the cluster, with incremental snapshots), runtime (profiles and running plugins), plugins
// (one package each), cycle (scheduling and binding), preemption, extender, sharing (how pods and nodes are read), recorder
// (events).
// https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	clientset "k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	clientcache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/cache"
	"github.com/plumbline/plumbline/components/scheduler/configuration"
	"github.com/plumbline/plumbline/components/scheduler/cycle"
	"github.com/plumbline/plumbline/components/scheduler/extender"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/plugins/gangscheduling"
	"github.com/plumbline/plumbline/components/scheduler/podgroup"
	"github.com/plumbline/plumbline/components/scheduler/queue"
	"github.com/plumbline/plumbline/components/scheduler/recorder"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
)

// Run schedules until ctx is done.
func Run(ctx context.Context, config *Config) error {
	kubeconfig := config.Component.ClientConnection.Kubeconfig
	if kubeconfig == "" {
		kubeconfig = config.Kubeconfig
	}
	rest, err := connect(kubeconfig, config.Component)
	if err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	connection, err := restclient.HTTPClientFor(rest)
	if err != nil {
		return err
	}
	client, err := clientset.NewForConfigAndClient(rest, connection)
	if err != nil {
		return err
	}
	reader, err := newReader(client, rest, connection)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	written := recorder.New(recorder.API{Client: client.EventsV1().RESTClient()})
	var writing sync.WaitGroup
	writing.Go(func() { written.Run(ctx) })
	defer writing.Wait()
	defer stop(nil)

	m := metrics.New()
	shared := &runtime.Shared{
		Client:      client,
		KubeConfig:  rest,
		Informers:   newInformers(reader),
		Parallelism: int(*config.Component.Parallelism),
		Metrics:     m,
		Recorder:    written.For,
	}
	sched, registered, err := assemble(ctx, config, shared)
	if err != nil {
		return err
	}
	var ready atomic.Bool
	if config.Serving.Port != 0 {
		server, err := listen(ctx, config, m.Handler(sched.sizes), &ready)
		if err != nil {
			return err
		}
		var serving sync.WaitGroup
		serving.Go(func() {
			if err := server.Run(ctx); err != nil {
				klog.FromContext(ctx).Error(err, "Health and metrics are not served any more")
			}
		})
		defer serving.Wait()
		defer stop(nil)
	}
	if err := await(ctx, client); err != nil {
		return nil
	}
	synced, err := sched.Watch(shared.Informers, registered)
	if err != nil {
		return err
	}
	shared.Informers.StartWithContext(ctx)
	if !clientcache.WaitFor(ctx, "", synced...) || shared.Informers.WaitForCacheSyncWithContext(ctx).Err != nil {
		return nil
	}
	ready.Store(true)
	klog.FromContext(ctx).Info("Ready to schedule", "profiles", len(config.Component.Profiles))
	return lead(ctx, config, client, sched.run)
}

// scheduler is the assembled parts.
type scheduler struct {
	*cycle.Scheduler
}

// assemble makes cache, queue, profiles and cycle, and returns them with the events that plugins registered for.
func assemble(ctx context.Context, config *Config, shared *runtime.Shared) (*scheduler, []fwk.ClusterEvent, error) {
	component := config.Component
	extenders, err := extender.NewAll(component.Extenders)
	if err != nil {
		return nil, nil, err
	}
	pods := shared.Informers.Core().V1().Pods().Lister()
	snapshot := cache.NewSnapshot()
	q := queue.New(queue.Config{
		InitialBackoff: time.Duration(*component.PodInitialBackoffSeconds) * time.Second,
		MaxBackoff:     time.Duration(*component.PodMaxBackoffSeconds) * time.Second,
		Nominator:      queue.NewNominator(pods),
		Metrics:        shared.Metrics,
	})
	known := cache.New()
	if config.enabled(GenericWorkload) {
		configuration.Enable(component, gangscheduling.Name)
		if shared.PodGroups, err = podgroup.NewManager(shared.Informers, known); err != nil {
			return nil, nil, err
		}
	}
	shared.Snapshot, shared.Nominator, shared.Activator, shared.Extenders = snapshot, q.Nominator, q, extenders

	registry := Plugins(shared.Metrics)
	for name, factory := range config.Plugins {
		if _, taken := registry[name]; taken {
			return nil, nil, fmt.Errorf("a plugin named %v already exists", name)
		}
		registry[name] = factory
	}
	profiles := map[string]*runtime.Profile{}
	waiting := map[string]queue.Profile{}
	var registered []fwk.ClusterEvent
	for i := range component.Profiles {
		profile, err := runtime.NewProfile(ctx, &component.Profiles[i], registry, shared)
		if err != nil {
			return nil, nil, err
		}
		extensions, err := profile.EnqueueExtensions(ctx)
		if err != nil {
			return nil, nil, err
		}
		profiles[profile.ProfileName()] = profile
		waiting[profile.ProfileName()] = queue.Profile{PreEnqueue: profile.PreEnqueuePlugins(), Events: extensions}
		for _, list := range extensions {
			for _, hint := range list {
				registered = append(registered, hint.Event)
			}
		}
	}
	q.SetProfiles(profiles[*component.Profiles[0].SchedulerName].Less, waiting)
	return &scheduler{cycle.New(cycle.Config{
		Client:     shared.Client,
		Pods:       pods,
		Cache:      known,
		DRA:        shared.DRA,
		Snapshot:   snapshot,
		Queue:      q,
		Profiles:   profiles,
		Extenders:  extenders,
		Metrics:    shared.Metrics,
		Percentage: *component.PercentageOfNodesToScore,
	})}, registered, nil
}

func (s *scheduler) run(ctx context.Context) {
	go s.Queue.Run(ctx)
	s.Run(ctx)
}

func (s *scheduler) sizes() (sizes metrics.Sizes) {
	sizes.Active, sizes.Backoff, sizes.Unschedulable, sizes.Gated = s.Queue.Sizes()
	sizes.Nodes, sizes.Pods, sizes.Assumed = s.Cache.Size()
	return sizes
}

var errLostLease = errors.New("leaderelection lost")

// lead runs work once this is the leader, if there is to be one.
func lead(ctx context.Context, config *Config, client clientset.Interface, work func(context.Context)) error {
	election := config.Component.LeaderElection
	if election.LeaderElect == nil || !*election.LeaderElect {
		work(ctx)
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	lock, err := resourcelock.New(election.ResourceLock, election.ResourceNamespace, election.ResourceName, client.CoreV1(), client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())})
	if err != nil {
		return err
	}
	var lost error
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            lock,
		Name:            "kube-scheduler",
		LeaseDuration:   election.LeaseDuration.Duration,
		RenewDeadline:   election.RenewDeadline.Duration,
		RetryPeriod:     election.RetryPeriod.Duration,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: work,
			OnStoppedLeading: func() {
				if ctx.Err() == nil {
					lost = errLostLease
				}
			},
		},
	})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	return lost
}
