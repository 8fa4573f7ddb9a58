// Package probe runs the startup, liveness and readiness probes of containers.
// See https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/.
package probe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/kubelet/handler"
)

// Kind is what a probe is for.
type Kind int

// The kinds of probes.
const (
	Startup Kind = iota
	Liveness
	Readiness
)

func (k Kind) String() string { return [...]string{"Startup", "Liveness", "Readiness"}[k] }

// Result is what a probe last settled on.
type Result int

// The results. A probe is Unknown until it settles.
const (
	Unknown Result = iota
	Success
	Failed
)

// Target is a container that is probed.
type Target struct {
	Pod         *v1.Pod
	Container   *v1.Container
	ContainerID string
	PodIP       string
	StartedAt   time.Time
}

// Config is what a Manager needs.
type Config struct {
	Exec handler.Exec
	// Changed is called, and must not block, when a result of a pod changes.
	Changed func(pod types.UID)
	// Unhealthy is told of each probe that failed, and Warned of those that succeeded with a warning.
	Unhealthy func(target Target, message string)
	Warned    func(target Target, message string)
}

// Manager runs probes for as long as their containers run.
type Manager struct {
	config Config

	mu      sync.Mutex
	workers map[string]map[Kind]*worker
}

// New returns a manager that probes nothing yet.
func New(c Config) *Manager {
	return &Manager{config: c, workers: map[string]map[Kind]*worker{}}
}

// worker runs one probe of one container.
type worker struct {
	manager *Manager
	kind    Kind
	target  Target
	spec    *v1.Probe
	cancel  context.CancelFunc
	// begin is closed when a liveness or readiness probe may start: once the
	// container has started up.
	begin chan struct{}

	result     Result
	last       Result
	inARow     int32
	lastOutput string
	// succeeded, once it ever did, is for the probing goroutine alone.
	succeeded bool
}

// Start begins to probe a container that runs. It does nothing for a container
// that is probed already.
func (m *Manager) Start(ctx context.Context, target Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.workers[target.ContainerID] != nil {
		return
	}
	set := map[Kind]*worker{}
	m.workers[target.ContainerID] = set
	for kind, spec := range map[Kind]*v1.Probe{
		Startup: target.Container.StartupProbe, Liveness: target.Container.LivenessProbe, Readiness: target.Container.ReadinessProbe,
	} {
		if spec == nil {
			continue
		}
		workerCtx, cancel := context.WithCancel(ctx)
		w := &worker{manager: m, kind: kind, target: target, spec: spec, cancel: cancel, begin: make(chan struct{})}
		switch kind {
		case Liveness:
			w.result = Success
		case Readiness:
			w.result = Failed
		}
		if kind == Startup || target.Container.StartupProbe == nil {
			close(w.begin)
		}
		set[kind] = w
		go w.run(workerCtx)
	}
}

// Stop ends the probes of a container and forgets their results.
func (m *Manager) Stop(containerID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers[containerID] {
		w.cancel()
	}
	delete(m.workers, containerID)
}

// StopLiveness ends the probes that could kill a container which is being
// stopped; whether it is ready stays of interest until it has ended.
func (m *Manager) StopLiveness(containerID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, kind := range []Kind{Startup, Liveness} {
		if w := m.workers[containerID][kind]; w != nil {
			w.cancel()
		}
	}
}

// Result is what a probe of a container last settled on: Unknown if there is no such probe.
func (m *Manager) Result(containerID string, kind Kind) Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[containerID][kind]; w != nil {
		return w.result
	}
	return Unknown
}

// Output is what the last run of a probe said.
func (m *Manager) Output(containerID string, kind Kind) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[containerID][kind]; w != nil {
		return w.lastOutput
	}
	return ""
}

func (w *worker) run(ctx context.Context) {
	select {
	case <-w.begin:
	case <-ctx.Done():
		return
	}
	// The delay counts from the container's start, also for a kubelet that came later.
	if !sleep(ctx, time.Until(w.target.StartedAt.Add(time.Duration(w.spec.InitialDelaySeconds)*time.Second))) {
		return
	}
	period := time.Duration(max(w.spec.PeriodSeconds, 1)) * time.Second
	turns := time.NewTicker(period)
	defer turns.Stop()
	inTurn := true
	for pause := firstPause; w.once(ctx, inTurn); pause = min(2*pause, period) {
		var early <-chan time.Time
		if w.hurries() && pause < period {
			early = time.After(pause)
		}
		select {
		case <-turns.C:
			inTurn = true
		case <-early:
			inTurn = false
		case <-ctx.Done():
			return
		}
	}
}

// firstPause is what passes between a container's first readiness probe and the next, if
// the first failed. Each pause is twice as long as the one before it.
const firstPause = 100 * time.Millisecond

// hurries says whether the probe also runs out of turn. A readiness probe may, as
// Kubernetes documents of periodSeconds, to have a pod ready sooner. It does until its
// first success: few servers listen at once, and few need a whole period.
func (w *worker) hurries() bool { return w.kind == Readiness && !w.succeeded }

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// once runs the probe once and says whether to go on. Nobody is told of a failure out of
// turn: it is no more than early.
func (w *worker) once(ctx context.Context, inTurn bool) bool {
	output, err := w.attempt(ctx)
	if ctx.Err() != nil {
		return false
	}
	var failure *handler.Failure
	result := Success
	switch {
	case errors.As(err, &failure):
		result = Failed
		if output = failure.Output; output == "" {
			output = err.Error()
		}
	case err != nil:
		// The probe could not be carried out: that says nothing about the container.
		klog.FromContext(ctx).V(2).Info("Probe errored", "kind", w.kind, "container", w.target.Container.Name, "err", err)
		if inTurn {
			w.manager.config.Unhealthy(w.target, fmt.Sprintf("%s probe errored and resulted in unknown state: %v", w.kind, err))
		}
		return true
	}
	w.succeeded = w.succeeded || result == Success
	if result == Failed && inTurn {
		w.manager.config.Unhealthy(w.target, fmt.Sprintf("%s probe failed: %s", w.kind, output))
	}
	return w.settle(result, output)
}

// settle counts the result, and changes what the probe stands for once the
// threshold is reached.
func (w *worker) settle(result Result, output string) bool {
	m := w.manager
	m.mu.Lock()
	w.lastOutput = output
	if result == w.last {
		w.inARow++
	} else {
		w.last, w.inARow = result, 1
	}
	threshold := w.spec.FailureThreshold
	if result == Success {
		threshold = w.spec.SuccessThreshold
	}
	if w.inARow < max(threshold, 1) {
		m.mu.Unlock()
		return true
	}
	changed := w.result != result
	w.result = result
	goOn := true
	if w.kind == Startup && result == Success {
		// Started once and for all: now the other probes take over.
		for kind, other := range m.workers[w.target.ContainerID] {
			if kind != Startup {
				close(other.begin)
			}
		}
		goOn = false
	}
	if result == Failed && w.kind != Readiness {
		// The container will be killed; its successor is probed anew.
		goOn = false
	}
	m.mu.Unlock()
	if changed {
		m.config.Changed(w.target.Pod.UID)
	}
	return goOn
}

// attempt carries the probe out.
func (w *worker) attempt(ctx context.Context) (string, error) {
	timeout := time.Duration(max(w.spec.TimeoutSeconds, 1)) * time.Second
	t := w.target
	if w.spec.Exec != nil {
		return handler.Command(ctx, w.manager.config.Exec, t.ContainerID, w.spec.Exec.Command, timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case w.spec.HTTPGet != nil:
		output, warning, err := handler.HTTP(ctx, handler.HTTPTarget{
			Action: w.spec.HTTPGet, Container: t.Container, PodIP: t.PodIP, UserAgent: "kube-probe/1.37",
		})
		if warning {
			w.manager.config.Warned(t, fmt.Sprintf("%s probe warning: %s", w.kind, output))
		}
		return output, err
	case w.spec.TCPSocket != nil:
		return "", handler.TCP(ctx, w.spec.TCPSocket, t.Container, t.PodIP)
	case w.spec.GRPC != nil:
		return "", handler.GRPC(ctx, w.spec.GRPC, t.PodIP)
	}
	return "", fmt.Errorf("missing probe handler for container %s", t.Container.Name)
}
