package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/machine/cgroup"
	"github.com/plumbline/plumbline/framework/netns"
	"github.com/plumbline/plumbline/framework/wire"
)

// Limits bound a machine. Zero means as much as the host has.
type Limits struct {
	cgroup.Limits
	// Disk is the size in bytes of the file system under /var/lib.
	Disk int64
}

// Bind shows a directory of the host in the machine. The target is made if absent,
// so it should lie under one of the machine's private directories or /run.
type Bind struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Config describes a machine.
type Config struct {
	// Name is the machine's hostname.
	Name string
	// Directory on the host holds the machine's private files. It is made if absent
	// and stays after the machine.
	Directory string
	// Program is the executable that provides the init process: one whose main
	// calls RunIfInit. Empty means the running one.
	Program string
	// Cgroup is the machine's path in every control group hierarchy.
	Cgroup string
	// Limits bound the machine.
	Limits Limits
	// Hosts and Resolver are the contents of /etc/hosts and /etc/resolv.conf.
	Hosts, Resolver string
	// Files are further files of the machine, by their path in it: below /etc, /opt
	// or one of the private directories.
	Files map[string]string
	// Binds are further directories of the host to show in the machine.
	Binds []Bind
	// Sysctls are kernel parameters of the machine's network and IPC namespaces.
	Sysctls map[string]string
}

// Validate says what is missing.
func (c *Config) Validate() error {
	switch {
	case c.Name == "":
		return errors.New("machine: no name")
	case !filepath.IsAbs(c.Directory):
		return fmt.Errorf("machine %s: directory %q is not an absolute path", c.Name, c.Directory)
	case strings.Trim(c.Cgroup, "/") == "":
		return fmt.Errorf("machine %s: no control group path", c.Name)
	case strings.ContainsAny(c.Directory, ",:"):
		return fmt.Errorf("machine %s: directory %q holds a comma or a colon, which overlay mounts cannot take", c.Name, c.Directory)
	}
	return nil
}

// Machine is a running machine.
type Machine struct {
	config Config
	pid    int
	group  *cgroup.Group
	net    *netns.Namespace
	conn   *wire.Conn

	mu        sync.Mutex
	next      uint64
	waiting   map[uint64]chan message
	processes map[int]*Process
	// early holds exits that arrive before the start request has been answered to its caller.
	early map[int]Exit
	done  chan struct{}
	stop  sync.Once
}

// Start makes a machine and returns when it is ready to start processes.
func Start(ctx context.Context, config Config) (*Machine, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Program == "" {
		config.Program = "/proc/self/exe"
	}
	disk, err := prepareDirectory(ctx, &config)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", config.Name, err)
	}
	group, err := cgroup.Create(config.Cgroup, config.Limits.Limits)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", config.Name, err)
	}
	m := &Machine{
		config: config, group: group, done: make(chan struct{}),
		waiting: map[uint64]chan message{}, processes: map[int]*Process{}, early: map[int]Exit{},
	}
	if err := m.boot(ctx, disk); err != nil {
		return nil, errors.Join(fmt.Errorf("machine %s: %w", config.Name, err), m.Stop())
	}
	return m, nil
}

func (m *Machine) boot(ctx context.Context, disk string) error {
	conn, theirs, err := wire.Pair()
	if err != nil {
		return err
	}
	m.conn = conn
	log, err := os.OpenFile(m.initLog(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return errors.Join(err, theirs.Close())
	}
	err = m.spawn(theirs, log)
	theirs.Close()
	log.Close()
	if err != nil {
		return err
	}
	if err := m.group.Add(m.pid); err != nil {
		return err
	}
	if m.net, err = netns.OfProcess(m.pid); err != nil {
		return err
	}
	plan := setup{
		Hostname: m.config.Name, Directory: m.config.Directory, Disk: disk,
		Binds: m.config.Binds, Hierarchies: m.group.Hierarchies(), Sysctls: m.config.Sysctls,
	}
	if err := conn.Send(plan); err != nil {
		return err
	}
	ended := context.AfterFunc(ctx, func() { _ = conn.Close() })
	var answer message
	_, err = conn.Receive(&answer)
	if !ended() {
		return ctx.Err()
	}
	if err != nil {
		if words, _ := os.ReadFile(m.initLog()); len(words) > 0 {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(words))
		}
		return fmt.Errorf("init process ended before it was ready: %w", err)
	}
	if err := answer.err(); err != nil {
		return err
	}
	go m.listen()
	return nil
}

// initLog is where the init process tells of its own failures. Had it this process's
// standard error, whoever waits for the end of that, as a test's runner does, would wait
// for the machine's.
func (m *Machine) initLog() string {
	return filepath.Join(m.config.Directory, "log", "plumb", InitName+".log")
}

// spawn starts the init process on a thread that lives until the process ends:
// the kernel sends the parent-death signal when the parent thread ends.
func (m *Machine) spawn(socket, log *os.File) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		process, err := os.StartProcess(m.config.Program, []string{InitName}, &os.ProcAttr{
			Dir:   "/",
			Env:   []string{"PATH=" + defaultPath, "GOGC=50", "GOMAXPROCS=1"},
			Files: []*os.File{nil, nil, log, socket},
			Sys: &syscall.SysProcAttr{
				Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
				Pdeathsig:  unix.SIGKILL,
				Setsid:     true,
			},
		})
		if err != nil {
			started <- fmt.Errorf("start init process: %w", err)
			close(m.done)
			return
		}
		m.pid = process.Pid
		started <- nil
		_, _ = process.Wait()
		close(m.done)
	}()
	return <-started
}

// listen hears what the init process says until it is gone.
func (m *Machine) listen() {
	for {
		var said message
		if _, err := m.conn.Receive(&said); err != nil {
			break
		}
		m.mu.Lock()
		if said.Exit == nil {
			if answer := m.waiting[said.ID]; answer != nil {
				delete(m.waiting, said.ID)
				answer <- said
			}
		} else if process := m.processes[said.PID]; process != nil {
			delete(m.processes, said.PID)
			process.end(*said.Exit)
		} else {
			m.early[said.PID] = *said.Exit
		}
		m.mu.Unlock()
	}
	<-m.done
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, answer := range m.waiting {
		delete(m.waiting, id)
		answer <- message{Error: errGone.Error()}
	}
	for pid, process := range m.processes {
		delete(m.processes, pid)
		process.end(Exit{Code: -1, Signal: int(unix.SIGKILL), Lost: true})
	}
	m.waiting, m.processes = nil, nil
}

var errGone = errors.New("the machine is gone")

// ask sends a request and waits for its answer.
func (m *Machine) ask(ctx context.Context, r request, files ...*os.File) (message, error) {
	answer := make(chan message, 1)
	m.mu.Lock()
	if m.waiting == nil {
		m.mu.Unlock()
		return message{}, fmt.Errorf("machine %s: %w", m.config.Name, errGone)
	}
	m.next++
	r.ID = m.next
	m.waiting[r.ID] = answer
	m.mu.Unlock()
	if err := m.conn.Send(r, files...); err != nil {
		return message{}, fmt.Errorf("machine %s: %w", m.config.Name, errGone)
	}
	select {
	case said := <-answer:
		if err := said.err(); err != nil {
			return said, fmt.Errorf("machine %s: %w", m.config.Name, err)
		}
		return said, nil
	case <-ctx.Done():
		return message{}, ctx.Err()
	}
}

// Name is the machine's hostname.
func (m *Machine) Name() string { return m.config.Name }

// PID is the init process as the host sees it.
func (m *Machine) PID() int { return m.pid }

// Net is the machine's network namespace.
func (m *Machine) Net() *netns.Namespace { return m.net }

// Cgroup is the machine's path in every control group hierarchy of the host.
func (m *Machine) Cgroup() string { return m.config.Cgroup }

// Limits are the limits that the machine was made with.
func (m *Machine) Limits() Limits { return m.config.Limits }

// SetWeight sets the machine's share of processor time relative to the other
// machines of its cluster; cgroup.UsualWeight is what it starts with.
func (m *Machine) SetWeight(weight int) error { return m.group.SetWeight(weight) }

// Done is closed when the machine has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// HostPath is where the host finds a file of the machine. Files under the private
// directories outlive the machine; others, and those on a bounded disk, are in
// reach only while it runs.
func (m *Machine) HostPath(path string) string {
	path = filepath.Clean(path)
	onDisk := m.config.Limits.Disk > 0 && strings.HasPrefix(path+"/", "/var/lib/")
	for _, private := range privateDirectories() {
		if rest, ok := strings.CutPrefix(path+"/", private.path+"/"); ok && !onDisk {
			return filepath.Join(m.config.Directory, private.state, rest)
		}
	}
	return fmt.Sprintf("/proc/%d/root%s", m.pid, path)
}

// DialContext connects from inside the machine, so that its loopback is in reach.
func (m *Machine) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return m.net.DialContext(ctx, network, address)
}

// Stop kills every process of the machine and removes its control groups.
func (m *Machine) Stop() error {
	var err error
	m.stop.Do(func() {
		if m.pid > 0 {
			err = unix.Kill(m.pid, unix.SIGKILL)
			if errors.Is(err, unix.ESRCH) {
				err = nil
			}
			<-m.done
		}
		if m.conn != nil {
			err = errors.Join(err, m.conn.Close())
		}
		if m.net != nil {
			err = errors.Join(err, m.net.Close())
		}
		err = errors.Join(err, m.group.Remove())
	})
	return err
}

// prepareDirectory makes the machine's private directories and files, and its
// disk if it has a bounded one.
func prepareDirectory(ctx context.Context, config *Config) (disk string, err error) {
	make := func(parts ...string) {
		if err == nil {
			err = os.MkdirAll(filepath.Join(append([]string{config.Directory}, parts...)...), 0o755)
		}
	}
	for _, private := range privateDirectories() {
		make(private.state)
	}
	make("log", "plumb")
	make("cni", "net.d")
	make("cni-bin", "bin")
	make("kubernetes", "manifests")
	make(etcLayer, "kubernetes")
	make(etcLayer, "cni")
	make(optLayer, "cni")
	make(etcLayer + ".work")
	make(optLayer + ".work")
	files := map[string]string{"/etc/hostname": config.Name + "\n", "/etc/hosts": config.Hosts, "/etc/resolv.conf": config.Resolver}
	maps.Copy(files, config.Files)
	for path, content := range files {
		if err == nil {
			err = writeFile(config.Directory, path, content)
		}
	}
	if err == nil {
		err = os.Chmod(filepath.Join(config.Directory, "tmp"), 0o777|os.ModeSticky)
	}
	if err == nil && config.Limits.Disk > 0 {
		disk = filepath.Join(config.Directory, "disk.img")
		err = makeImage(ctx, disk, config.Limits.Disk)
	}
	return disk, err
}

// writeFile writes a machine's file where the machine will find it.
func writeFile(directory, path, content string) error {
	places := append(privateDirectories(), place{etcLayer, "/etc"}, place{optLayer, "/opt"})
	for _, place := range places {
		rest, ok := strings.CutPrefix(path, place.path+"/")
		if !ok {
			continue
		}
		target := filepath.Join(directory, place.state, rest)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, []byte(content), 0o644)
	}
	return fmt.Errorf("file %s is outside the machine's own directories", path)
}
