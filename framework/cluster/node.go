package cluster

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/launch"
	"github.com/plumbline/plumbline/framework/machine"
	"github.com/plumbline/plumbline/framework/machine/cgroup"
	"github.com/plumbline/plumbline/framework/runtime"
)

// bootWeight is the weight of nodes while the control plane starts.
const bootWeight = cgroup.UsualWeight / 4

const (
	kubeletConfigFile = "/var/lib/kubelet/config.yaml"
	proxyConfigFile   = "/var/lib/kube-proxy/config.yaml"
	containerdRoot    = "/var/lib/containerd"
)

// startNode starts a node's machine and everything on it.
func (c *Cluster) startNode(ctx context.Context, spec v1alpha1.Machine, place uint32) error {
	address, err := c.addresses.nodeAddress(place)
	if err != nil {
		return err
	}
	files, err := c.nodeFiles(spec.Name, address)
	if err != nil {
		return err
	}
	assets, err := c.assets(ctx)
	if err != nil {
		return err
	}
	node := runtime.Node{Assets: assets, Registry: c.registry.address()}
	maps.Copy(files, node.Files())
	h, err := c.startMachine(ctx, machinePlan{spec: spec, address: address, files: files})
	if err != nil {
		return err
	}
	if !c.reached("api") {
		// Until the API answers, everything waits for it, and it for a processor.
		if err := h.machine.SetWeight(bootWeight); err != nil {
			return err
		}
	}
	// Written from outside into the running machine: a bounded disk is mounted in there alone.
	node.Root = h.machine.HostPath(containerdRoot)
	if err := node.Prepare(); err != nil {
		return err
	}
	if err := spreadPods(h.machine, node); err != nil {
		return err
	}
	configs := map[string]string{
		kubeletConfigFile: c.kubeletConfig(address.String(), spec.Resources),
		proxyConfigFile:   c.proxyConfig(spec.Name),
	}
	for path, content := range configs {
		if err := writePrivate(h.machine.HostPath(path), []byte(content)); err != nil {
			return err
		}
	}
	argv := node.Argv()
	return h.startAll([]part{
		{name: Containerd, program: argv[0], args: argv[1:], env: node.Env()},
		{name: Kubelet, args: kubeletArgs(spec, address.String()), ready: &launch.Probe{URL: "http://127.0.0.1:10248/healthz"}},
		{name: Network, args: append(c.networkArgs(spec.Name), "--node-kubeconfig="+fmt.Sprintf(confFormat, "kubelet"))},
		{name: Proxy, args: []string{"--config=" + proxyConfigFile, "--hostname-override=" + spec.Name}, ready: &launch.Probe{URL: "http://127.0.0.1:10256/healthz"}},
	})
}

// spreadPods spreads on a machine's disk what comes and goes with its pods.
func spreadPods(m *machine.Machine, node runtime.Node) error {
	dirs := map[string]fs.FileMode{m.HostPath("/var/lib/kubelet/pods"): 0o750, m.HostPath("/var/log/pods"): 0o755}
	for _, dir := range node.Transient() {
		dirs[dir] = 0o711
	}
	for dir, mode := range dirs {
		if err := machine.Spread(dir, mode); err != nil {
			return err
		}
	}
	return nil
}

func kubeletArgs(spec v1alpha1.Machine, address string) []string {
	args := []string{
		"--config=" + kubeletConfigFile,
		"--kubeconfig=" + fmt.Sprintf(confFormat, "kubelet"),
		"--hostname-override=" + spec.Name,
		"--node-ip=" + address,
	}
	if len(spec.Labels) > 0 {
		var labels []string
		for _, key := range slices.Sorted(maps.Keys(spec.Labels)) {
			labels = append(labels, key+"="+spec.Labels[key])
		}
		args = append(args, "--node-labels="+strings.Join(labels, ","))
	}
	if len(spec.Taints) > 0 {
		var taints []string
		for _, taint := range spec.Taints {
			taints = append(taints, fmt.Sprintf("%s=%s:%s", taint.Key, taint.Value, taint.Effect))
		}
		args = append(args, "--register-with-taints="+strings.Join(taints, ","))
	}
	return args
}

// kubeletConfig is a KubeletConfiguration:
// https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
func (c *Cluster) kubeletConfig(address string, bounds v1alpha1.Resources) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %s
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[2]s/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: %[2]s/kubelet.crt
tlsPrivateKeyFile: %[2]s/kubelet.key
containerRuntimeEndpoint: unix://%[3]s
clusterDNS: [%[4]s]
clusterDomain: %[5]s
resolvConf: /etc/resolv.conf
staticPodPath: /etc/kubernetes/manifests
# Inside the machine's control group namespace the root is the machine's own group.
cgroupDriver: cgroupfs
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failCgroupV1: false
failSwapOn: false
# A machine cannot lower its processes' scores.
oomScoreAdj: 0
makeIPTablesUtilChains: false
serializeImagePulls: false
registerNode: true
evictionHard: %[6]s
# The usual five minutes are longer than most tests.
evictionPressureTransitionPeriod: 5s
imageGCHighThresholdPercent: 100
`, address, pkiDirectory, runtime.Socket, c.addresses.dns, c.spec.Spec.Network.Domain, evictionHard(bounds))
}

// evictionHard says when pods are to be ended for the node's sake. An unbounded disk is the
// host's, full of other things, and images are shared: neither is a reason.
func evictionHard(bounds v1alpha1.Resources) string {
	memory, disk, inodes := "50Mi", "1%", "1%" // upstream's 100Mi are more than a small machine can spare
	if bounds.Memory != nil && bounds.Memory.Cmp(resource.MustParse("512Mi")) >= 0 {
		memory = "100Mi"
	}
	if bounds.Disk != nil {
		disk, inodes = "10%", "5%"
	}
	thresholds := fmt.Sprintf(`memory.available: "%s", nodefs.available: "%s", nodefs.inodesFree: "%s", imagefs.available: "1%%"`, memory, disk, inodes)
	if bounds.PIDs != nil {
		thresholds += `, pid.available: "10%"`
	}
	return "{" + thresholds + "}"
}

// proxyConfig is a KubeProxyConfiguration:
// https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/
func (c *Cluster) proxyConfig(name string) string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: %s
clientConnection: {kubeconfig: %s}
clusterCIDR: %s
# These are the host's, not the machine's, to set.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
oomScoreAdj: 0
`, name, fmt.Sprintf(confFormat, "proxy"), c.addresses.pods)
}

// machineDirectory holds a machine's private files on the host.
func (c *Cluster) machineDirectory(name string) string {
	return filepath.Join(c.state.dir, "machines", name)
}
