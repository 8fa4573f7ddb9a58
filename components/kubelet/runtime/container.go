package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/plumbline/plumbline/components/kubelet/qos"
)

// ContainerRequest is what is particular to one container.
type ContainerRequest struct {
	Pod       *v1.Pod
	Container *v1.Container
	Attempt   uint32
	// Image is the image as the runtime knows it.
	Image *runtimeapi.Image
	// Command and Args are the container's, with variables expanded.
	Command, Args []string
	Env           []*runtimeapi.KeyValue
	Mounts        []*runtimeapi.Mount
	// TargetID is the container whose processes an ephemeral container sees.
	TargetID string
	// UserNS is the pod's user namespace, if it has one of its own.
	UserNS *runtimeapi.UserNamespace
}

// ConfigError is a fault of the pod's own making: the container cannot be
// configured until the pod or what it refers to changes (CreateContainerConfigError).
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// LogPath is the file of one run of a container, relative to the pod's log directory.
func LogPath(container string, attempt uint32) string {
	return filepath.Join(container, strconv.FormatUint(uint64(attempt), 10)+".log")
}

// Container is the configuration of a container. It makes the container's log directory.
func (b *Builder) Container(r ContainerRequest) (*runtimeapi.ContainerConfig, error) {
	security, err := b.security(r)
	if err != nil {
		return nil, &ConfigError{Err: err}
	}
	logPath := LogPath(r.Container.Name, r.Attempt)
	logDir := filepath.Join(b.PodLogsDir(r.Pod.Namespace, r.Pod.Name, string(r.Pod.UID)), filepath.Dir(logPath))
	if err := os.MkdirAll(logDir, 0o755); err != nil {
		return nil, fmt.Errorf("create container log directory for container %s failed: %w", r.Container.Name, err)
	}
	c := r.Container
	config := &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: r.Attempt},
		Image:       &runtimeapi.ImageSpec{Image: r.Image.GetId(), UserSpecifiedImage: c.Image},
		Command:     r.Command,
		Args:        r.Args,
		WorkingDir:  c.WorkingDir,
		Envs:        r.Env,
		Mounts:      r.Mounts,
		Labels:      containerLabels(r.Pod, c),
		Annotations: containerAnnotations(r.Pod, c, r.Attempt),
		LogPath:     logPath,
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources:       b.ContainerResources(r.Pod, c),
			SecurityContext: security,
		},
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		config.StopSignal = criSignal(*c.Lifecycle.StopSignal)
	}
	if r.UserNS != nil {
		for _, m := range config.Mounts {
			m.UidMappings, m.GidMappings = r.UserNS.Uids, r.UserNS.Gids
		}
	}
	return config, nil
}

func criSignal(name v1.Signal) runtimeapi.Signal {
	if n, ok := runtimeapi.Signal_value["SIGNAL_"+strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(string(name))]; ok {
		return runtimeapi.Signal(n)
	}
	return runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT
}

// ContainerResources is what the container may use, in the kernel's terms.
func (b *Builder) ContainerResources(pod *v1.Pod, c *v1.Container) *runtimeapi.LinuxContainerResources {
	limitCPU, limitMemory := c.Resources.Limits.Cpu(), c.Resources.Limits.Memory()
	if pod.Spec.Resources != nil {
		// A container without a limit of its own may use up to the pod's.
		limitCPU = qos.Or(limitCPU, pod.Spec.Resources.Limits.Cpu())
		limitMemory = qos.Or(limitMemory, pod.Spec.Resources.Limits.Memory())
	}
	request := limitCPU
	if asked, ok := c.Resources.Requests[v1.ResourceCPU]; ok {
		request = &asked
	}
	out := b.linuxResources(request.MilliValue(), limitCPU.MilliValue(), limitMemory.Value())
	out.OomScoreAdj = qos.OOMScoreAdjust(pod, c, b.MemoryCapacity)
	for name, quantity := range c.Resources.Limits {
		if size, ok := strings.CutPrefix(string(name), v1.ResourceHugePagesPrefix); ok {
			out.HugepageLimits = append(out.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: size + "B", Limit: uint64(quantity.Value())})
		}
	}
	if b.Unified && !b.SingleProcessOOMKill {
		// One container's memory trouble is that of all its processes.
		out.Unified = map[string]string{"memory.oom.group": "1"}
	}
	return out
}

func (b *Builder) linuxResources(milliRequest, milliLimit, memoryLimit int64) *runtimeapi.LinuxContainerResources {
	out := &runtimeapi.LinuxContainerResources{
		CpuShares:          int64(qos.Shares(milliRequest)),
		MemoryLimitInBytes: memoryLimit,
	}
	if b.CFSQuota {
		out.CpuPeriod = b.CFSPeriodMicros
		out.CpuQuota = qos.Quota(milliLimit, b.CFSPeriodMicros)
	}
	return out
}
