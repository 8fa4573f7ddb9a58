package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// Manager runs the selected controllers.
type Manager struct {
	config     *Config
	identities *identities
	client     kubernetes.Interface
	informers  informers.SharedInformerFactory
	mapper     *restmapper.DeferredDiscoveryRESTMapper
	events     record.EventBroadcaster
	clock      clock.WithTickerAndDelayedExecution
}

// New prepares a manager; nothing is sent before Run.
func New(config *Config) (*Manager, error) {
	base, err := clientcmd.BuildConfigFromFlags(config.Master, config.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	// The API server's priority and fairness is the limit; a second one here would only add delay.
	base.QPS = -1
	// Controllers work on deprecated resources too, by design; saying so at each request helps nobody.
	base.WarningHandlerWithContext = rest.NoWarnings{}
	base.UserAgent = rest.DefaultKubernetesUserAgent()
	base.ContentType = "application/vnd.kubernetes.protobuf"
	base.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(base)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	return &Manager{
		config:     config,
		identities: &identities{base: base, own: client, perTokens: config.UseServiceAccountCredentials, clock: clock.RealClock{}},
		client:     client,
		informers:  informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(dropManagedFields)),
		mapper:     restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery())),
		events:     record.NewBroadcaster(),
		clock:      clock.RealClock{},
	}, nil
}

// dropManagedFields frees what no controller reads. An update without them leaves them as they are in the store.
func dropManagedFields(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}

// Run works until ctx is cancelled; it returns an error if it cannot serve, cannot build a controller or loses its lease.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var background sync.WaitGroup
	defer background.Wait()
	defer cancel(nil)
	if m.config.Serving.Port != 0 {
		server, err := m.listen(ctx)
		if err != nil {
			return err
		}
		background.Go(func() {
			if err := server.Run(ctx); err != nil {
				cancel(err)
			}
		})
	}

	controllers, err := m.build()
	if err != nil {
		return err
	}
	if err := m.awaitAPI(ctx); err != nil {
		return ended(ctx)
	}
	m.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: m.client.CoreV1().Events("")})
	defer m.events.Shutdown()
	work := func(ctx context.Context) { m.work(ctx, controllers) }
	if m.config.Election.Enabled {
		err = m.lead(ctx, work)
	} else {
		work(ctx)
	}
	return errors.Join(err, ended(ctx))
}

// ended is nil if ctx was cancelled from outside, else why it was cancelled.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// build constructs the selected controllers, and by that chooses the informers.
func (m *Manager) build() ([]controller.Controller, error) {
	var built []controller.Controller
	for _, entry := range selected(m.config) {
		env, err := m.environment(entry)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", entry.name, err)
		}
		instance, err := entry.build(env, m.config)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", entry.name, err)
		}
		if instance != nil {
			built = append(built, instance)
		}
	}
	return built, nil
}

func (m *Manager) environment(entry entry) (*controller.Env, error) {
	config := m.identities.config(entry.account)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	scales, err := scale.NewForConfig(config, m.mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(client.Discovery()))
	if err != nil {
		return nil, err
	}
	return &controller.Env{
		Client:    client,
		Reader:    m.client,
		Metadata:  metadataClient,
		Discovery: client.Discovery(),
		Mapper:    m.mapper,
		Scales:    scales,
		Informers: m.informers,
		Recorder:  m.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: entry.source}),
		Clock:     m.clock,
	}, nil
}

// awaitAPI returns once the API server answers this user. The first request after that should find everything in
// place, because an informer that is refused once sleeps for most of a second.
func (m *Manager) awaitAPI(ctx context.Context) error {
	const interval = 20 * time.Millisecond
	retry := m.clock.NewTimer(0)
	defer retry.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-retry.C():
		}
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := m.client.CoreV1().Namespaces().Get(attempt, metav1.NamespaceSystem, metav1.GetOptions{})
		cancel()
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		if said != err.Error() {
			said = err.Error()
			klog.FromContext(ctx).Info("Waiting for the API server", "err", err)
		}
		retry.Reset(interval)
	}
}

// lead works while it holds the lease and returns an error if it loses it.
func (m *Manager) lead(ctx context.Context, work func(context.Context)) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("--leader-elect: %w", err)
	}
	identity := fmt.Sprintf("%s_%d_%d", host, os.Getpid(), m.clock.Now().UnixNano())
	e := m.config.Election
	recorder := m.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kube-controller-manager"})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name},
			Client:     m.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity, EventRecorder: recorder},
		},
		LeaseDuration:   e.LeaseDuration,
		RenewDeadline:   e.RenewDeadline,
		RetryPeriod:     e.RetryPeriod,
		ReleaseOnCancel: true,
		Name:            e.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: work,
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("--leader-elect: %w", err)
	}
	elector.Run(ctx)
	if ctx.Err() == nil {
		return fmt.Errorf("leader election: lost the lease %s/%s", e.Namespace, e.Name)
	}
	return nil
}

// work runs all controllers and returns once the last of them has ended.
func (m *Manager) work(ctx context.Context, controllers []controller.Controller) {
	m.informers.StartWithContext(ctx)
	defer m.informers.Shutdown()

	var running sync.WaitGroup
	defer running.Wait()
	for _, instance := range controllers {
		running.Go(func() {
			logger := klog.FromContext(ctx).WithName(instance.Name())
			logger.V(1).Info("Starting")
			if err := instance.Run(klog.NewContext(ctx, logger)); err != nil {
				logger.Error(err, "Controller ended")
			}
		})
	}
}
