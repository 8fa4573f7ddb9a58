package probe_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	utilexec "k8s.io/utils/exec"

	"github.com/plumbline/plumbline/components/kubelet/probe"
)

const container = "containerd://probed"

// service is a container whose command succeeds from some time on.
type service struct {
	begun   time.Time
	healthy time.Duration
	asked   []time.Duration
}

func (s *service) ExecSync(context.Context, string, []string, time.Duration) (stdout, stderr []byte, err error) {
	now := time.Since(s.begun)
	s.asked = append(s.asked, now)
	if now < s.healthy {
		return nil, nil, utilexec.CodeExitError{Code: 1}
	}
	return nil, nil, nil
}

// run probes a service for a while and returns what became of it.
func run(t *testing.T, s *service, spec v1.Container, length time.Duration) (m *probe.Manager, complaints int) {
	t.Helper()
	s.begun = time.Now()
	m = probe.New(probe.Config{
		Exec: s, Changed: func(types.UID) {},
		Unhealthy: func(probe.Target, string) { complaints++ },
	})
	m.Start(t.Context(), probe.Target{Pod: &v1.Pod{}, Container: &spec, ContainerID: container, StartedAt: s.begun})
	time.Sleep(length)
	synctest.Wait()
	return m, complaints
}

func command(period int32) *v1.Probe {
	return &v1.Probe{
		ProbeHandler:  v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"healthy"}}},
		PeriodSeconds: period, FailureThreshold: 3, SuccessThreshold: 1,
	}
}

func expectAsked(t *testing.T, s *service, want ...time.Duration) {
	t.Helper()
	if !slices.Equal(s.asked, want) {
		t.Errorf("probed at %v, not at %v", s.asked, want)
	}
}

const ms = time.Millisecond

func TestReadinessProbeRunsOutOfTurnUntilItFirstSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{healthy: 650 * ms}
		m, complaints := run(t, s, v1.Container{ReadinessProbe: command(10)}, 21*time.Second)
		expectAsked(t, s, 0, 100*ms, 300*ms, 700*ms, 10*time.Second, 20*time.Second)
		if got := m.Result(container, probe.Readiness); got != probe.Success {
			t.Errorf("the result is %v, not success", got)
		}
		if complaints != 1 {
			t.Errorf("told of %d failures, not of the first alone, which was in turn", complaints)
		}
		m.Stop(container)
	})
}

func TestReadinessProbeKeepsItsTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{healthy: time.Hour}
		m, complaints := run(t, s, v1.Container{ReadinessProbe: command(1)}, 3500*ms)
		expectAsked(t, s, 0, 100*ms, 300*ms, 700*ms, time.Second, 2*time.Second, 3*time.Second)
		if complaints != 4 {
			t.Errorf("told of %d failures, not of the four in turn", complaints)
		}
		m.Stop(container)
	})
}

func TestReadinessProbeBeginsAfterItsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		spec := command(10)
		spec.InitialDelaySeconds = 5
		m, _ := run(t, s, v1.Container{ReadinessProbe: spec}, 14*time.Second)
		expectAsked(t, s, 5*time.Second)
		m.Stop(container)
	})
}

func TestLivenessProbeNeverRunsOutOfTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{healthy: time.Hour}
		m, complaints := run(t, s, v1.Container{LivenessProbe: command(10)}, time.Minute)
		expectAsked(t, s, 0, 10*time.Second, 20*time.Second)
		if got := m.Result(container, probe.Liveness); got != probe.Failed || complaints != 3 {
			t.Errorf("the result is %v after %d failures, not failed after three", got, complaints)
		}
		m.Stop(container)
	})
}
