package runtime

import (
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/plumbline/plumbline/components/kubelet/qos"
)

// Builder turns pods into CRI configurations. It holds what is the same for all
// pods of the node.
type Builder struct {
	// LogsDir is the root of the container logs, /var/log/pods.
	LogsDir string
	// SeccompDir holds Localhost seccomp profiles.
	SeccompDir string
	// SeccompDefault gives containers that ask for none the runtime's profile.
	SeccompDefault bool
	// SandboxProfile is the path of the seccomp profile of the sandboxes' own processes;
	// empty means the runtime's.
	SandboxProfile string
	// CFSQuota and CFSPeriodMicros say whether and how CPU limits are enforced.
	CFSQuota        bool
	CFSPeriodMicros int64
	// MemoryCapacity is the node's.
	MemoryCapacity int64
	// SingleProcessOOMKill lets the kernel kill one process of a container that ran
	// out of memory, not all of them (cgroup v2).
	SingleProcessOOMKill bool
	// Unified says that the machine has cgroup v2.
	Unified bool
}

// SandboxRequest is what is particular to one sandbox.
type SandboxRequest struct {
	Pod          *v1.Pod
	Attempt      uint32
	Hostname     string
	DNS          *runtimeapi.DNSConfig
	CgroupParent string
	Sysctls      map[string]string
	UserNS       *runtimeapi.UserNamespace
}

// PodLogsDir is the directory of a pod's logs.
func (b *Builder) PodLogsDir(namespace, name, uid string) string {
	return filepath.Join(b.LogsDir, strings.Join([]string{namespace, name, uid}, "_"))
}

// Sandbox is the configuration of a pod's sandbox.
func (b *Builder) Sandbox(r SandboxRequest) *runtimeapi.PodSandboxConfig {
	pod := r.Pod
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{
			Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: r.Attempt,
		},
		Hostname:     r.Hostname,
		LogDirectory: b.PodLogsDir(pod.Namespace, pod.Name, string(pod.UID)),
		DnsConfig:    r.DNS,
		PortMappings: portMappings(pod),
		Labels:       sandboxLabels(pod),
		Annotations:  pod.Annotations,
	}
	security := &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: namespaceOptions(pod, r.UserNS),
		Privileged:       anyPrivileged(pod),
		Seccomp:          b.sandboxSeccomp(),
	}
	sysctls := r.Sysctls
	if sc := pod.Spec.SecurityContext; sc != nil {
		security.RunAsUser = int64Value(sc.RunAsUser)
		security.RunAsGroup = int64Value(sc.RunAsGroup)
		security.SupplementalGroups, security.SupplementalGroupsPolicy = supplementalGroups(sc)
		security.SelinuxOptions = selinux(sc.SELinuxOptions)
		if len(sc.Sysctls) > 0 {
			merged := make(map[string]string, len(sysctls)+len(sc.Sysctls))
			for k, v := range sysctls {
				merged[k] = v
			}
			for _, s := range sc.Sysctls {
				merged[s.Name] = s.Value
			}
			sysctls = merged
		}
	}
	config.Linux = &runtimeapi.LinuxPodSandboxConfig{
		CgroupParent:    r.CgroupParent,
		SecurityContext: security,
		Sysctls:         sysctls,
		Resources:       b.podResources(pod),
		Overhead:        b.overhead(pod),
	}
	return config
}

func (b *Builder) sandboxSeccomp() *runtimeapi.SecurityProfile {
	if b.SandboxProfile == "" {
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: b.SandboxProfile}
}

func (b *Builder) podResources(pod *v1.Pod) *runtimeapi.LinuxContainerResources {
	options := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
	requests, limits := resourcehelper.PodRequests(pod, options), resourcehelper.PodLimits(pod, options)
	return b.linuxResources(qos.Or(requests.Cpu(), limits.Cpu()).MilliValue(), limits.Cpu().MilliValue(), limits.Memory().Value())
}

func (b *Builder) overhead(pod *v1.Pod) *runtimeapi.LinuxContainerResources {
	if pod.Spec.Overhead == nil {
		return &runtimeapi.LinuxContainerResources{}
	}
	cpu := pod.Spec.Overhead.Cpu().MilliValue()
	return b.linuxResources(cpu, cpu, pod.Spec.Overhead.Memory().Value())
}

func portMappings(pod *v1.Pod) []*runtimeapi.PortMapping {
	var out []*runtimeapi.PortMapping
	for _, c := range allLongRunning(pod) {
		for _, port := range c.Ports {
			protocol := runtimeapi.Protocol_TCP
			switch port.Protocol {
			case v1.ProtocolUDP:
				protocol = runtimeapi.Protocol_UDP
			case v1.ProtocolSCTP:
				protocol = runtimeapi.Protocol_SCTP
			}
			out = append(out, &runtimeapi.PortMapping{
				Protocol: protocol, ContainerPort: port.ContainerPort, HostPort: port.HostPort, HostIp: port.HostIP,
			})
		}
	}
	return out
}

// allLongRunning are the pod's containers that stay: its sidecars and its regular ones.
func allLongRunning(pod *v1.Pod) []v1.Container {
	var out []v1.Container
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return append(out, pod.Spec.Containers...)
}

func anyPrivileged(pod *v1.Pod) bool {
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			if c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged {
				return true
			}
		}
	}
	return false
}

func namespaceOptions(pod *v1.Pod, userns *runtimeapi.UserNamespace) *runtimeapi.NamespaceOption {
	options := &runtimeapi.NamespaceOption{
		Network:       runtimeapi.NamespaceMode_POD,
		Ipc:           runtimeapi.NamespaceMode_POD,
		Pid:           runtimeapi.NamespaceMode_CONTAINER,
		UsernsOptions: userns,
	}
	if pod.Spec.HostNetwork {
		options.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		options.Ipc = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostPID {
		options.Pid = runtimeapi.NamespaceMode_NODE
	} else if share := pod.Spec.ShareProcessNamespace; share != nil && *share {
		options.Pid = runtimeapi.NamespaceMode_POD
	}
	return options
}
