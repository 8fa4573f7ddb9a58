// Package proxy is kube-proxy: it programs its node's packet filter so that Services
// are reached
// (https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/).
//
// Services and EndpointSlices are watched, package plan decides where each port
// leads from this node, and package nftables makes the kernel do it.
package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	kubeproxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"

	"github.com/plumbline/plumbline/components/proxy/nftables"
)

// flags are upstream's, as far as they are used; a configuration file replaces all but
// hostname-override.
type flags struct {
	file, kubeconfig, hostname, mode, clusterCIDR, healthz, metrics string
	masqueradeBit                                                   int32
	cleanup                                                         bool
}

// Command is the program kube-proxy.
func Command() *cobra.Command {
	var f flags
	command := &cobra.Command{
		Use:           "kube-proxy",
		Short:         "Programs a node's packet filter so that Services are reached",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(command *cobra.Command, _ []string) error {
			if f.cleanup {
				return errors.Join(nftables.Remove(corev1.IPv4Protocol), nftables.Remove(corev1.IPv6Protocol))
			}
			config, err := f.config()
			if err != nil {
				return err
			}
			if err := config.Validate(); err != nil {
				return err
			}
			return Run(command.Context(), config)
		},
	}
	set := command.Flags()
	set.StringVar(&f.file, "config", "", "file with a KubeProxyConfiguration")
	set.StringVar(&f.kubeconfig, "kubeconfig", "", "file that names the API server and holds the credentials")
	set.StringVar(&f.hostname, "hostname-override", "", "name of this machine's Node object; default the machine's host name")
	set.StringVar(&f.mode, "proxy-mode", modeNFTables, "back end")
	set.StringVar(&f.clusterCIDR, "cluster-cidr", "", "range of the pods' addresses; two of different families separated by a comma")
	set.StringVar(&f.healthz, "healthz-bind-address", defaultHealthz, "address and port of the health check; empty for none")
	set.StringVar(&f.metrics, "metrics-bind-address", defaultMetrics, "address and port of the metrics; empty for none")
	set.BoolVar(&f.cleanup, "cleanup", false, "remove the rules from the packet filter and exit")
	set.Int32Var(&f.masqueradeBit, "nftables-masquerade-bit", 14, "bit of the packet mark that asks for masquerading, 0 to 31")
	return command
}

func (f *flags) config() (Config, error) {
	config := Config{
		Kubeconfig:     f.kubeconfig,
		NodeName:       f.hostname,
		HealthzAddress: f.healthz,
		MetricsAddress: f.metrics,
		MasqueradeBit:  f.masqueradeBit,
		Mode:           f.mode,
	}
	ranges, origin := f.clusterCIDR, "--cluster-cidr"
	if f.file != "" {
		file, err := readFile(f.file)
		if err != nil {
			return Config{}, err
		}
		take(&config, file)
		ranges, origin = file.ClusterCIDR, "clusterCIDR"
	}
	for text := range strings.SplitSeq(ranges, ",") {
		if text == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return Config{}, fmt.Errorf("%s: Invalid value: %q: must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)", origin, text)
		}
		config.ClusterCIDRs = append(config.ClusterCIDRs, prefix.Masked())
	}
	if config.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return Config{}, fmt.Errorf("--hostname-override: not given, and the machine has no host name: %w", err)
		}
		config.NodeName = strings.ToLower(strings.TrimSpace(host))
	}
	return config, nil
}

// take completes config by a file's values; upstream's defaults stand where it is silent.
func take(config *Config, file *kubeproxyv1alpha1.KubeProxyConfiguration) {
	config.Kubeconfig = cmp.Or(file.ClientConnection.Kubeconfig, config.Kubeconfig)
	config.NodeName = cmp.Or(config.NodeName, file.HostnameOverride)
	config.HealthzAddress = cmp.Or(file.HealthzBindAddress, defaultHealthz)
	config.MetricsAddress = cmp.Or(file.MetricsBindAddress, defaultMetrics)
	config.Mode = cmp.Or(string(file.Mode), modeNFTables)
	if bit := file.NFTables.MasqueradeBit; bit != nil {
		config.MasqueradeBit = *bit
	}
}
