// Package network gives a node its part of the cluster's pod network: it tells the
// container runtime how to connect pods (a CNI configuration for the node's own
// range of addresses) and keeps routes to the ranges of all other nodes.
//
// It runs as one process a node, plumb-network, and fulfils the Kubernetes network
// model: every pod reaches every pod without address translation
// (https://kubernetes.io/docs/concepts/services-networking/#the-kubernetes-network-model).
package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// Config says which node the agent serves and where it puts what it makes.
type Config struct {
	// Kubeconfig is the file that names the API server and holds the credentials.
	Kubeconfig string
	// NodeKubeconfig holds the node's own credentials, by which its pods are seen; empty
	// on a machine that is no node, whose ports lead to no pods.
	NodeKubeconfig string
	// NodeName is the Node object this agent serves.
	NodeName string
	// ConfigDir is where the container runtime reads its CNI configuration.
	ConfigDir string
	// ServiceRange is where the Services' addresses are; the zero value means that the
	// machine has a default route, which leads the node's own packets to the proxy.
	ServiceRange netip.Prefix
	// Bridge is the name of the bridge that pods are connected to.
	Bridge string
	// MTU is the size of the largest packet on a pod's link, in bytes; 0 leaves
	// the kernel's default.
	MTU int
}

// Validate says what is wrong with the configuration, by flag.
func (c *Config) Validate() error {
	var errs []error
	if c.Kubeconfig == "" {
		errs = append(errs, errors.New("--kubeconfig: required, a file that names the API server"))
	}
	if c.NodeName == "" {
		errs = append(errs, errors.New("--hostname-override: required, the name of this machine's Node object"))
	}
	if !filepath.IsAbs(c.ConfigDir) {
		errs = append(errs, fmt.Errorf("--cni-conf-dir: %q is not an absolute path", c.ConfigDir))
	}
	if len(c.Bridge) == 0 || len(c.Bridge) > maxInterfaceName {
		errs = append(errs, fmt.Errorf("--bridge: %q must have 1 to %d characters, as every interface name", c.Bridge, maxInterfaceName))
	}
	if c.MTU < 0 {
		errs = append(errs, fmt.Errorf("--mtu: %d is negative", c.MTU))
	}
	return errors.Join(errs...)
}

// maxInterfaceName is IFNAMSIZ less the closing zero.
const maxInterfaceName = 15

// Command is the program plumb-network.
func Command() *cobra.Command {
	var serviceRange string
	config := Config{ConfigDir: "/etc/cni/net.d", Bridge: "cni0"}
	command := &cobra.Command{
		Use:           "plumb-network",
		Short:         "Connects a node's pods and routes to the pods of the other nodes",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(command *cobra.Command, _ []string) error {
			if serviceRange != "" {
				prefix, err := netip.ParsePrefix(serviceRange)
				if err != nil {
					return fmt.Errorf("--service-cluster-ip-range: %q must be a CIDR, such as 10.96.0.0/16", serviceRange)
				}
				config.ServiceRange = prefix.Masked()
			}
			if err := config.Validate(); err != nil {
				return err
			}
			return Run(command.Context(), config)
		},
	}
	flags := command.Flags()
	flags.StringVar(&config.Kubeconfig, "kubeconfig", "", "file that names the API server and holds the credentials")
	flags.StringVar(&config.NodeKubeconfig, "node-kubeconfig", "", "file with the credentials of the node itself, by which the host ports of its pods are seen; empty where there are no pods")
	flags.StringVar(&config.NodeName, "hostname-override", "", "name of this machine's Node object")
	flags.StringVar(&config.ConfigDir, "cni-conf-dir", config.ConfigDir, "folder of the container runtime's CNI configuration")
	flags.StringVar(&serviceRange, "service-cluster-ip-range", "", "range of the Services' addresses, to which a route is set so that the node's own packets reach the proxy; empty where the machine has a default route")
	flags.StringVar(&config.Bridge, "bridge", config.Bridge, "name of the bridge that pods are connected to")
	flags.IntVar(&config.MTU, "mtu", 0, "size of the largest packet on a pod's link in bytes; 0 for the kernel's default")
	return command
}

// Run serves the node until ctx ends. It needs CAP_NET_ADMIN in the network
// namespace it is started in.
func Run(ctx context.Context, config Config) error {
	client, err := newClient(config.Kubeconfig)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	agent := &agent{
		config:   config,
		client:   client,
		routes:   netlinkRoutes{},
		own:      map[string][]route{},
		services: map[string][]netip.Prefix{},
		settled:  make(chan []netip.Prefix, 1),
	}
	if config.NodeKubeconfig != "" {
		node, err := newClient(config.NodeKubeconfig)
		if err != nil {
			return fmt.Errorf("--node-kubeconfig: %w", err)
		}
		agent.pods = podsOn(node, config.NodeName)
	}
	klog.InfoS("Serving the pod network", "node", config.NodeName, "bridge", config.Bridge)
	return agent.run(ctx)
}

func newClient(kubeconfig string) (kubernetes.Interface, error) {
	rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	rest.ContentType = "application/vnd.kubernetes.protobuf"
	rest.UserAgent = "plumb-network"
	rest.QPS = -1
	return kubernetes.NewForConfig(rest)
}

// podRanges parses a node's spec.podCIDRs.
func podRanges(cidrs []string) ([]netip.Prefix, error) {
	ranges := make([]netip.Prefix, 0, len(cidrs))
	for _, cidr := range cidrs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("spec.podCIDRs: %w", err)
		}
		ranges = append(ranges, prefix.Masked())
	}
	return ranges, nil
}
