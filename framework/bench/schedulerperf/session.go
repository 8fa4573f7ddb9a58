package schedulerperf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/plumbline/plumbline/framework/bench/measure"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/launch"
)

// session is one run: a cluster, and what happens in it.
type session struct {
	Config
	// ctx ends, with the outcome as its cause, when the contender has failed.
	ctx    context.Context
	failed context.CancelCauseFunc

	cluster   *cluster.Cluster
	scheduler *launch.Running
	// booted is true once the above are known, and early is how often the scheduler ended
	// before that.
	booted atomic.Bool
	early  atomic.Int32
	// expected is true while the scheduler is being stopped on purpose, or has not served yet.
	expected atomic.Bool

	client  kubernetes.Interface
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	close   func()

	pods     *pods
	capacity *capacity
	// batches are the pods that were created and not waited for, by namespace.
	batches map[string][]*batch
	nodes   int
	// classes are the names of the priority classes that were made.
	classes sync.Map
	// background is what goes on beside the operations, until they are done.
	background errgroup.Group
	collection *collection

	mu      sync.Mutex
	metrics []measure.Metric
	bound   []measure.Point
}

// again is how often a scheduler must have ended for a boot that fails to be its doing.
const again = 3

// begin boots the cluster and waits until the scheduler serves.
func (c Config) begin(ctx context.Context, contender Contender) (s *session, err error) {
	name := c.Cluster
	if name == "" {
		name = "bench"
	}
	description, err := c.Profile.describe(name, c.Workload, contender)
	if err != nil {
		return nil, err
	}
	s = &session{Config: c, batches: map[string][]*batch{}}
	s.ctx, s.failed = context.WithCancelCause(ctx)
	s.expected.Store(true)
	options := append([]cluster.Option{cluster.WithEvents(s.observe)}, c.Options...)
	c.say("boot a control plane")
	if s.cluster, err = cluster.New(ctx, description, options...); err != nil {
		s.failed(nil)
		if s.early.Load() >= again {
			return nil, outcomef("the scheduler did not come up: %s", strings.Join(strings.Fields(err.Error()), " "))
		}
		return nil, err
	}
	s.scheduler = s.component(cluster.Scheduler)
	s.booted.Store(true)
	if err := s.connect(); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// connect makes clients that reach the API without a detour through this process.
func (s *session) connect() error {
	server, err := url.Parse(s.component(cluster.APIServer).Component().Ready.URL)
	if err != nil {
		return err
	}
	config := s.cluster.RestConfig()
	machine := s.cluster.Machine(v1alpha1.ControlPlaneName)
	config.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return machine.DialContext(ctx, network, server.Host)
	}
	config.QPS, config.Burst = -1, 0
	if s.Profile.rate > 0 {
		config.QPS, config.Burst = float32(s.Profile.rate), s.Profile.rate
	}
	binary := rest.CopyConfig(config)
	binary.ContentType = "application/vnd.kubernetes.protobuf"
	http, err := rest.HTTPClientFor(binary)
	if err != nil {
		return err
	}
	s.close = http.CloseIdleConnections
	clients, err := kubernetes.NewForConfigAndClient(binary, http)
	if err != nil {
		return err
	}
	s.client = clients
	if s.dynamic, err = dynamic.NewForConfigAndClient(config, http); err != nil {
		return err
	}
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(clients.Discovery()))
	s.capacity = newCapacity(s.ctx, s.client, s.failed)
	s.pods, err = watchPods(s.ctx, s.client, s.failed, s.capacity.changed)
	return err
}

func (s *session) component(name string) *launch.Running {
	return s.cluster.Component(v1alpha1.ControlPlaneName, name)
}

// observe ends the run when a component that it needs has ended.
func (s *session) observe(event launch.Event) {
	if event.Change != launch.Ended {
		return
	}
	// While it boots, components wait for each other, and may end.
	if !s.booted.Load() {
		if event.Component == cluster.Scheduler {
			s.early.Add(1)
		}
		return
	}
	switch event.Component {
	case cluster.Scheduler:
		if !s.expected.Load() {
			s.failed(outcomef("the scheduler ended in mid-run: %s%s", event.Detail, s.lastWords()))
		}
	case cluster.APIServer, cluster.Etcd:
		s.failed(outcomef("%s ended in mid-run: %s", event.Component, event.Detail))
	}
}

// lastWords are the last line of the scheduler's log.
func (s *session) lastWords() string {
	file, err := os.Open(s.scheduler.LogPath())
	if err != nil {
		return ""
	}
	defer file.Close()
	var last string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if text := strings.TrimSpace(lines.Text()); text != "" {
			last = text
		}
	}
	if last == "" {
		return ""
	}
	return "; the last line of its log: " + last
}

// serve waits until the scheduler serves; from then on it may not end.
func (s *session) serve() error {
	limit := s.Start
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	err := s.scheduler.WaitReady(ctx)
	switch {
	case err == nil:
		s.expected.Store(false)
		return nil
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	}
	return outcomef("the scheduler did not serve within %s (it was started %d times): %v%s", limit, 1+s.scheduler.Restarts(), err, s.lastWords())
}

// perform does all operations, one after the other.
func (s *session) perform() error {
	err := s.serve()
	for _, o := range s.Workload.Operations {
		if err != nil {
			break
		}
		s.say("operation %d of %d, %s", o.Index+1, len(s.Workload.Operations), o.Opcode)
		if err = s.do(o); err != nil {
			err = s.because(o, err)
		}
	}
	if s.collection != nil {
		_ = s.finish() // as much as is known of what was not completed
	}
	ended := context.Cause(s.ctx)
	s.failed(context.Canceled) // ends what goes on in the background
	if wrong := s.background.Wait(); err == nil && ended == nil {
		err = wrong
	}
	s.pods.wait()
	s.capacity.wait()
	if err == nil {
		err = ended
	}
	return err
}

// because prefers the reason why a run ended to what that did to an operation.
func (s *session) because(o interface{ String() string }, err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		err = cause
	}
	var end *outcome
	if errors.As(err, &end) {
		return end
	}
	return fmt.Errorf("%s: %w", o, err)
}

// stopScheduler and startScheduler have pods wait for the scheduler.
func (s *session) stopScheduler() error {
	s.expected.Store(true)
	return s.scheduler.Stop(s.ctx)
}

func (s *session) startScheduler() error { return s.scheduler.Start() }

// end takes everything down.
func (s *session) end() error {
	s.expected.Store(true)
	s.failed(context.Canceled)
	if s.close != nil {
		s.close()
	}
	return s.cluster.Down()
}

// sleep waits, or returns why not.
func (s *session) sleep(duration time.Duration) error {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}
