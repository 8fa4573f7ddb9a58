package worker

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/conformance/suite"
)

// Options are what a process is started with.
type Options struct {
	// Worker is its number, from 1, and Of how many workers there are.
	Worker, Of int
	Filter     Filter
	// Dir is where it runs and may leave files; Log takes what it prints besides reports.
	Dir string
	Log *os.File
}

// Filter says, in regular expressions, which specs a process may run: those with a name
// that matches any of Focus, or all if there is none, and none of Skip.
type Filter struct{ Focus, Skip []string }

func (f Filter) flags() []string {
	var flags []string
	for _, pattern := range f.Focus {
		flags = append(flags, "--ginkgo.focus="+pattern)
	}
	for _, pattern := range f.Skip {
		flags = append(flags, "--ginkgo.skip="+pattern)
	}
	if len(flags) == 0 {
		// Without any filter a suite may have a mind of its own about what to skip.
		flags = append(flags, "--ginkgo.focus=.")
	}
	return flags
}

// Process is a running process of a suite. It and everything that it starts dies with
// this process, and with it.
type Process struct {
	server *Server
	worker int
	pid    int
	done   chan struct{}
	err    error
}

// Start starts a worker's process.
func (s *Server) Start(program suite.Program, o Options) (*Process, error) {
	place := []string{
		"--ginkgo.parallel.process=" + strconv.Itoa(o.Worker),
		// Of a single process Ginkgo thinks that nobody listens.
		"--ginkgo.parallel.total=" + strconv.Itoa(max(2, o.Of)),
		"--ginkgo.parallel.host=" + s.host(o.Worker),
	}
	cmd := exec.Command(program.Path, slices.Concat(program.Flags(), place, o.Filter.flags(), program.Args)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = o.Dir, o.Log, o.Log
	environment := program.Env
	if environment == nil {
		environment = os.Environ()
	}
	// Every worker has an array of its own: they are started side by side.
	cmd.Env = slices.Concat(environment, []string{"GINKGO_PARALLEL_PROTOCOL=HTTP"})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if mayUnshare() {
		// The kernel ends a PID namespace's processes with its first one: also what
		// has left the process group, and also if this process is killed.
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	}
	p := &Process{server: s, worker: o.Worker, done: make(chan struct{})}
	started := make(chan error)
	go p.run(cmd, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program.Path, err)
	}
	return p, nil
}

// mayUnshare says whether this process may make namespaces: root in a container often
// may not.
func mayUnshare() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return false
	}
	return sets[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// run starts the process and stays until it has ended, on one thread: the signal of a
// parent's death is sent when the thread ends that made the child.
func (p *Process) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p.server.setAlive(p.worker, true)
	if err := cmd.Start(); err != nil {
		p.server.setAlive(p.worker, false)
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil
	p.err = cmd.Wait()
	p.signal(unix.SIGKILL) // what it started and left
	p.server.setAlive(p.worker, false)
	close(p.done)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ending says how the process ended, after Done.
func (p *Process) Ending() string {
	var exit *exec.ExitError
	switch {
	case p.err == nil:
		return "exit status 0"
	case errors.As(p.err, &exit):
		return exit.String()
	default:
		return p.err.Error()
	}
}

// Interrupt makes the process fail its spec, clean up after it, tell of it and end. A
// second interrupt makes it leave the clean-up.
func (p *Process) Interrupt() { p.signal(unix.SIGINT) }

// AskProgress makes the process tell where its spec stands.
func (p *Process) AskProgress() {
	_ = unix.Kill(p.pid, unix.SIGUSR1) // it alone: the signal would end a kubectl
}

// Kill ends the process and everything it started.
func (p *Process) Kill() { p.signal(unix.SIGKILL) }

// signal reaches the process group; that there is none any more is as good.
func (p *Process) signal(s unix.Signal) { _ = unix.Kill(-p.pid, s) }
