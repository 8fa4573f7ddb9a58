// Package cluster boots real Kubernetes clusters out of machines, a fabric and
// components, on one host, and takes them down again. In a test:
//
//	c, err := cluster.New(t.Context(), v1alpha1.New("demo", 2))
//	if err != nil {
//		t.Fatal(err)
//	}
//	defer c.Down()
//	pods, err := c.Client().CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
//
// The process that calls New is the cluster's owner: when it dies, however it dies,
// the kernel ends every machine.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/fabric"
	"github.com/plumbline/plumbline/framework/launch"
	"github.com/plumbline/plumbline/framework/machine"
	"github.com/plumbline/plumbline/framework/machine/cgroup"
	"github.com/plumbline/plumbline/framework/pki"
	"github.com/plumbline/plumbline/framework/runtime"
)

// KubeconfigFile and DescriptionFile are in the cluster's state directory.
const (
	KubeconfigFile  = "kubeconfig"
	DescriptionFile = "cluster.json"
)

// Cluster is a running cluster.
type Cluster struct {
	spec        *v1alpha1.Cluster
	options     *options
	state       *state
	addresses   addresses
	credentials *credentials
	fabric      *fabric.Fabric
	forward     *fabric.Forward
	registry    *imageRegistry
	kubeconfig  []byte
	rest        *rest.Config
	client      *kubernetes.Clientset
	begun       time.Time
	images      runtime.Additions
	assets      func(context.Context) (runtime.Assets, error)
	// failed gets the reason why the boot cannot succeed.
	failed chan error

	mu      sync.Mutex
	hosts   map[string]*host
	nodes   uint32
	clients uint32
	phases  []Phase
	events  []launch.Event
	mishaps map[string]mishap
	down    bool
}

// New boots a cluster and returns when its API answers and all nodes are Ready.
// Without a description it has two nodes and the name "default".
func New(ctx context.Context, description *v1alpha1.Cluster, list ...Option) (*Cluster, error) {
	begun := time.Now()
	if os.Getuid() != 0 {
		return nil, errors.New("a cluster needs root, to make namespaces and control groups: run it with sudo, or in a virtual machine")
	}
	if description == nil {
		description = v1alpha1.New("", 2)
	}
	description.Default()
	if err := description.Validate(); err != nil {
		return nil, err
	}
	o, err := newOptions(list)
	if err != nil {
		return nil, err
	}
	more, err := additions(description.Spec.Images, o.sets)
	if err != nil {
		return nil, err
	}
	if err := raiseWatchLimit(); err != nil {
		return nil, err
	}
	if len(description.Spec.Nodes) > 0 {
		if err := packetFilter(); err != nil {
			return nil, remedied(err)
		}
	}
	if _, err := Sweep(); err != nil {
		return nil, fmt.Errorf("sweep leftovers: %w", err)
	}
	c := &Cluster{spec: description, options: o, images: more, begun: begun, hosts: map[string]*host{}, mishaps: map[string]mishap{}, failed: make(chan error, 1)}
	if c.state, err = claim(description.Metadata.Name); err != nil {
		return nil, remedied(err)
	}
	if err := c.boot(ctx); err != nil {
		err = fmt.Errorf("cluster %q: %w", description.Metadata.Name, remedied(err))
		if o.retain {
			return c, err
		}
		return nil, errors.Join(err, c.Down())
	}
	return c, nil
}

// boot starts everything there is at once. Components wait for each other by
// themselves, so the order is theirs.
func (c *Cluster) boot(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func(ended <-chan struct{}) {
		select {
		case err := <-c.failed:
			cancel(err)
		case <-ended:
		}
	}(ctx.Done())
	if err := c.prepare(ctx); err != nil {
		return err
	}
	group, started := errgroup.WithContext(ctx)
	group.Go(func() error { return c.startControlPlane(started) })
	for i, node := range c.spec.Spec.Nodes {
		group.Go(func() error { return c.startNode(started, node, uint32(i)) })
	}
	c.nodes = uint32(len(c.spec.Spec.Nodes))
	if err := group.Wait(); err != nil {
		return c.because(ctx, err)
	}
	c.reach("machines", "machines up, components started")
	ctx, limit := context.WithTimeout(ctx, bootTimeout()+hollowTimeout(c.hollowCount()))
	defer limit()
	if err := c.Component(v1alpha1.ControlPlaneName, APIServer).WaitReady(ctx); err != nil {
		return c.because(ctx, err)
	}
	c.reach("api", "API answering")
	for _, name := range c.Machines() {
		if err := c.Machine(name).SetWeight(cgroup.UsualWeight); err != nil {
			return err
		}
	}
	var names []string
	for _, node := range c.spec.Spec.Nodes {
		names = append(names, node.Name)
	}
	// Installed while the nodes get ready, so that its pods are waiting for them.
	group, installing := errgroup.WithContext(ctx)
	group.Go(func() error { return c.installAddons(installing) })
	group.Go(func() error {
		err := c.WaitNodesReady(installing, names...)
		text := fmt.Sprintf("%d nodes Ready", len(names))
		if count := c.hollowCount(); err == nil && count > 0 {
			err = c.WaitHollowReady(installing, count)
			text = fmt.Sprintf("%d nodes and %d hollow ones Ready", len(names), count)
		}
		if err == nil {
			c.reach("nodes", text)
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return c.because(ctx, err)
	}
	return nil
}

// because prefers the reason why a context ended to the fact that it did.
func (c *Cluster) because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w\n%s", err, c.troubles())
	}
	return err
}

func (c *Cluster) prepare(ctx context.Context) (err error) {
	// The assets are gathered while the control plane starts.
	c.assets = c.gather(ctx)
	if c.addresses, err = plan(c.spec.Spec.Network); err != nil {
		return err
	}
	if c.credentials, err = newCredentials(); err != nil {
		return fmt.Errorf("keys and certificates: %w", err)
	}
	if c.fabric, err = fabric.New(c.addresses.fabric); err != nil {
		return err
	}
	if c.registry, err = serveImages(ctx, c.fabric, c.assets); err != nil {
		return err
	}
	target := netip.AddrPortFrom(c.addresses.controlPlane, apiPort).String()
	if c.forward, err = fabric.NewForward(0, target, c.fabric.DialContext); err != nil {
		return err
	}
	who := pki.Identity{User: adminUser, Pair: c.credentials.admin}
	if c.kubeconfig, err = pki.Kubeconfig("plumb-"+c.Name(), c.hostServer(), c.credentials.ca.Cert, who); err != nil {
		return err
	}
	if c.rest, err = clientcmd.RESTConfigFromKubeConfig(c.kubeconfig); err != nil {
		return err
	}
	c.rest.QPS = -1
	if c.client, err = kubernetes.NewForConfig(c.protobufConfig()); err != nil {
		return err
	}
	if err := writePrivate(filepath.Join(c.state.dir, KubeconfigFile), c.kubeconfig); err != nil {
		return err
	}
	data, err := json.MarshalIndent(c.spec, "", "  ")
	if err != nil {
		return err
	}
	return writePrivate(filepath.Join(c.state.dir, DescriptionFile), data)
}

func (c *Cluster) protobufConfig() *rest.Config {
	config := rest.CopyConfig(c.rest)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	return config
}

// gather starts to collect what every node needs from the cache, building what it
// lacks, and returns a function that waits for the result.
func (c *Cluster) gather(ctx context.Context) func(context.Context) (runtime.Assets, error) {
	if len(c.spec.Spec.Nodes) == 0 {
		return func(ctx context.Context) (runtime.Assets, error) { return runtime.Build(ctx, c.images, c.options.step) }
	}
	var assets runtime.Assets
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		assets, err = runtime.Build(ctx, c.images, c.options.step)
	}()
	return func(ctx context.Context) (runtime.Assets, error) {
		select {
		case <-done:
			return assets, err
		case <-ctx.Done():
			return runtime.Assets{}, ctx.Err()
		}
	}
}

// hostServer is where the host reaches the API.
func (c *Cluster) hostServer() string { return "https://" + c.forward.Address() }

func (c *Cluster) reach(name, text string) {
	phase := Phase{Name: name, Text: text, After: time.Since(c.begun)}
	c.mu.Lock()
	c.phases = append(c.phases, phase)
	c.mu.Unlock()
	if c.options.progress != nil {
		c.options.progress(phase)
	}
}

// reached reports whether a phase of the boot is complete.
func (c *Cluster) reached(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.phases, func(p Phase) bool { return p.Name == name })
}

// Name is the cluster's name.
func (c *Cluster) Name() string { return c.spec.Metadata.Name }

// Description is what the cluster was made from, with defaults filled in.
func (c *Cluster) Description() *v1alpha1.Cluster { return c.spec }

// Phases are the phases of the boot that were reached.
func (c *Cluster) Phases() []Phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.phases)
}

// Directory is where the cluster keeps its state.
func (c *Cluster) Directory() string { return c.state.dir }

// Kubeconfig leads to the cluster from the host, as an administrator.
func (c *Cluster) Kubeconfig() []byte { return slices.Clone(c.kubeconfig) }

// RestConfig leads to the cluster from the host, as an administrator. Requests are
// not throttled.
func (c *Cluster) RestConfig() *rest.Config { return rest.CopyConfig(c.rest) }

// Client talks to the cluster as an administrator.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// Machine is a machine of the cluster by name, or nil.
func (c *Cluster) Machine(name string) *machine.Machine {
	if h := c.host(name); h != nil {
		return h.machine
	}
	return nil
}

// Port is a machine's link to the fabric by the machine's name, or nil.
func (c *Cluster) Port(name string) *fabric.Port {
	if h := c.host(name); h != nil {
		return h.port
	}
	return nil
}

// Component is a component by its machine and name, or nil.
func (c *Cluster) Component(machine, name string) *launch.Running {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hosts[machine]; h != nil {
		return h.components[name]
	}
	return nil
}

// Components are all components by machine and name, in a fixed order.
func (c *Cluster) Components() []*launch.Running {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*launch.Running
	for _, machine := range slices.Sorted(maps.Keys(c.hosts)) {
		components := c.hosts[machine].components
		for _, name := range slices.Sorted(maps.Keys(components)) {
			all = append(all, components[name])
		}
	}
	return all
}

// Machines are the names of all machines.
func (c *Cluster) Machines() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.hosts))
}

func (c *Cluster) host(name string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[name]
}

// NewClient puts somebody on the cluster's fabric who is not a machine of it: an
// outside address that reaches the nodes, and Services by way of the first node
// that is up.
func (c *Cluster) NewClient() (*fabric.Client, error) {
	c.mu.Lock()
	c.clients++
	number := c.clients
	var routes []fabric.Route
	for _, name := range slices.Sorted(maps.Keys(c.hosts)) {
		if h := c.hosts[name]; name != v1alpha1.ControlPlaneName {
			routes = append(routes, fabric.Route{To: c.addresses.services, Via: h.plan.address})
			break
		}
	}
	c.mu.Unlock()
	return c.fabric.NewClient(fmt.Sprintf("client-%d", number), place(c.addresses.fabric, firstClientPlace+number), routes...)
}

// Down ends the cluster and removes everything of it.
func (c *Cluster) Down() error {
	c.mu.Lock()
	if c.down {
		c.mu.Unlock()
		return nil
	}
	c.down = true
	hosts := slices.Collect(maps.Values(c.hosts))
	c.mu.Unlock()
	var group errgroup.Group
	var errs []error
	for _, h := range hosts {
		group.Go(h.stop)
	}
	errs = append(errs, group.Wait())
	if c.client != nil {
		if rest, ok := c.client.CoreV1().RESTClient().(*rest.RESTClient); ok {
			rest.Client.CloseIdleConnections()
		}
	}
	if c.registry != nil {
		errs = append(errs, c.registry.close())
	}
	if c.forward != nil {
		errs = append(errs, c.forward.Close())
	}
	if c.fabric != nil {
		errs = append(errs, c.fabric.Close())
	}
	return errors.Join(append(errs, c.state.release())...)
}

func writePrivate(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
