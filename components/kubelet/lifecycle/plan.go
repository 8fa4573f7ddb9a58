// Package lifecycle decides what is to be done next to bring a pod from what it is to
// what it should be. It only looks and computes; package worker acts.
// See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/.
package lifecycle

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/plumbline/plumbline/components/kubelet/allocation"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
)

// Health is what the probes say of a running container.
type Health struct {
	// Started means that it has started up: its postStart hook has ended and its
	// startup probe, if any, has succeeded.
	Started bool
	// Unhealthy names the probe that demands a restart: "liveness" or "startup".
	Unhealthy string
}

// Input is all that a decision depends on.
type Input struct {
	Pod   *v1.Pod
	State *runtime.Pod
	Now   time.Time
	// Health answers for a running container.
	Health func(*runtime.Container) Health
	// LastRestartCount answers for a container of which the runtime has nothing
	// left: how often it was restarted as far as the API server knows.
	LastRestartCount func(container string) (count int32, known bool)
	BackOff          *BackOff
	// Actuated answers what a running container was last given, if that is known.
	Actuated func(container string) (allocation.Amounts, bool)
	// Regroup says that the pod's group does not hold the pod to what it may use now.
	Regroup bool
	// Restarting says that a container was stopped only to be started anew, by another
	// definition or with other resources; nil means that none was.
	Restarting func(containerID string) bool
}

// returns says whether a container that ended was stopped only to be started again.
func (in *Input) returns(c *runtime.Container) bool {
	return in.Restarting != nil && in.Restarting(c.Id)
}

// Stop is a container to be stopped.
type Stop struct {
	Container *runtime.Container
	Spec      *v1.Container
	// Probe is the one that failed: "liveness", "startup" or "".
	Probe string
	// Anew says that it is stopped only to be started by another definition or with
	// other resources, whatever the pod's restart policy.
	Anew    bool
	Message string
}

// Resize is a running container to be given other resources.
type Resize struct {
	Container *runtime.Container
	Spec      *v1.Container
	From, To  allocation.Amounts
}

// Start is a container to be started.
type Start struct {
	Spec    *v1.Container
	Attempt uint32
	// Init marks init containers, sidecars included; Ephemeral the ephemeral ones.
	Init, Ephemeral bool
	// TargetName is the container that an ephemeral container looks into.
	TargetName string
	// Restart says that it ran before.
	Restart bool
}

// Held is a container that is not started yet, and why.
type Held struct {
	Name, Reason, Message string
}

// Plan is what to do now.
type Plan struct {
	// ReplaceSandbox means: stop all that is left of the pod before going on.
	ReplaceSandbox bool
	// CreateSandbox means that the pod needs a sandbox, the one with this attempt.
	CreateSandbox bool
	Attempt       uint32
	// Remove are containers that were made and never started.
	Remove []*runtime.Container
	Stop   []Stop
	// Resize are containers whose resources change while they run; Regroup says that
	// those of the pod as a whole change.
	Resize  []Resize
	Regroup bool
	Start   []Start
	Held    []Held
	// Again is how long until the next decision although nothing happens; 0 is never.
	Again time.Duration
}

// Empty says that there is nothing to do now.
func (p *Plan) Empty() bool {
	return !p.ReplaceSandbox && !p.CreateSandbox && !p.Regroup && len(p.Remove)+len(p.Stop)+len(p.Resize)+len(p.Start) == 0
}

// planner carries a plan while it is made.
type planner struct {
	Input
	plan    Plan
	sandbox *runtime.Sandbox
}

// Next decides.
func Next(in Input) Plan {
	p := &planner{Input: in}
	p.sandbox = in.State.Sandbox()
	if !usable(in.Pod, p.sandbox) {
		if p.sandbox == nil || p.wanted() {
			p.newSandbox()
		} else if in.State.Live() {
			p.plan.ReplaceSandbox = true
		}
		return p.plan
	}
	p.plan.Regroup = in.Regroup
	p.dropUnstarted()
	for i := range in.Pod.Spec.EphemeralContainers {
		p.ephemeral(&in.Pod.Spec.EphemeralContainers[i])
	}
	if p.initContainers() {
		for i := range in.Pod.Spec.Containers {
			p.regular(&in.Pod.Spec.Containers[i])
		}
	}
	return p.plan
}

// usable says whether containers can be started in a sandbox.
func usable(pod *v1.Pod, sandbox *runtime.Sandbox) bool {
	if sandbox == nil || !sandbox.Ready() {
		return false
	}
	if sandbox.HostNetwork() != pod.Spec.HostNetwork {
		return false
	}
	return pod.Spec.HostNetwork || len(sandbox.IPs()) > 0
}

// wanted says whether a pod that lost its sandbox has anything left to run.
func (p *planner) wanted() bool {
	if failed := p.failedInit(); failed {
		return false
	}
	for i := range p.Pod.Spec.Containers {
		c := &p.Pod.Spec.Containers[i]
		last := p.State.Container(c.Name)
		if last == nil || !last.Exited() || ShouldRestart(p.Pod, c, last.ExitCode) {
			// With policy Never a pod whose containers ran is not brought back.
			if last != nil && !last.Exited() && p.Pod.Spec.RestartPolicy == v1.RestartPolicyNever {
				continue
			}
			return true
		}
	}
	return false
}

func (p *planner) failedInit() bool {
	for i := range p.Pod.Spec.InitContainers {
		c := &p.Pod.Spec.InitContainers[i]
		last := p.State.Container(c.Name)
		if !IsSidecar(c) && last != nil && last.Exited() && last.ExitCode != 0 && !InitShouldRestart(p.Pod, c, last.ExitCode) {
			return true
		}
	}
	return false
}

func (p *planner) newSandbox() {
	p.plan.CreateSandbox = true
	if p.sandbox != nil {
		p.plan.ReplaceSandbox = p.State.Live() || p.sandbox.Ready()
		p.plan.Attempt = p.sandbox.GetMetadata().GetAttempt() + 1
	}
	if len(p.Pod.Spec.InitContainers) > 0 {
		p.start(&p.Pod.Spec.InitContainers[0], true)
		return
	}
	for i := range p.Pod.Spec.Containers {
		c := &p.Pod.Spec.Containers[i]
		if last := p.State.Container(c.Name); last != nil && last.Exited() && !ShouldRestart(p.Pod, c, last.ExitCode) {
			continue
		}
		p.start(c, false)
	}
}

// inSandbox is the newest container of a name, if it was made in the present sandbox.
func (p *planner) inSandbox(name string) *runtime.Container {
	if c := p.State.Container(name); c != nil && c.SandboxID == p.sandbox.Id {
		return c
	}
	return nil
}

// dropUnstarted plans to remove what an interrupted start left behind.
func (p *planner) dropUnstarted() {
	if p.State == nil {
		return
	}
	for _, c := range p.State.Containers {
		if !c.Running() && !c.Exited() {
			p.plan.Remove = append(p.plan.Remove, c)
		}
	}
}

// initContainers goes through the init containers in order, and says whether the
// regular ones may run.
func (p *planner) initContainers() bool {
	specs := p.Pod.Spec.InitContainers
	done := p.furthest()
	for i := range specs {
		c := &specs[i]
		have := p.inSandbox(c.Name)
		if IsSidecar(c) {
			started := p.sidecar(c, have)
			if i >= done && !started {
				return false
			}
			continue
		}
		switch {
		case i < done:
			// Something later has run already, so this one must have succeeded.
		case have == nil || p.unstarted(have):
			p.start(c, true)
			return false
		case have.Running():
			p.heed(c, have)
			return false
		case have.ExitCode != 0:
			if p.returns(have) || InitShouldRestart(p.Pod, c, have.ExitCode) {
				p.restart(c, have, true)
			}
			return false
		}
	}
	return true
}

// furthest is the index of the first init container after which nothing has been
// made in this sandbox yet; all of them if a regular container was.
func (p *planner) furthest() int {
	specs := p.Pod.Spec.InitContainers
	for i := range p.Pod.Spec.Containers {
		if have := p.inSandbox(p.Pod.Spec.Containers[i].Name); have != nil {
			return len(specs)
		}
	}
	for i := len(specs) - 1; i >= 0; i-- {
		if p.inSandbox(specs[i].Name) != nil {
			return i
		}
	}
	return 0
}

// sidecar plans for one sidecar and says whether it has started up.
func (p *planner) sidecar(c *v1.Container, have *runtime.Container) bool {
	switch {
	case have == nil || p.unstarted(have):
		p.start(c, true)
		return false
	case have.Running():
		return p.heed(c, have)
	}
	p.restart(c, have, true)
	return false
}

func (p *planner) regular(c *v1.Container) {
	have := p.inSandbox(c.Name)
	switch {
	case have == nil || p.unstarted(have):
		if last := p.State.Container(c.Name); last != nil && last.Exited() {
			// It ended with an earlier sandbox.
			if ShouldRestart(p.Pod, c, last.ExitCode) {
				p.restart(c, last, false)
			}
			return
		}
		p.start(c, false)
	case have.Running():
		p.heed(c, have)
	case p.returns(have) || ShouldRestart(p.Pod, c, have.ExitCode):
		p.restart(c, have, false)
	}
}

func (p *planner) unstarted(c *runtime.Container) bool { return !c.Running() && !c.Exited() }

// heed plans to stop a running container that is unhealthy or outdated, and says
// whether it has started up.
func (p *planner) heed(c *v1.Container, have *runtime.Container) bool {
	health := p.Health(have)
	switch {
	case have.SpecHash() != runtime.SpecHash(c):
		p.plan.Stop = append(p.plan.Stop, Stop{
			Container: have, Spec: c, Anew: true,
			Message: fmt.Sprintf("Container %s definition changed, will be restarted", c.Name),
		})
	case health.Unhealthy != "":
		p.plan.Stop = append(p.plan.Stop, Stop{
			Container: have, Spec: c, Probe: health.Unhealthy,
			Message: fmt.Sprintf("Container %s failed %s probe, will be restarted", c.Name, health.Unhealthy),
		})
	default:
		p.resize(c, have)
	}
	return health.Started
}

// resize plans to give a running container what it was promised since it was started.
func (p *planner) resize(c *v1.Container, have *runtime.Container) {
	if p.Actuated == nil {
		return
	}
	from, known := p.Actuated(c.Name)
	to := allocation.AmountsOf(p.Pod, c)
	switch {
	case !known || from == to:
	case allocation.NeedsRestart(c, from, to):
		p.plan.Stop = append(p.plan.Stop, Stop{
			Container: have, Spec: c, Anew: true,
			Message: fmt.Sprintf("Container %s resize requires restart", c.Name),
		})
	default:
		p.plan.Resize = append(p.plan.Resize, Resize{Container: have, Spec: c, From: from, To: to})
	}
}

func (p *planner) ephemeral(e *v1.EphemeralContainer) {
	if p.State.Container(e.Name) != nil {
		return
	}
	c := v1.Container(e.EphemeralContainerCommon)
	p.plan.Start = append(p.plan.Start, Start{Spec: &c, Ephemeral: true, TargetName: e.TargetContainerName})
}

// start plans the start of a container that does not have to wait.
func (p *planner) start(c *v1.Container, init bool) {
	s := Start{Spec: c, Init: init}
	if last := p.State.Container(c.Name); last != nil {
		s.Attempt = uint32(last.RestartCount())
		if !p.unstarted(last) {
			s.Attempt++
			s.Restart = true
		}
	} else if p.LastRestartCount != nil {
		if count, known := p.LastRestartCount(c.Name); known {
			s.Attempt, s.Restart = uint32(count)+1, true
		}
	}
	p.plan.Start = append(p.plan.Start, s)
}

// BackOffKey names a container's entry in the back-off; a changed container starts afresh.
func BackOffKey(c *v1.Container) string { return c.Name + "/" + runtime.SpecHash(c) }

// restart plans to start a container again when its back-off is over.
func (p *planner) restart(c *v1.Container, last *runtime.Container, init bool) {
	if p.returns(last) {
		p.plan.Start = append(p.plan.Start, Start{Spec: c, Attempt: uint32(last.RestartCount()) + 1, Init: init})
		return
	}
	left, length := p.BackOff.Left(BackOffKey(c), last.FinishedAtTime(), p.Now)
	if left > 0 {
		pod := p.Pod
		p.plan.Held = append(p.plan.Held, Held{
			Name: c.Name, Reason: "CrashLoopBackOff",
			Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", length, c.Name, pod.Name, pod.Namespace, pod.UID),
		})
		p.later(left)
		return
	}
	p.plan.Start = append(p.plan.Start, Start{Spec: c, Attempt: uint32(last.RestartCount()) + 1, Init: init, Restart: true})
}

func (p *planner) later(d time.Duration) {
	if p.plan.Again == 0 || d < p.plan.Again {
		p.plan.Again = d
	}
}
