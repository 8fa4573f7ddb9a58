// Package runtime is the kubelet's view of, and hand on, the container runtime: it
// observes the sandboxes and containers of every pod, and turns pod specs into CRI
// requests.
package runtime

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

// Container is one container that exists in the runtime, running or not.
type Container struct {
	*runtimeapi.ContainerStatus
	// SandboxID is the sandbox it was made in.
	SandboxID string
	seen      time.Time
}

// Name is the container's name in the pod spec.
func (c *Container) Name() string { return c.GetLabels()[kubelettypes.KubernetesContainerNameLabel] }

// Running says whether its process runs.
func (c *Container) Running() bool { return c.State == runtimeapi.ContainerState_CONTAINER_RUNNING }

// Exited says whether its process ended.
func (c *Container) Exited() bool { return c.State == runtimeapi.ContainerState_CONTAINER_EXITED }

// SpecHash is the hash of the spec it was made from.
func (c *Container) SpecHash() string { return c.GetAnnotations()[annotationHash] }

// RestartCount says how often a container of this name was started before.
func (c *Container) RestartCount() int32 {
	n, err := strconv.ParseInt(c.GetAnnotations()[annotationRestartCount], 10, 32)
	if err != nil {
		return int32(c.GetMetadata().GetAttempt())
	}
	return int32(n)
}

// StartedAtTime is when its process started; zero if it never did.
func (c *Container) StartedAtTime() time.Time { return fromNanos(c.StartedAt) }

// FinishedAtTime is when its process ended; zero if it has not.
func (c *Container) FinishedAtTime() time.Time { return fromNanos(c.FinishedAt) }

// CreatedAtTime is when it was made.
func (c *Container) CreatedAtTime() time.Time { return fromNanos(c.CreatedAt) }

// TerminationGrace is the grace period of the pod it was made for, as noted on the
// container; for containers whose pod is no longer known.
func (c *Container) TerminationGrace() (seconds int64, known bool) {
	for _, key := range []string{annotationPodDeletionGrace, annotationPodTerminationGrace} {
		if n, err := strconv.ParseInt(c.GetAnnotations()[key], 10, 64); err == nil {
			return n, true
		}
	}
	return 0, false
}

// PreStop is the hook noted on the container; for containers whose pod is no longer known.
func (c *Container) PreStop() *v1.LifecycleHandler {
	handler := &v1.LifecycleHandler{}
	if json.Unmarshal([]byte(c.GetAnnotations()[annotationPreStop]), handler) != nil {
		return nil
	}
	return handler
}

// TerminationMessage says where the container leaves its last words on this host
// ("" if nowhere), and what to do if it left none.
func (c *Container) TerminationMessage() (path string, policy v1.TerminationMessagePolicy) {
	inContainer := c.GetAnnotations()[annotationTerminationMessagePath]
	policy = v1.TerminationMessagePolicy(c.GetAnnotations()[annotationTerminationMessagePolicy])
	for _, mount := range c.GetMounts() {
		if inContainer != "" && mount.ContainerPath == inContainer {
			return mount.HostPath, policy
		}
	}
	return "", policy
}

// Sandbox is one pod sandbox that exists in the runtime.
type Sandbox struct {
	*runtimeapi.PodSandboxStatus
	seen time.Time
}

// Ready says whether containers can run in it.
func (s *Sandbox) Ready() bool { return s.State == runtimeapi.PodSandboxState_SANDBOX_READY }

// HostNetwork says whether it has no network of its own.
func (s *Sandbox) HostNetwork() bool {
	return s.GetLinux().GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE
}

// IPs are the sandbox's addresses, the primary one first.
func (s *Sandbox) IPs() []string {
	if s.GetNetwork().GetIp() == "" {
		return nil
	}
	ips := []string{s.Network.Ip}
	for _, more := range s.Network.AdditionalIps {
		ips = append(ips, more.Ip)
	}
	return ips
}

// Pod is what exists of one pod in the runtime. It is immutable: each observation
// makes a new one.
type Pod struct {
	UID             types.UID
	Namespace, Name string
	// Sandboxes and Containers are sorted, the newest first.
	Sandboxes  []*Sandbox
	Containers []*Container
}

// Sandbox is the newest sandbox, or nil.
func (p *Pod) Sandbox() *Sandbox {
	if p == nil || len(p.Sandboxes) == 0 {
		return nil
	}
	return p.Sandboxes[0]
}

// Container is the newest container of a name, or nil.
func (p *Pod) Container(name string) *Container {
	if p == nil {
		return nil
	}
	for _, c := range p.Containers {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// Previous is the newest container of a name that ended before the newest one began, or nil.
func (p *Pod) Previous(name string) *Container {
	if p == nil {
		return nil
	}
	found := false
	for _, c := range p.Containers {
		if c.Name() != name {
			continue
		}
		if found {
			return c
		}
		found = true
	}
	return nil
}

// Live says whether anything of the pod still runs.
func (p *Pod) Live() bool {
	return p != nil && (slices.ContainsFunc(p.Containers, (*Container).Running) || slices.ContainsFunc(p.Sandboxes, (*Sandbox).Ready))
}

// RunningContainers are those whose process runs.
func (p *Pod) RunningContainers() []*Container {
	if p == nil {
		return nil
	}
	var out []*Container
	for _, c := range p.Containers {
		if c.Running() {
			out = append(out, c)
		}
	}
	return out
}

func (p *Pod) clone() *Pod {
	next := *p
	next.Sandboxes = slices.Clone(p.Sandboxes)
	next.Containers = slices.Clone(p.Containers)
	return &next
}

func (p *Pod) sort() {
	slices.SortStableFunc(p.Sandboxes, func(a, b *Sandbox) int { return int(sign(b.CreatedAt - a.CreatedAt)) })
	slices.SortStableFunc(p.Containers, func(a, b *Container) int { return int(sign(b.CreatedAt - a.CreatedAt)) })
}

func sign(n int64) int64 {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func fromNanos(nanos int64) time.Time {
	if nanos <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}

// Masked returns the pod with some of its running containers shown as created only.
func (p *Pod) Masked(hide func(*Container) bool) *Pod {
	next := p.clone()
	for i, c := range next.Containers {
		if c.Running() && hide(c) {
			shown := proto.Clone(c.ContainerStatus).(*runtimeapi.ContainerStatus)
			shown.State = runtimeapi.ContainerState_CONTAINER_CREATED
			next.Containers[i] = &Container{ContainerStatus: shown, SandboxID: c.SandboxID, seen: c.seen}
		}
	}
	return next
}
