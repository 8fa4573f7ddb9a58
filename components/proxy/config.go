package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kubeproxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"
)

// Config is a KubeProxyConfiguration, completed, with what is used of it.
type Config struct {
	// Kubeconfig is the file that names the API server and holds the credentials.
	Kubeconfig string
	// NodeName is the Node object this proxy serves.
	NodeName string
	// HealthzAddress and MetricsAddress are listened on; empty means not at all.
	HealthzAddress string
	MetricsAddress string
	// ClusterCIDRs are the ranges of the pods, at most one a family; none means that no
	// traffic counts as coming from outside the cluster.
	ClusterCIDRs []netip.Prefix
	// MasqueradeBit is the bit of the packet mark that asks for masquerading.
	MasqueradeBit int32
	// Mode is the back end; "nftables" is the one there is.
	Mode string
}

const (
	defaultHealthz = "0.0.0.0:10256"
	defaultMetrics = "127.0.0.1:10249"
	modeNFTables   = "nftables"
)

// Validate says what is wrong with the configuration, by flag or field.
func (c *Config) Validate() error {
	var errs []error
	if c.Kubeconfig == "" {
		errs = append(errs, errors.New("clientConnection.kubeconfig (--kubeconfig): Required value: a file that names the API server"))
	}
	if c.NodeName == "" {
		errs = append(errs, errors.New("hostnameOverride (--hostname-override): Required value: the name of this machine's Node object"))
	}
	if c.Mode != modeNFTables {
		errs = append(errs, fmt.Errorf("mode (--proxy-mode): Unsupported value: %q: supported values: %q", c.Mode, modeNFTables))
	}
	if c.MasqueradeBit < 0 || c.MasqueradeBit > 31 {
		errs = append(errs, fmt.Errorf("nftables.masqueradeBit: Invalid value: %d: must be within the range [0, 31]", c.MasqueradeBit))
	}
	for name, address := range map[string]string{
		"healthzBindAddress (--healthz-bind-address)": c.HealthzAddress,
		"metricsBindAddress (--metrics-bind-address)": c.MetricsAddress,
	} {
		if address == "" {
			continue
		}
		if _, err := netip.ParseAddrPort(address); err != nil {
			errs = append(errs, fmt.Errorf("%s: Invalid value: %q: must be IP:port", name, address))
		}
	}
	seen := map[bool]bool{}
	for _, prefix := range c.ClusterCIDRs {
		if seen[prefix.Addr().Is4()] {
			errs = append(errs, errors.New("clusterCIDR (--cluster-cidr): Invalid value: at most one range a family"))
		}
		seen[prefix.Addr().Is4()] = true
	}
	return errors.Join(errs...)
}

// readFile reads a kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration. Unknown
// and repeated fields are errors.
func readFile(path string) (*kubeproxyv1alpha1.KubeProxyConfiguration, error) {
	scheme := runtime.NewScheme()
	if err := kubeproxyv1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	parsed := &kubeproxyv1alpha1.KubeProxyConfiguration{}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	if _, _, err := decoder.Decode(data, nil, parsed); err != nil {
		return nil, fmt.Errorf("--config: %s: %w", path, err)
	}
	return parsed, nil
}
