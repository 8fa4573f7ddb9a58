package launch

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/framework/machine"
	"github.com/plumbline/plumbline/framework/machine/cgroup"
)

func TestMain(m *testing.M) {
	machine.RunIfInit()
	os.Exit(m.Run())
}

func startMachine(t *testing.T) *machine.Machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("machines need root")
	}
	group := "plumb-launch-test/" + t.Name()
	m, err := machine.Start(t.Context(), machine.Config{Name: "m", Directory: filepath.Join(t.TempDir(), "m"), Cgroup: group})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
		_ = cgroup.Remove("plumb-launch-test")
	})
	return m
}

// follower passes a component's events on to a test.
func follower() (func(Event), chan Event) {
	events := make(chan Event, 100)
	return func(e Event) { events <- e }, events
}

func await(t *testing.T, events chan Event, change Change) Event {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case e := <-events:
			if e.Change == change {
				return e
			}
		case <-limit:
			t.Fatalf("never %s", change)
		}
	}
}

func TestKilledComponentIsStartedAgain(t *testing.T) {
	observe, events := follower()
	r, err := Start(Component{Name: "sleeper", Machine: startMachine(t), Args: []string{"sleep", "1000"}, Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	await(t, events, Started)
	first := r.PID()
	if err := r.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := await(t, events, Ended); !strings.Contains(e.Detail, "SIGKILL") || e.Component != "sleeper" || e.Machine != "m" {
		t.Errorf("the record says %s", e)
	}
	await(t, events, Started)
	if r.PID() == first || r.Restarts() != 1 {
		t.Errorf("pid %d after %d, %d restarts", r.PID(), first, r.Restarts())
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, events, Stopped)
	if r.State() != "stopped" {
		t.Errorf("state %s", r.State())
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	if r.State() != "running" {
		t.Errorf("state %s after another start", r.State())
	}
}

func TestPauseAndLog(t *testing.T) {
	observe, _ := follower()
	r, err := Start(Component{Name: "talker", Machine: startMachine(t), Args: []string{"sh", "-c", "echo hello; exec sleep 1000"}, Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Pause(t.Context()); err != nil || r.State() != "paused" {
		t.Errorf("state %s, %v", r.State(), err)
	}
	// Stop must end a paused component, too.
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log, err := os.ReadFile(r.LogPath()); err != nil || !strings.Contains("hello\n", string(log)) {
		t.Errorf("log %q %v", log, err)
	}
}

func TestFunctionStandsInForAProgram(t *testing.T) {
	observe, events := follower()
	got := make(chan []string, 2)
	r, err := Start(Component{
		Name: "f", Machine: startMachine(t), Args: []string{"kube-scheduler", "--v=2"}, Observe: observe,
		Function: func(ctx context.Context, args []string) error {
			got <- args
			<-ctx.Done()
			return context.Cause(ctx)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if args := <-got; !slices.Equal(args, []string{"--v=2"}) {
		t.Errorf("args %v", args)
	}
	if err := r.Pause(t.Context()); err == nil {
		t.Error("a function was paused")
	}
	if err := r.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, events, Ended)
	<-got
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestProgramThatCannotStartIsAnError(t *testing.T) {
	_, err := Start(Component{Name: "x", Machine: startMachine(t), Args: []string{"x"}, Program: "/nonexistent/x"})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/x") {
		t.Errorf("got %v", err)
	}
}
