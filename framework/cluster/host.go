package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/fabric"
	"github.com/plumbline/plumbline/framework/launch"
	"github.com/plumbline/plumbline/framework/machine"
	"github.com/plumbline/plumbline/framework/machine/cgroup"
	"github.com/plumbline/plumbline/framework/pki"
)

// machinePlan is what a machine of the cluster is made from.
type machinePlan struct {
	spec    v1alpha1.Machine
	address netip.Addr
	files   map[string]string
}

// host is a machine of the cluster with its link and its components.
type host struct {
	cluster *Cluster
	plan    machinePlan
	machine *machine.Machine
	port    *fabric.Port
	// parts and components, by name, are covered by the cluster's mutex.
	parts      map[string]part
	components map[string]*launch.Running
}

// part is one component to start on a host.
type part struct {
	name string
	// program is the executable; empty means the cluster's own binary.
	program string
	args    []string
	env     []string
	ready   *launch.Probe
}

func limitsOf(r v1alpha1.Resources) machine.Limits {
	value := func(q *resource.Quantity) int64 {
		if q == nil {
			return 0
		}
		return q.Value()
	}
	limits := machine.Limits{Limits: cgroup.Limits{Memory: value(r.Memory), PIDs: value(r.PIDs)}, Disk: value(r.Disk)}
	if r.CPU != nil {
		limits.MilliCPU = r.CPU.MilliValue()
	}
	return limits
}

func (h *host) plug() error {
	var err error
	h.port, err = h.cluster.fabric.Attach(fabric.Attachment{Name: h.plan.spec.Name, Namespace: h.machine.Net(), Address: h.plan.address})
	return err
}

func (h *host) startAll(parts []part) error {
	for _, p := range parts {
		if err := h.start(p); err != nil {
			return err
		}
	}
	return nil
}

// start starts one component, as the cluster's description has it.
func (h *host) start(p part) error {
	c := h.cluster
	change := c.spec.Spec.Components[p.name]
	if change.Disabled {
		return nil
	}
	component, err := h.component(p, change)
	if err != nil {
		return err
	}
	running, err := launch.Start(component)
	if err != nil {
		return err
	}
	c.mu.Lock()
	h.parts[p.name], h.components[p.name] = p, running
	c.mu.Unlock()
	return nil
}

// component is a part with what is changed about it.
func (h *host) component(p part, change v1alpha1.Component) (launch.Component, error) {
	c := h.cluster
	component := launch.Component{
		Name:    p.name,
		Machine: h.machine,
		Args:    slices.Concat([]string{p.name}, p.args, change.Args),
		Env:     environment(machine.DefaultEnv(), p.env, change.Env),
		Program: p.program,
		Ready:   p.ready,
		Observe: c.observe,
	}
	if component.Program == "" {
		component.Program = c.options.binary
		if change.Program == "" {
			component.Env = environment(machine.DefaultEnv(), collectLater, p.env, change.Env)
		}
	}
	if change.Program != "" {
		component.Program = change.Program
		return component, nil
	}
	if function := c.options.functions[p.name]; function != nil {
		component.Function = function
		var err error
		component.Args, err = h.hostView(component.Args)
		return component, err
	}
	return component, nil
}

// collectLater leaves it to our own components when to collect garbage. By default Go
// begins before a program's main function does, and in vain.
var collectLater = []string{"GOGC=off"}

// environment joins settings; of a variable that is set twice the last one counts.
func environment(lists ...[]string) []string {
	var joined []string
	place := map[string]int{}
	for _, setting := range slices.Concat(lists...) {
		name, _, _ := strings.Cut(setting, "=")
		if i, ok := place[name]; ok {
			joined[i] = setting
			continue
		}
		place[name] = len(joined)
		joined = append(joined, setting)
	}
	return joined
}

// hostView rewrites a command line for a component that runs in the harness's
// process: files where the host sees them, and the API where the host reaches it.
func (h *host) hostView(args []string) ([]string, error) {
	seen := slices.Clone(args)
	for i, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || !strings.HasPrefix(value, "/etc/kubernetes/") {
			continue
		}
		path := h.machine.HostPath(value)
		if strings.HasSuffix(value, ".conf") {
			pair, err := h.cluster.credentials.ca.Client(userOf(value), "system:masters")
			if err != nil {
				return nil, err
			}
			data, err := pki.Kubeconfig("cluster", h.cluster.hostServer(), h.cluster.credentials.ca.Cert, pki.Identity{User: userOf(value), Pair: pair})
			if err != nil {
				return nil, err
			}
			path = filepath.Join(h.cluster.state.dir, "host-"+filepath.Base(value))
			if err := writePrivate(path, data); err != nil {
				return nil, err
			}
		}
		seen[i] = name + "=" + path
	}
	return seen, nil
}

// userOf is the user of a kubeconfig of the control plane.
func userOf(conf string) string {
	return "system:kube-" + strings.TrimSuffix(filepath.Base(conf), ".conf")
}

// stop ends the machine with everything on it.
func (h *host) stop() error {
	var errs []error
	if h.port != nil {
		errs = append(errs, h.port.Detach())
	}
	if h.machine != nil {
		errs = append(errs, h.machine.Stop())
	}
	h.cluster.mu.Lock()
	components := h.components
	h.components = map[string]*launch.Running{}
	h.cluster.mu.Unlock()
	for _, running := range components {
		errs = append(errs, running.Stop(context.Background()))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("machine %s: %w", h.plan.spec.Name, err)
	}
	return nil
}

func joinStop(err error, h *host) error { return errors.Join(err, h.stop()) }
