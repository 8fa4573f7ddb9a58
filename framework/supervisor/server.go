package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	hollow "github.com/plumbline/plumbline/framework/hollow/v1alpha1"
	"github.com/plumbline/plumbline/framework/machine"
	"github.com/plumbline/plumbline/framework/wire"
)

// server answers for one cluster.
type server struct {
	cluster *cluster.Cluster
	since   time.Time
	failure string
	end     func()
	// ended is closed, and downErr set, when the cluster is gone.
	ended   chan struct{}
	downErr error
}

// Run boots the cluster that the starter orders, tells it of the progress, and then
// serves commands until one of them, or the end of ctx, takes the cluster down. A
// starter that goes away in mid-boot takes the boot with it. More options change how the
// cluster is run.
func Run(ctx context.Context, starter *wire.Conn, more ...cluster.Option) error {
	var order Order
	if _, err := starter.Receive(&order); err != nil {
		return fmt.Errorf("receive the order: %w", err)
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	booting, abandon := context.WithCancel(ctx)
	defer abandon()
	go func() {
		// The starter says nothing more; hearing its end is what this is for.
		var nothing struct{}
		_, _ = starter.Receive(&nothing)
		abandon()
	}()
	tell := func(p Progress) { _ = starter.Send(p) }
	options := append([]cluster.Option{
		cluster.WithBinary("/proc/self/exe"),
		cluster.WithSteps(func(step string) { tell(Progress{Step: step}) }),
		cluster.WithProgress(func(phase cluster.Phase) { tell(Progress{Phase: &phase}) }),
	}, more...)
	if order.Retain {
		options = append(options, cluster.WithRetain())
	}
	s := &server{since: time.Now(), end: end, ended: make(chan struct{})}
	var err error
	s.cluster, err = cluster.New(booting, order.Cluster, options...)
	if s.cluster == nil {
		tell(Progress{Done: true, Error: err.Error()})
		return err
	}
	if err != nil {
		s.failure = err.Error()
	}
	listener, listenErr := s.listen()
	if listenErr != nil {
		tell(Progress{Done: true, Error: listenErr.Error()})
		return errors.Join(listenErr, s.cluster.Down())
	}
	redirectOutput(filepath.Join(s.cluster.Directory(), "supervisor.log"))
	tell(Progress{Done: true, Error: s.failure})
	return s.serve(ctx, listener)
}

// Serve answers commands for a cluster that this process owns, so that other
// processes (those of a parallel test run, or plumb itself) work on it too. Any of
// them may ask for its end, which calls down; the returned function stops serving.
func Serve(c *cluster.Cluster, down func() error) (stop func(), err error) {
	s := &server{cluster: c, since: time.Now(), ended: make(chan struct{})}
	listener, err := s.listen()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var once sync.Once
	s.end = func() {
		once.Do(func() {
			s.downErr = down()
			close(s.ended)
		})
	}
	var work sync.WaitGroup
	work.Go(func() { s.accept(ctx, listener) })
	return func() {
		cancel()
		listener.Close()
		work.Wait()
	}, nil
}

func (s *server) listen() (*net.UnixListener, error) {
	return wire.Listen(socketOf(s.cluster.Name()))
}

// redirectOutput sends what libraries print to a file, now that nobody reads it.
func redirectOutput(path string) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return
	}
	defer file.Close()
	_ = unix.Dup3(int(file.Fd()), int(os.Stdout.Fd()), 0)
	_ = unix.Dup3(int(file.Fd()), int(os.Stderr.Fd()), 0)
}

func (s *server) serve(ctx context.Context, listener *net.UnixListener) error {
	var work sync.WaitGroup
	work.Go(func() { s.accept(ctx, listener) })
	<-ctx.Done()
	listener.Close()
	s.downErr = s.cluster.Down()
	close(s.ended)
	work.Wait()
	return s.downErr
}

// accept answers until the listener is closed.
func (s *server) accept(ctx context.Context, listener *net.UnixListener) {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		socket, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		conn := wire.NewConn(socket)
		work.Go(func() {
			s.answer(ctx, conn)
		})
	}
}

func (s *server) answer(ctx context.Context, conn *wire.Conn) {
	defer conn.Close()
	var r request
	files, err := conn.Receive(&r)
	if err != nil {
		return
	}
	defer wire.CloseAll(files)
	var a answer
	switch r.Verb {
	case verbStatus:
		a.Status = s.status(ctx)
	case verbDown:
		s.end()
		<-s.ended
		err = s.downErr
	case verbExec:
		a.Exit, err = s.exec(ctx, conn, r, files)
	case verbAddNode:
		err = s.cluster.AddNode(ctx, *r.Node)
	case verbRemoveNode:
		err = s.cluster.RemoveNode(ctx, r.Machine)
	case verbKill:
		err = s.cluster.KillMachine(r.Machine)
	case verbComponent:
		err = s.act(ctx, r)
	case verbSwap:
		var change v1alpha1.Component
		if r.Change != nil {
			change = *r.Change
		}
		err = s.cluster.Swap(ctx, r.Machine, r.Component, change)
	case verbPartition, verbHeal:
		if port := s.cluster.Port(r.Machine); port != nil {
			err = port.SetConnected(r.Verb == verbHeal)
		} else {
			err = s.noMachine(r.Machine)
		}
	case verbOutside:
		s.outside(conn)
		return
	default:
		err = fmt.Errorf("unknown request %q: the supervisor is of another version", r.Verb)
	}
	if err != nil {
		a.Error = err.Error()
	}
	_ = conn.Send(a)
}

func (s *server) noMachine(name string) error {
	return fmt.Errorf("cluster %q has no machine %q; it has %v", s.cluster.Name(), name, s.cluster.Machines())
}

func (s *server) exec(ctx context.Context, conn *wire.Conn, r request, files []*os.File) (*machine.Exit, error) {
	m := s.cluster.Machine(r.Machine)
	if m == nil {
		return nil, s.noMachine(r.Machine)
	}
	if len(files) != 3 {
		return nil, errors.New("exec needs standard input, output and error")
	}
	process, err := m.Run(ctx, machine.Command{
		Args: r.Args, Env: r.Env, Terminal: r.Terminal, Stdin: files[0], Stdout: files[1], Stderr: files[2],
	})
	if err != nil {
		return nil, err
	}
	if err := conn.Send(answer{Started: true}); err != nil {
		return nil, err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var nothing struct{}
		_, _ = conn.Receive(&nothing)
	}()
	select {
	case <-process.Done():
	case <-gone:
		// Nobody waits for it any more.
		_ = process.Signal(ctx, unix.SIGHUP)
		_ = process.Signal(ctx, unix.SIGKILL)
	}
	exit, err := process.Wait(ctx)
	return &exit, err
}

// outside lends a place on the fabric for as long as the connection lasts.
func (s *server) outside(conn *wire.Conn) {
	client, err := s.cluster.NewClient()
	if err != nil {
		_ = conn.Send(answer{Error: err.Error()})
		return
	}
	defer client.Close()
	if err := conn.Send(answer{Address: client.Port().Address().String()}, client.Net().File()); err != nil {
		return
	}
	var nothing struct{}
	_, _ = conn.Receive(&nothing)
}

func (s *server) act(ctx context.Context, r request) error {
	component := s.cluster.Component(r.Machine, r.Component)
	if component == nil {
		return fmt.Errorf("cluster %q has no component %s on machine %q", s.cluster.Name(), r.Component, r.Machine)
	}
	switch r.Action {
	case Kill:
		return component.Kill(ctx)
	case Pause:
		return component.Pause(ctx)
	case Resume:
		return component.Resume(ctx)
	case Stop:
		return component.Stop(ctx)
	case Start:
		return component.Start()
	}
	return fmt.Errorf("unknown action %q", r.Action)
}

func (s *server) status(ctx context.Context) *Status {
	c := s.cluster
	status := &Status{
		Name: c.Name(), PID: os.Getpid(), Since: s.since, Phases: c.Phases(), Failure: s.failure,
		Server: c.RestConfig().Host, Kubeconfig: filepath.Join(c.Directory(), cluster.KubeconfigFile),
	}
	const lastEvents = 50
	events := c.Events()
	status.Events = events[max(0, len(events)-lastEvents):]
	ready, simulated := s.readiness(ctx)
	status.Hollow, status.Troubles = simulated, c.Troubles()
	for _, name := range c.Machines() {
		m := MachineStatus{Name: name, Ready: ready[name]}
		if port := c.Port(name); port != nil {
			m.Address = port.Address().String()
		}
		for _, running := range c.Components() {
			component := running.Component()
			if component.Machine.Name() != name {
				continue
			}
			entry := ComponentStatus{
				Name: component.Name, State: running.State(), Restarts: running.Restarts(), PID: running.PID(), Log: running.LogPath(),
			}
			if change := c.Description().Spec.Components[component.Name]; change.Program != "" {
				entry.Program = change.Program
			}
			if usage, err := running.Usage(ctx); err == nil {
				entry.Memory = &usage
			}
			m.Components = append(m.Components, entry)
		}
		status.Machines = append(status.Machines, m)
	}
	return status
}

// readiness asks the API how each node is, and counts the hollow ones. A cluster whose API
// does not answer has a status all the same.
func (s *server) readiness(ctx context.Context) (map[string]string, *HollowStatus) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	nodes, err := s.cluster.Client().CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil
	}
	return readinessOf(nodes.Items)
}

func readinessOf(nodes []corev1.Node) (map[string]string, *HollowStatus) {
	ready := map[string]string{}
	var count HollowStatus
	for _, node := range nodes {
		ready[node.Name] = "NotReady"
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				ready[node.Name] = "Ready"
			}
		}
		if _, simulated := node.Labels[hollow.Label]; simulated {
			count.Nodes++
			if ready[node.Name] == "Ready" {
				count.Ready++
			}
		}
	}
	if count.Nodes == 0 {
		return ready, nil
	}
	return ready, &count
}
