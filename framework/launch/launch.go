// Package launch runs components: a component is a program with a command line,
// on a machine. It keeps the log, restarts what ends, records which component
// ended when and how, and kills, pauses and stops on request. In the place of the
// usual program stands an external binary with the same command line, or a Go
// function that runs in the harness's own process, under its debugger.
package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/machine"
)

// LogDirectory is where a machine keeps the logs of its components.
const LogDirectory = "/var/log/plumb"

const (
	firstDelay = 10 * time.Millisecond
	lastDelay  = 2 * time.Second
	// settled is how long a component must have run for its next end to count as
	// the first one again.
	settled = 10 * time.Second
	// stopGrace is how long a component may take to end after SIGTERM.
	stopGrace = 5 * time.Second
)

// Function is a component as a Go function: args as the program would get them,
// without the name. It returns when ctx ends.
type Function func(ctx context.Context, args []string) error

// Component describes what to run.
type Component struct {
	// Name is the component's and its log file's name, "kube-scheduler".
	Name string
	// Machine is where it runs.
	Machine *machine.Machine
	// Args is the command line; Args[0] is the program's name.
	Args []string
	// Program is the executable on the host.
	Program string
	// Env is the environment; nil means machine.DefaultEnv.
	Env []string
	// Function runs in the place of Program. It is in the harness's process, so on
	// the host's network, and can be neither paused nor measured.
	Function Function
	// Ready says how to tell that the component serves; nil means that it does
	// once it runs.
	Ready *Probe
	// Observe is told of everything that happens to the component, in order.
	Observe func(Event)
}

// Change is what happened to a component.
type Change string

// The changes of a component.
const (
	Started Change = "started"
	Ended   Change = "ended"
	Killed  Change = "killed"
	Paused  Change = "paused"
	Resumed Change = "resumed"
	Stopped Change = "stopped"
)

// Event is one entry in a component's record.
type Event struct {
	Time      time.Time `json:"time"`
	Machine   string    `json:"machine"`
	Component string    `json:"component"`
	Change    Change    `json:"change"`
	// Detail says how the component ended, or what could not be started.
	Detail string `json:"detail,omitempty"`
}

// String is the event on one line.
func (e Event) String() string {
	text := fmt.Sprintf("%s %s/%s %s", e.Time.Format("15:04:05.000"), e.Machine, e.Component, e.Change)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// instance is one life of a component.
type instance interface {
	done() <-chan struct{}
	outcome() string
	signal(ctx context.Context, signal unix.Signal) error
}

// Running is a component under the harness's care.
type Running struct {
	component Component

	mu       sync.Mutex
	current  instance
	paused   bool
	stopping chan struct{}
	ended    chan struct{}
	starts   int
	events   []Event
	firstUp  chan error
}

// Start starts a component and keeps it running until Stop. The error is that of
// the first start; later ones are recorded and tried again.
func Start(c Component) (*Running, error) {
	if c.Name == "" || c.Machine == nil || len(c.Args) == 0 {
		return nil, errors.New("launch: a component needs a name, a machine and a command line")
	}
	r := &Running{component: c}
	if err := r.Start(); err != nil {
		return nil, err
	}
	return r, nil
}

// Start starts a component again after Stop.
func (r *Running) Start() error {
	r.mu.Lock()
	if r.stopping != nil {
		r.mu.Unlock()
		return fmt.Errorf("%s is running already", r)
	}
	r.stopping, r.ended, r.firstUp = make(chan struct{}), make(chan struct{}), make(chan error, 1)
	first := r.firstUp
	r.mu.Unlock()
	go r.keep(r.stopping, r.ended)
	if err := <-first; err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", r, err), r.Stop(context.Background()))
	}
	return nil
}

// keep runs one life after the other.
func (r *Running) keep(stopping <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	delay := firstDelay
	for first := true; ; first = false {
		begun := time.Now()
		life, err := r.begin()
		if first {
			r.firstUp <- err
		}
		if err != nil {
			r.record(Ended, "cannot start: "+err.Error())
		} else {
			select {
			case <-life.done():
			case <-stopping:
				terminate(life)
			}
			r.mu.Lock()
			r.current, r.paused = nil, false
			r.mu.Unlock()
			r.record(Ended, life.outcome())
		}
		if time.Since(begun) > settled {
			delay = firstDelay
		}
		select {
		case <-stopping:
			return
		case <-r.component.Machine.Done():
			return
		case <-time.After(delay):
		}
		delay = min(delay*2, lastDelay)
	}
}

func (r *Running) begin() (instance, error) {
	log, err := r.openLog()
	if err != nil {
		return nil, err
	}
	var life instance
	if r.component.Function != nil {
		life = call(r.component.Function, r.component.Args[1:])
		log.Close()
	} else {
		life, err = r.run(log)
		log.Close()
		if err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	r.current = life
	r.starts++
	r.mu.Unlock()
	r.record(Started, "")
	return life, nil
}

func (r *Running) run(log *os.File) (instance, error) {
	process, err := r.component.Machine.Run(context.Background(), machine.Command{
		Args: r.component.Args, Program: r.component.Program, Env: r.component.Env, Stdout: log, Stderr: log,
	})
	if err != nil {
		return nil, err
	}
	return programLife{process}, nil
}

func (r *Running) openLog() (*os.File, error) {
	path := r.LogPath()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
}

// LogPath is where the host finds the component's log.
func (r *Running) LogPath() string {
	return r.component.Machine.HostPath(filepath.Join(LogDirectory, r.component.Name+".log"))
}

func (r *Running) record(change Change, detail string) {
	event := Event{Time: time.Now(), Machine: r.component.Machine.Name(), Component: r.component.Name, Change: change, Detail: detail}
	r.mu.Lock()
	r.events = append(r.events, event)
	r.mu.Unlock()
	if r.component.Observe != nil {
		r.component.Observe(event)
	}
}

// String names the component and its machine.
func (r *Running) String() string { return r.component.Machine.Name() + "/" + r.component.Name }

// Component is what runs.
func (r *Running) Component() Component {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.component
}

// Replace ends what runs, as Stop does, and starts another component of the same
// name on the same machine in its place. Log, events and restarts go on. The error is
// that of the start: what ran before is not brought back.
func (r *Running) Replace(ctx context.Context, c Component) error {
	if c.Name != r.component.Name || c.Machine != r.component.Machine || len(c.Args) == 0 {
		return fmt.Errorf("launch: in the place of %s can only run what has its name, its machine and a command line", r)
	}
	if err := r.Stop(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	r.component.Args, r.component.Program, r.component.Env = c.Args, c.Program, c.Env
	r.component.Function, r.component.Ready = c.Function, c.Ready
	r.mu.Unlock()
	return r.Start()
}

// Events are what has happened to the component so far.
func (r *Running) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Event(nil), r.events...)
}

// Restarts is how often the component was started again.
func (r *Running) Restarts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.starts-1)
}

// State is "running", "paused", "ended" (about to be started again) or "stopped".
func (r *Running) State() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopping == nil:
		return "stopped"
	case r.current == nil:
		return "ended"
	case r.paused:
		return "paused"
	}
	return "running"
}

func (r *Running) life() (instance, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == nil {
		return nil, fmt.Errorf("%s is not running", r)
	}
	return r.current, nil
}

// PID is the component's process as its machine sees it, or 0.
func (r *Running) PID() int {
	life, err := r.life()
	if err != nil {
		return 0
	}
	if program, ok := life.(programLife); ok {
		return program.PID()
	}
	return 0
}

// Usage tells how much memory the component uses.
func (r *Running) Usage(ctx context.Context) (machine.Usage, error) {
	life, err := r.life()
	if err != nil {
		return machine.Usage{}, err
	}
	program, ok := life.(programLife)
	if !ok {
		return machine.Usage{}, fmt.Errorf("%s runs inside the harness: its memory is not its own", r)
	}
	return program.Usage(ctx)
}

// Kill ends the component as a crash would; it is started again.
func (r *Running) Kill(ctx context.Context) error {
	life, err := r.life()
	if err != nil {
		return err
	}
	r.record(Killed, "")
	if err := life.signal(ctx, unix.SIGKILL); err != nil {
		return err
	}
	select {
	case <-life.done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pause stops the component in its tracks, connections open, until Resume.
func (r *Running) Pause(ctx context.Context) error { return r.setPaused(ctx, true) }

// Resume lets a paused component go on.
func (r *Running) Resume(ctx context.Context) error { return r.setPaused(ctx, false) }

func (r *Running) setPaused(ctx context.Context, paused bool) error {
	life, err := r.life()
	if err != nil {
		return err
	}
	signal, change := unix.SIGCONT, Resumed
	if paused {
		signal, change = unix.SIGSTOP, Paused
	}
	if err := life.signal(ctx, signal); err != nil {
		return err
	}
	r.mu.Lock()
	r.paused = paused
	r.mu.Unlock()
	r.record(change, "")
	return nil
}

// terminate asks a life to end, and kills it if it takes too long. A machine that
// is gone has taken the component with it, so a signal that fails is no error.
func terminate(life instance) {
	_ = life.signal(context.Background(), unix.SIGTERM)
	_ = life.signal(context.Background(), unix.SIGCONT)
	select {
	case <-life.done():
	case <-time.After(stopGrace):
		_ = life.signal(context.Background(), unix.SIGKILL)
		<-life.done()
	}
}

// Stop ends the component for good: asked first, killed if it takes too long or
// ctx ends.
func (r *Running) Stop(ctx context.Context) error {
	r.mu.Lock()
	stopping, ended := r.stopping, r.ended
	r.stopping = nil
	r.mu.Unlock()
	if stopping == nil {
		return nil
	}
	close(stopping)
	select {
	case <-ended:
	case <-ctx.Done():
		if life, err := r.life(); err == nil {
			_ = life.signal(context.WithoutCancel(ctx), unix.SIGKILL)
		}
		<-ended
	}
	r.record(Stopped, "")
	return nil
}
