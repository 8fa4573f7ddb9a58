package machine

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// DefaultEnv is the environment of a process that asks for none.
func DefaultEnv() []string { return []string{"PATH=" + defaultPath, "HOME=/root"} }

// Command describes a process to start in a machine.
type Command struct {
	// Args are the name and the arguments. Args[0] is looked up in the machine's
	// PATH unless Program is set.
	Args []string
	// Program is an executable of the host. It need not be visible in the machine.
	Program string
	// Env is the environment; nil means DefaultEnv.
	Env []string
	// Directory is where the process starts; empty means the root.
	Directory string
	// Stdin, Stdout and Stderr are the standard files; nil means /dev/null.
	Stdin, Stdout, Stderr *os.File
	// Terminal makes Stdin, which must be one, the controlling terminal.
	Terminal bool
}

// Process is a process in a machine.
type Process struct {
	machine *Machine
	pid     int
	done    chan struct{}
	exit    Exit
}

// Run starts a process in the machine.
func (m *Machine) Run(ctx context.Context, c Command) (*Process, error) {
	params := &startParams{Args: c.Args, Env: c.Env, Directory: c.Directory, Terminal: c.Terminal}
	if params.Env == nil {
		params.Env = DefaultEnv()
	}
	var files []*os.File
	if c.Program != "" {
		program, err := os.Open(c.Program)
		if err != nil {
			return nil, err
		}
		defer program.Close()
		params.ByDescriptor = true
		files = append(files, program)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	for _, file := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if file == nil {
			file = null
		}
		files = append(files, file)
	}
	answer, err := m.ask(ctx, request{Op: opStart, Start: params}, files...)
	if err != nil {
		return nil, err
	}
	process := &Process{machine: m, pid: answer.PID, done: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	if exit, ended := m.early[answer.PID]; ended {
		delete(m.early, answer.PID)
		process.end(exit)
	} else if m.processes == nil {
		process.end(Exit{Code: -1, Signal: int(unix.SIGKILL), Lost: true})
	} else {
		m.processes[answer.PID] = process
	}
	return process, nil
}

func (p *Process) end(exit Exit) {
	p.exit = exit
	close(p.done)
}

// PID is the process as the machine sees it.
func (p *Process) PID() int { return p.pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit says how the process ended; it is valid once Done is closed.
func (p *Process) Exit() Exit { return p.exit }

// Wait waits for the process to end.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-p.done:
		return p.exit, nil
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(ctx context.Context, signal unix.Signal) error {
	_, err := p.machine.ask(ctx, request{Op: opSignal, PID: p.pid, Signal: int(signal)})
	return err
}

// Usage tells how much memory the process uses.
func (p *Process) Usage(ctx context.Context) (Usage, error) {
	answer, err := p.machine.ask(ctx, request{Op: opUsage, PID: p.pid})
	if err != nil {
		return Usage{}, err
	}
	return *answer.Usage, nil
}

// String puts the way a process ended into words.
func (e Exit) String() string {
	switch {
	case e.Lost:
		return "its machine ended"
	case e.Signal > 0:
		return fmt.Sprintf("killed by signal %d (%s)", e.Signal, unix.SignalName(unix.Signal(e.Signal)))
	default:
		return fmt.Sprintf("exit status %d", e.Code)
	}
}
