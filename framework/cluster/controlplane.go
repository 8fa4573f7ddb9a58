package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"

	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
	"github.com/plumbline/plumbline/framework/launch"
	"github.com/plumbline/plumbline/framework/machine"
)

// Names of the components.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Containerd        = "containerd"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
	Network           = "plumb-network"
	Hollow            = "plumb-hollow"
)

const etcdURL = "http://127.0.0.1:2379"

// startControlPlane starts the machine and everything on it at once: each
// component waits for those it needs by itself.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	files, err := c.controlPlaneFiles()
	if err != nil {
		return err
	}
	if err := c.describeHollow(files); err != nil {
		return err
	}
	h, err := c.startMachine(ctx, machinePlan{
		spec: c.spec.Spec.ControlPlane, address: c.addresses.controlPlane, files: files,
	})
	if err != nil {
		return err
	}
	admin, err := tls.X509KeyPair(c.credentials.admin.Cert, c.credentials.admin.Key)
	if err != nil {
		return err
	}
	secure := &tls.Config{Certificates: []tls.Certificate{admin}}
	parts := []part{
		{name: Etcd, args: c.etcdArgs(), ready: &launch.Probe{URL: etcdURL + "/health"}},
		{name: APIServer, args: c.apiServerArgs(), ready: &launch.Probe{URL: fmt.Sprintf("https://127.0.0.1:%d/readyz", apiPort), TLS: secure}},
		{name: ControllerManager, args: c.controllerManagerArgs(), ready: &launch.Probe{URL: "https://127.0.0.1:10257/healthz"}},
		{name: Scheduler, args: c.schedulerArgs(), ready: &launch.Probe{URL: "https://127.0.0.1:10259/healthz"}},
		// The control plane runs no pods, but reaches those of the nodes: webhooks and aggregated APIs.
		{name: Network, args: c.networkArgs(v1alpha1.ControlPlaneName)},
	}
	if c.spec.Spec.Hollow != nil {
		parts = append(parts, hollowPart())
	}
	return h.startAll(parts)
}

func (c *Cluster) etcdArgs() []string {
	const peer = "http://127.0.0.1:2380"
	return []string{
		"--name=" + v1alpha1.ControlPlaneName,
		"--data-dir=/var/lib/etcd",
		"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=" + v1alpha1.ControlPlaneName + "=" + peer,
		// A cluster that lives as long as a test need not survive the machine, and
		// one member need not wait for others to vote.
		"--unsafe-no-fsync",
		"--heartbeat-interval=10", "--election-timeout=100",
		"--log-level=warn",
	}
}

func (c *Cluster) apiServerArgs() []string {
	issuer := "https://kubernetes.default.svc." + c.spec.Spec.Network.Domain
	key := func(name string) string { return pkiDirectory + "/" + name }
	return []string{
		"--advertise-address=" + c.addresses.controlPlane.String(),
		"--bind-address=0.0.0.0", fmt.Sprintf("--secure-port=%d", apiPort),
		"--tls-cert-file=" + key("apiserver.crt"), "--tls-private-key-file=" + key("apiserver.key"),
		"--client-ca-file=" + key("ca.crt"),
		"--etcd-servers=" + etcdURL,
		"--service-cluster-ip-range=" + c.addresses.services.String(),
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=" + key("sa.pub"), "--service-account-signing-key-file=" + key("sa.key"),
		"--kubelet-client-certificate=" + key("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + key("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority=" + key("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + key("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + key("front-proxy-client.crt"), "--proxy-client-key-file=" + key("front-proxy-client.key"),
		"--enable-aggregator-routing=true",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth=true", "--allow-privileged=true",
	}
}

func (c *Cluster) controllerManagerArgs() []string {
	key := func(name string) string { return pkiDirectory + "/" + name }
	args := []string{
		"--kubeconfig=" + fmt.Sprintf(confFormat, "controller-manager"),
		"--client-ca-file=" + key("ca.crt"),
		"--allocate-node-cidrs=true", "--cluster-cidr=" + c.addresses.pods.String(),
		"--service-cluster-ip-range=" + c.addresses.services.String(),
		"--root-ca-file=" + key("ca.crt"),
		"--cluster-signing-cert-file=" + key("ca.crt"), "--cluster-signing-key-file=" + key("ca.key"),
		"--use-service-account-credentials=true",
		"--leader-elect=false",
	}
	if hollow := c.spec.Spec.Hollow; hollow != nil {
		// Thousands of nodes are heard of less often.
		args = append(args, "--node-monitor-grace-period="+hollow.GracePeriod().String())
	}
	return args
}

func (c *Cluster) schedulerArgs() []string {
	return []string{"--kubeconfig=" + fmt.Sprintf(confFormat, "scheduler"), "--leader-elect=false"}
}

func (c *Cluster) networkArgs(name string) []string {
	return []string{
		"--kubeconfig=" + fmt.Sprintf(confFormat, "proxy"),
		"--hostname-override=" + name,
		// No machine has a default route, which would lead packets to Services out.
		"--service-cluster-ip-range=" + c.addresses.services.String(),
	}
}

// startMachine makes one machine and plugs it in.
func (c *Cluster) startMachine(ctx context.Context, p machinePlan) (*host, error) {
	h := &host{cluster: c, plan: p, parts: map[string]part{}, components: map[string]*launch.Running{}}
	maps.Copy(p.files, p.spec.Files)
	config := machine.Config{
		Name:      p.spec.Name,
		Directory: c.machineDirectory(p.spec.Name),
		Program:   c.options.init,
		Cgroup:    c.state.cgroup() + "/" + p.spec.Name,
		Limits:    limitsOf(p.spec.Resources),
		Hosts: fmt.Sprintf("127.0.0.1 localhost\n::1 localhost ip6-localhost\n%s %s\n%s %s\n",
			c.addresses.controlPlane, v1alpha1.ControlPlaneName, p.address, p.spec.Name),
		// An empty list of name servers: there is no name service on the fabric itself.
		Resolver: "# The cluster has no name service outside of it.\n",
		Files:    p.files,
		Sysctls: map[string]string{
			"net.ipv4.ip_forward":             "1",
			"net.ipv4.conf.all.rp_filter":     "0",
			"net.ipv4.conf.default.rp_filter": "0",
		},
	}
	var err error
	if h.machine, err = machine.Start(ctx, config); err != nil {
		return nil, err
	}
	if err := h.plug(); err != nil {
		return nil, joinStop(err, h)
	}
	c.mu.Lock()
	c.hosts[p.spec.Name] = h
	c.mu.Unlock()
	return h, nil
}
