// Package supervisor keeps a cluster alive after the command that started it has
// ended: one process per cluster owns it, and commands talk to that process over a
// socket in the cluster's state directory.
package supervisor

import (
	"path/filepath"
	"time"

	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/launch"
	"github.com/plumbline/plumbline/framework/machine"
)

func socketOf(name string) string {
	return filepath.Join(cluster.StateDirectory(name), "supervisor.sock")
}

// Order is what a new supervisor is told to boot.
type Order struct {
	Cluster *v1alpha1.Cluster `json:"cluster"`
	// Retain keeps a cluster that did not boot.
	Retain bool `json:"retain,omitempty"`
}

// Progress is what a supervisor says while it boots its cluster. One of its fields is set.
type Progress struct {
	// Step is something that is being built because the cache lacks it.
	Step string `json:"step,omitempty"`
	// Phase is a phase that was reached.
	Phase *cluster.Phase `json:"phase,omitempty"`
	// Done ends the boot, with an error or without.
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
}

type verb string

const (
	verbStatus     verb = "status"
	verbDown       verb = "down"
	verbExec       verb = "exec"
	verbAddNode    verb = "add-node"
	verbRemoveNode verb = "remove-node"
	verbKill       verb = "kill-machine"
	verbComponent  verb = "component"
	verbSwap       verb = "swap"
	verbPartition  verb = "partition"
	verbHeal       verb = "heal"
	verbOutside    verb = "outside"
)

// request is what a command asks of a supervisor, one a connection.
type request struct {
	Verb      verb              `json:"verb"`
	Machine   string            `json:"machine,omitempty"`
	Component string            `json:"component,omitempty"`
	Action    Action            `json:"action,omitempty"`
	Node      *v1alpha1.Machine `json:"node,omitempty"`
	// Change is what runs in a component's place.
	Change   *v1alpha1.Component `json:"change,omitempty"`
	Args     []string            `json:"args,omitempty"`
	Env      []string            `json:"env,omitempty"`
	Terminal bool                `json:"terminal,omitempty"`
}

// answer ends a request. Before the last one of an exec comes one with Started.
type answer struct {
	Error   string        `json:"error,omitempty"`
	Status  *Status       `json:"status,omitempty"`
	Started bool          `json:"started,omitempty"`
	Exit    *machine.Exit `json:"exit,omitempty"`
	// Address is the one that was lent.
	Address string `json:"address,omitempty"`
}

// Action is something that can be done to a component.
type Action string

// The actions on a component.
const (
	Kill   Action = "kill"
	Pause  Action = "pause"
	Resume Action = "resume"
	Stop   Action = "stop"
	Start  Action = "start"
)

// Status describes a running cluster.
type Status struct {
	Name       string          `json:"name"`
	PID        int             `json:"pid"`
	Since      time.Time       `json:"since"`
	Server     string          `json:"server"`
	Kubeconfig string          `json:"kubeconfig"`
	Phases     []cluster.Phase `json:"phases"`
	Machines   []MachineStatus `json:"machines"`
	// Hollow counts the hollow nodes; nil where there are none, or the API does not tell.
	Hollow *HollowStatus  `json:"hollow,omitempty"`
	Events []launch.Event `json:"events,omitempty"`
	// Troubles say what is wrong with it, as far as its owner can tell.
	Troubles []string `json:"troubles,omitempty"`
	// Failure is why the boot failed, of a cluster that was retained.
	Failure string `json:"failure,omitempty"`
}

// HollowStatus counts hollow nodes, which have no machines.
type HollowStatus struct {
	Ready int `json:"ready"`
	Nodes int `json:"nodes"`
}

// MachineStatus describes one machine.
type MachineStatus struct {
	Name       string            `json:"name"`
	Address    string            `json:"address"`
	Ready      string            `json:"ready,omitempty"`
	Components []ComponentStatus `json:"components"`
}

// ComponentStatus describes one component.
type ComponentStatus struct {
	Name     string         `json:"name"`
	State    string         `json:"state"`
	Restarts int            `json:"restarts"`
	PID      int            `json:"pid,omitempty"`
	Program  string         `json:"program,omitempty"`
	Log      string         `json:"log"`
	Memory   *machine.Usage `json:"memory,omitempty"`
}
