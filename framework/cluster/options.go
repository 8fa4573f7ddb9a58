package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/plumbline/plumbline/framework/images"
	"github.com/plumbline/plumbline/framework/launch"
	"github.com/plumbline/plumbline/framework/machine"
)

// BinaryVariable names the environment variable that says where the plumb binary is.
const BinaryVariable = "PLUMB_BINARY"

// Option changes how a cluster is run, as opposed to what it is made of.
type Option func(*options)

type options struct {
	binary    string
	init      string
	functions map[string]launch.Function
	progress  func(Phase)
	events    func(launch.Event)
	step      func(string)
	retain    bool
	sets      []images.Set
}

// WithBinary says where the plumb binary is, which provides the machines' init
// process and the components. Without it PLUMB_BINARY, then bin/plumb above the
// working directory, then the PATH is looked through.
func WithBinary(path string) Option { return func(o *options) { o.binary = path } }

// WithFunction runs a component of the control plane as a Go function in this
// process, under its debugger, instead of as a program. It is on the host's network
// and reaches the API as the host does.
func WithFunction(component string, f launch.Function) Option {
	return func(o *options) {
		if o.functions == nil {
			o.functions = map[string]launch.Function{}
		}
		o.functions[component] = f
	}
}

// WithProgress is told of each phase of the boot as it is reached.
func WithProgress(f func(Phase)) Option { return func(o *options) { o.progress = f } }

// WithSteps is told of what must be built before the boot, where a cache lacks it.
func WithSteps(f func(string)) Option { return func(o *options) { o.step = f } }

// WithEvents is told of everything that happens to components.
func WithEvents(f func(launch.Event)) Option { return func(o *options) { o.events = f } }

// WithRetain keeps a cluster that did not boot, for inspection.
func WithRetain() Option { return func(o *options) { o.retain = true } }

// WithImageSets makes sets of images known, by whose names the cluster's description
// asks for them.
func WithImageSets(sets ...images.Set) Option {
	return func(o *options) { o.sets = append(o.sets, sets...) }
}

// Phase is a step of the boot that is complete.
type Phase struct {
	// Name is "machines", "api" or "nodes".
	Name string `json:"name"`
	// Text says it in words.
	Text string `json:"text"`
	// After is the time since the boot began.
	After time.Duration `json:"after"`
}

func newOptions(list []Option) (*options, error) {
	o := &options{}
	for _, option := range list {
		option(o)
	}
	for name := range o.functions {
		if name != Scheduler && name != ControllerManager {
			return nil, fmt.Errorf("component %s cannot be a Go function: only %s and %s work from outside their machine", name, Scheduler, ControllerManager)
		}
	}
	if o.binary == "" {
		var err error
		if o.binary, err = findBinary(); err != nil {
			return nil, err
		}
	}
	o.init = initBeside(o.binary)
	return o, nil
}

// initBeside is the small init program beside the binary, or else the binary itself.
func initBeside(binary string) string {
	path, err := filepath.EvalSymlinks(binary)
	if err != nil {
		return binary
	}
	small := filepath.Join(filepath.Dir(path), machine.InitName)
	if info, err := os.Stat(small); err != nil || !info.Mode().IsRegular() {
		return binary
	}
	return small
}

// ProgramName is the file name of the binary that holds all components.
const ProgramName = "plumb"

// findBinary looks for the plumb binary where a checkout or an installation has it.
func findBinary() (string, error) {
	if path := os.Getenv(BinaryVariable); path != "" {
		return path, nil
	}
	if own, err := os.Executable(); err == nil && filepath.Base(own) == ProgramName {
		return own, nil
	}
	dir, err := os.Getwd()
	for ; err == nil && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		path := filepath.Join(dir, "bin", ProgramName)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	if path, err := exec.LookPath(ProgramName); err == nil {
		return path, nil
	}
	return "", errors.New("the plumb binary was not found: build it with make build, or set " + BinaryVariable + " to its path")
}

// RunIfInit is machine.RunIfInit: for programs that are the binary given by WithBinary themselves.
func RunIfInit() { machine.RunIfInit() }
