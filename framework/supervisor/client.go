package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/machine"
	"github.com/plumbline/plumbline/framework/netns"
	"github.com/plumbline/plumbline/framework/wire"
)

// Spawn starts a supervisor as a process of its own that outlives this one, and
// follows its boot. The command line is that of a program which calls Run on
// descriptor StarterFD.
func Spawn(ctx context.Context, argv []string, order Order, progress func(Progress)) error {
	conn, theirs, err := wire.Pair()
	if err != nil {
		return err
	}
	defer conn.Close()
	cmd := exec.Command("/proc/self/exe", argv[1:]...)
	cmd.Args = argv
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	// Collects the supervisor's end if it comes before ours; init does otherwise.
	go func() { _ = cmd.Wait() }()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.Send(order); err != nil {
		return err
	}
	for {
		var said Progress
		if _, err := conn.Receive(&said); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the supervisor ended without a word: %w", err)
		}
		if said.Done {
			if said.Error != "" {
				return errors.New(said.Error)
			}
			return nil
		}
		progress(said)
	}
}

// StarterFD is the descriptor under which a supervisor inherits its starter's socket.
const StarterFD = 3

// Client talks to the supervisor of one cluster.
type Client struct{ name string }

// Connect finds the supervisor of a cluster. Without a name it is the only one
// there is, or the one of cluster "default".
func Connect(name string) (*Client, error) {
	names, err := List()
	if err != nil {
		return nil, err
	}
	if name == "" {
		switch {
		case len(names) == 1:
			name = names[0]
		case len(names) == 0:
			return nil, errors.New("no cluster is running: start one with plumb up")
		default:
			name = "default"
		}
	}
	if !slices.Contains(names, name) {
		return nil, fmt.Errorf("no cluster %q is running; running are %v", name, names)
	}
	return &Client{name: name}, nil
}

// List returns the names of the clusters that have a living supervisor.
func List() ([]string, error) {
	entries, err := os.ReadDir(cluster.StateRoot())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		conn, err := wire.Dial(socketOf(entry.Name()))
		if err != nil {
			continue
		}
		conn.Close()
		names = append(names, entry.Name())
	}
	return names, nil
}

// Name is the cluster's name.
func (c *Client) Name() string { return c.name }

// ask sends a request and returns its last answer.
func (c *Client) ask(ctx context.Context, r request, files ...*os.File) (answer, error) {
	conn, err := wire.Dial(socketOf(c.name))
	if err != nil {
		return answer{}, fmt.Errorf("the supervisor of cluster %q does not answer: %w", c.name, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.Send(r, files...); err != nil {
		return answer{}, err
	}
	for {
		var a answer
		_, err := conn.Receive(&a)
		switch {
		case ctx.Err() != nil:
			return answer{}, ctx.Err()
		case errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET):
			return answer{}, fmt.Errorf("the supervisor of cluster %q ended", c.name)
		case err != nil:
			return answer{}, err
		case a.Error != "":
			return a, errors.New(a.Error)
		case !a.Started:
			return a, nil
		}
	}
}

// Status describes the cluster.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	a, err := c.ask(ctx, request{Verb: verbStatus})
	return a.Status, err
}

// Down ends the cluster and returns when nothing of it is left.
func (c *Client) Down(ctx context.Context) error {
	_, err := c.ask(ctx, request{Verb: verbDown})
	return err
}

// Exec runs a process in a machine on the given standard files, nil being /dev/null, and
// returns how it ended.
func (c *Client) Exec(ctx context.Context, machineName string, command machine.Command) (machine.Exit, error) {
	nothing, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return machine.Exit{}, err
	}
	defer nothing.Close()
	r := request{Verb: verbExec, Machine: machineName, Args: command.Args, Env: command.Env, Terminal: command.Terminal}
	a, err := c.ask(ctx, r, cmp.Or(command.Stdin, nothing), cmp.Or(command.Stdout, nothing), cmp.Or(command.Stderr, nothing))
	if err != nil {
		return machine.Exit{}, err
	}
	return *a.Exit, nil
}

// AddNode adds a node and returns when it is Ready.
func (c *Client) AddNode(ctx context.Context, node v1alpha1.Machine) error {
	_, err := c.ask(ctx, request{Verb: verbAddNode, Node: &node})
	return err
}

// RemoveNode ends a node's machine and removes its Node object.
func (c *Client) RemoveNode(ctx context.Context, name string) error {
	_, err := c.ask(ctx, request{Verb: verbRemoveNode, Machine: name})
	return err
}

// KillMachine ends a machine outright and leaves its Node object.
func (c *Client) KillMachine(ctx context.Context, name string) error {
	_, err := c.ask(ctx, request{Verb: verbKill, Machine: name})
	return err
}

// Act does something to a component.
func (c *Client) Act(ctx context.Context, machineName, component string, action Action) error {
	_, err := c.ask(ctx, request{Verb: verbComponent, Machine: machineName, Component: component, Action: action})
	return err
}

// Swap runs another program in a component's place while the cluster lives, and
// returns when it serves; an empty change brings the usual one back.
func (c *Client) Swap(ctx context.Context, machineName, component string, change v1alpha1.Component) error {
	_, err := c.ask(ctx, request{Verb: verbSwap, Machine: machineName, Component: component, Change: &change})
	return err
}

// SetConnected plugs a machine into the fabric, or unplugs it.
func (c *Client) SetConnected(ctx context.Context, machineName string, connected bool) error {
	v := verbPartition
	if connected {
		v = verbHeal
	}
	_, err := c.ask(ctx, request{Verb: v, Machine: machineName})
	return err
}

// Kubeconfig is the path of the file that leads to the cluster.
func (c *Client) Kubeconfig() string {
	return filepath.Join(cluster.StateDirectory(c.name), cluster.KubeconfigFile)
}

// Outside is an address on a cluster's fabric that is neither a machine's nor a pod's.
type Outside struct {
	conn    *wire.Conn
	ns      *netns.Namespace
	address string
}

// Outside puts this process on the cluster's fabric, until Close.
func (c *Client) Outside() (*Outside, error) {
	conn, err := wire.Dial(socketOf(c.name))
	if err != nil {
		return nil, fmt.Errorf("the supervisor of cluster %q does not answer: %w", c.name, err)
	}
	var a answer
	var files []*os.File
	err = conn.Send(request{Verb: verbOutside})
	if err == nil {
		files, err = conn.Receive(&a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err == nil && len(files) != 1 {
		err = errors.New("the supervisor sent no network namespace")
	}
	if err != nil {
		wire.CloseAll(files)
		return nil, errors.Join(err, conn.Close())
	}
	return &Outside{conn: conn, ns: netns.FromFile(files[0]), address: a.Address}, nil
}

// Address is the address that connections come from.
func (o *Outside) Address() string { return o.address }

// DialContext connects from the outside address.
func (o *Outside) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return o.ns.DialContext(ctx, network, address)
}

// Close gives the address back.
func (o *Outside) Close() error { return errors.Join(o.ns.Close(), o.conn.Close()) }
