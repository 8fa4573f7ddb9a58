// Package admission decides whether a pod that was assigned to this node can run on
// it. The scheduler has asked the same before, but static pods pass it by, and two
// schedulers or a change of the node can make it wrong.
package admission

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/kubelet/node"
	"github.com/plumbline/plumbline/components/kubelet/podsource"
	"github.com/plumbline/plumbline/components/kubelet/status"
)

// Gate admits pods.
type Gate struct {
	// Node is this node; nil while it is not known, or in a standalone kubelet.
	Node func() *v1.Node
	// Allocatable is what the node has for pods.
	Allocatable func() v1.ResourceList
	// UnsafeSysctls are patterns of sysctls that are allowed besides the safe ones.
	UnsafeSysctls []string
	// UnderPressure says why a pod must not start now.
	UnderPressure func(pod *v1.Pod) (ok bool, message string)
}

const rejected = "Pod was rejected: "

// refuse makes the status of a pod that is not admitted.
func refuse(reason, message string) *status.Verdict {
	return &status.Verdict{Phase: v1.PodFailed, Reason: reason, Message: rejected + message}
}

// Admit says why a pod cannot run beside others; nil means it can.
func (g *Gate) Admit(pod *v1.Pod, others []*v1.Pod) *status.Verdict {
	if verdict := g.sysctls(pod); verdict != nil {
		return verdict
	}
	if g.UnderPressure != nil {
		if ok, message := g.UnderPressure(pod); !ok {
			return refuse("Evicted", message)
		}
	}
	if os := pod.Spec.OS; os != nil && os.Name != v1.Linux {
		return refuse("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
	}
	if here := g.Node(); here != nil {
		if verdict := g.placement(pod, here); verdict != nil {
			return verdict
		}
	}
	if verdict := ports(pod, others); verdict != nil {
		return verdict
	}
	return g.resources(pod, others)
}

func (g *Gate) placement(pod *v1.Pod, here *v1.Node) *status.Verdict {
	if want := pod.Labels[v1.LabelOSStable]; want != "" && want != here.Labels[v1.LabelOSStable] {
		return refuse("PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")
	}
	if matches, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(here); err != nil || !matches {
		return refuse("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")
	}
	if podsource.IsStatic(pod) {
		return nil
	}
	taint, untolerated := corev1.FindMatchingUntoleratedTaint(klog.Background(), here.Spec.Taints, pod.Spec.Tolerations,
		func(t *v1.Taint) bool { return t.Effect == v1.TaintEffectNoExecute }, true)
	if untolerated {
		return refuse("TaintToleration", fmt.Sprintf("Predicate TaintToleration failed: node(s) had untolerated taint {%s: %s}", taint.Key, taint.Value))
	}
	return nil
}

// hostPort is one port of the host.
type hostPort struct {
	ip       string
	protocol v1.Protocol
	port     int32
}

func hostPorts(pod *v1.Pod) []hostPort {
	var out []hostPort
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			for _, p := range c.Ports {
				if p.HostPort > 0 {
					out = append(out, hostPort{p.HostIP, p.Protocol, p.HostPort})
				}
			}
		}
	}
	return out
}

func (p hostPort) clashes(other hostPort) bool {
	everywhere := func(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
	return p.port == other.port && p.protocol == other.protocol &&
		(p.ip == other.ip || everywhere(p.ip) || everywhere(other.ip))
}

func ports(pod *v1.Pod, others []*v1.Pod) *status.Verdict {
	wanted := hostPorts(pod)
	if len(wanted) == 0 {
		return nil
	}
	for _, other := range others {
		for _, taken := range hostPorts(other) {
			if slices.ContainsFunc(wanted, taken.clashes) {
				return refuse("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")
			}
		}
	}
	return nil
}

// Resize says why a pod that runs here cannot have what it asks for beside others, and
// whether it could if they were not there; an empty reason means it can.
func (g *Gate) Resize(pod *v1.Pod, others []*v1.Pod) (reason, message string) {
	for _, try := range []struct {
		others []*v1.Pod
		reason string
	}{{nil, v1.PodReasonInfeasible}, {others, v1.PodReasonDeferred}} {
		if verdict := g.resources(pod, try.others); verdict != nil {
			return try.reason, strings.TrimPrefix(verdict.Message, rejected)
		}
	}
	return "", ""
}

// resources adds up what pods request and compares it with what there is.
func (g *Gate) resources(pod *v1.Pod, others []*v1.Pod) *status.Verdict {
	allocatable := g.Allocatable()
	if most := allocatable.Pods().Value(); int64(len(others))+1 > most {
		return outOf(v1.ResourcePods, 1, int64(len(others)), most)
	}
	used := map[v1.ResourceName]int64{}
	for _, other := range others {
		for name, quantity := range resourcehelper.PodRequests(other, resourcehelper.PodResourcesOptions{}) {
			used[name] += amount(name, quantity)
		}
	}
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	names := make([]string, 0, len(requests))
	for name := range requests {
		names = append(names, string(name))
	}
	slices.Sort(names)
	for _, n := range names {
		name := v1.ResourceName(n)
		asked := amount(name, requests[name])
		has, known := allocatable[name]
		if asked == 0 || !known && !counted(name) || devices(pod, n) {
			continue
		}
		if capacity := amount(name, has); asked+used[name] > capacity {
			return outOf(name, asked, used[name], capacity)
		}
	}
	return nil
}

// counted tells whether a node that has nothing of a resource has too little of it. An extended
// resource that the node does not know belongs to the cluster as a whole: others count it.
func counted(name v1.ResourceName) bool {
	text := string(name)
	return strings.HasPrefix(text, v1.ResourceHugePagesPrefix) || strings.Contains(text, "/") && !node.IsExtended(name)
}

// devices tells whether the scheduler has met an extended resource by devices, which are not the node's to count.
func devices(pod *v1.Pod, name string) bool {
	claim := pod.Status.ExtendedResourceClaimStatus
	return claim != nil && slices.ContainsFunc(claim.RequestMappings, func(r v1.ContainerExtendedResourceRequest) bool { return r.ResourceName == name })
}

func outOf(name v1.ResourceName, asked, used, capacity int64) *status.Verdict {
	return refuse("OutOf"+string(name), fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, asked, used, capacity))
}

func amount(name v1.ResourceName, q resource.Quantity) int64 {
	if name == v1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// safeSysctls are those that concern only the pod that sets them.
// See https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/.
func safeSysctls() []string {
	return []string{
		"kernel.shm_rmid_forced",
		"net.ipv4.ip_local_port_range",
		"net.ipv4.ip_local_reserved_ports",
		"net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ping_group_range",
		"net.ipv4.tcp_fin_timeout",
		"net.ipv4.tcp_keepalive_intvl",
		"net.ipv4.tcp_keepalive_probes",
		"net.ipv4.tcp_keepalive_time",
		"net.ipv4.tcp_rmem",
		"net.ipv4.tcp_syncookies",
		"net.ipv4.tcp_wmem",
	}
}

func (g *Gate) sysctls(pod *v1.Pod) *status.Verdict {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	allowed := append(safeSysctls(), g.UnsafeSysctls...)
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := strings.ReplaceAll(s.Name, "/", ".")
		ok := slices.ContainsFunc(allowed, func(pattern string) bool {
			if prefix, open := strings.CutSuffix(pattern, "*"); open {
				return strings.HasPrefix(name, prefix)
			}
			return name == pattern
		})
		shared := pod.Spec.HostNetwork && strings.HasPrefix(name, "net.") || pod.Spec.HostIPC && (strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") || name == "kernel.sem" || strings.HasPrefix(name, "fs.mqueue."))
		if !ok || shared {
			return &status.Verdict{Phase: v1.PodFailed, Reason: "SysctlForbidden", Message: fmt.Sprintf(rejected+"forbidden sysctl: %q not allowlisted", s.Name)}
		}
	}
	return nil
}
