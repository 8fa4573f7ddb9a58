package machine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/wire"
)

// RunIfInit becomes the init process of a machine if this process was started as
// one, and then does not return. Call it before anything else in main.
func RunIfInit() {
	if filepath.Base(os.Args[0]) != InitName || os.Getpid() != 1 {
		return
	}
	// All namespaces but the control group's are entered at birth. That one is
	// entered by this thread alone, so this thread forks every process.
	runtime.LockOSThread()
	if err := runInit(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", InitName, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// initProcess is PID 1 of a machine.
type initProcess struct {
	conn *wire.Conn
	// mu covers starting and reaping, so that a process that ends at once is
	// reported after the answer that names it.
	mu    sync.Mutex
	alive map[int]bool
}

type received struct {
	request request
	files   []*os.File
}

func runInit() error {
	conn, err := wire.FromFile(os.NewFile(initSocket, "wire"))
	if err != nil {
		return err
	}
	var plan setup
	if _, err := conn.Receive(&plan); err != nil {
		return fmt.Errorf("receive set-up: %w", err)
	}
	if err := furnish(&plan); err != nil {
		return conn.Send(failure(err))
	}
	p := &initProcess{conn: conn, alive: map[int]bool{}}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	// Caught and dropped rather than ignored: what is ignored stays so in every child.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() {
		for range children {
			p.reap()
		}
	}()
	if err := conn.Send(message{}); err != nil {
		return err
	}
	requests := make(chan received)
	go func() {
		defer close(requests)
		for {
			var r received
			var err error
			if r.files, err = conn.Receive(&r.request); err != nil {
				return
			}
			requests <- r
		}
	}()
	// The harness is gone when the channel closes, and with PID 1 goes everything.
	for r := range requests {
		p.serve(r)
	}
	return nil
}

func (p *initProcess) serve(r received) {
	defer wire.CloseAll(r.files)
	switch r.request.Op {
	case opStart:
		p.mu.Lock()
		defer p.mu.Unlock()
		pid, err := start(r.request.Start, r.files)
		if err == nil {
			p.alive[pid] = true
		}
		p.answer(message{ID: r.request.ID, PID: pid}, err)
	case opSignal:
		p.mu.Lock()
		defer p.mu.Unlock()
		err := error(unix.ESRCH)
		if p.alive[r.request.PID] {
			err = unix.Kill(r.request.PID, unix.Signal(r.request.Signal))
		}
		p.answer(message{ID: r.request.ID}, err)
	case opUsage:
		usage, err := usageOf(r.request.PID)
		p.answer(message{ID: r.request.ID, Usage: usage}, err)
	default:
		p.answer(message{ID: r.request.ID}, fmt.Errorf("unknown operation %q", r.request.Op))
	}
}

func (p *initProcess) answer(m message, err error) {
	if err != nil {
		told := failure(err)
		m.Error, m.Errno = told.Error, told.Errno
	}
	// A harness that no longer listens is noticed by the receiver.
	_ = p.conn.Send(m)
}

func start(params *startParams, files []*os.File) (int, error) {
	if params == nil || len(params.Args) == 0 {
		return 0, errors.New("no program named")
	}
	var path string
	if params.ByDescriptor {
		if len(files) < 1 {
			return 0, errors.New("no program passed")
		}
		program := files[0]
		files = files[1:]
		path = fmt.Sprintf("/proc/self/fd/%d", program.Fd())
		if isScript(program) {
			// The interpreter opens the script by this path after the exec.
			if _, err := unix.FcntlInt(program.Fd(), unix.F_SETFD, 0); err != nil {
				return 0, err
			}
		}
	} else {
		var err error
		if path, err = lookPath(params.Args[0], params.Env); err != nil {
			return 0, err
		}
	}
	if len(files) != 3 {
		return 0, fmt.Errorf("%d standard files passed, want 3", len(files))
	}
	attr := &syscall.ProcAttr{
		Dir:   params.Directory,
		Env:   params.Env,
		Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: params.Terminal},
	}
	if attr.Dir == "" {
		attr.Dir = "/"
	}
	return syscall.ForkExec(path, params.Args, attr)
}

func isScript(program *os.File) bool {
	var magic [2]byte
	n, err := program.ReadAt(magic[:], 0)
	return (err == nil || err == io.EOF) && n == 2 && string(magic[:]) == "#!"
}

// lookPath finds a program in the PATH of the process to be.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, variable := range env {
		list, ok := strings.CutPrefix(variable, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s: not found in the machine's PATH", name)
}

// reap collects every child that has ended, whether started here or orphaned.
func (p *initProcess) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if !p.alive[pid] {
			continue
		}
		delete(p.alive, pid)
		exit := &Exit{Code: status.ExitStatus()}
		if status.Signaled() {
			exit.Signal = int(status.Signal())
		}
		p.answer(message{PID: pid, Exit: exit}, nil)
	}
}

// usageOf reads what the kernel sums up in smaps_rollup, see proc_pid_smaps(5).
func usageOf(pid int) (*Usage, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var usage Usage
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "Rss:":
			usage.Resident = kilobytes * 1024
		case "Pss:":
			usage.Proportional = kilobytes * 1024
		case "Anonymous:":
			usage.Anonymous = kilobytes * 1024
		}
	}
	return &usage, nil
}
