package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/plumbline/plumbline/components/kubelet/userns"
)

// Config is everything a kubelet is told: what its command line says about this
// one machine, and the KubeletConfiguration that machines share.
type Config struct {
	// NodeName is the name of the Node object this kubelet keeps.
	NodeName string
	// NodeIPs are the node's addresses, the first is the primary one. Empty means:
	// take the address of the first interface that is up and not loopback.
	NodeIPs []net.IP
	// NodeLabels and Taints are put on the Node when it is registered.
	NodeLabels map[string]string
	Taints     []v1.Taint
	// Kubeconfig names the file with the API server's address and this node's
	// credentials. Empty means standalone: static pods only.
	Kubeconfig string
	// RootDir holds pods, volumes and plugins (/var/lib/kubelet).
	RootDir string
	// CertDir is where a self-signed serving certificate is kept.
	CertDir string
	// KubeletConfiguration is the versioned configuration with its defaults filled in.
	KubeletConfiguration kubeletconfig.KubeletConfiguration
}

// Validate reports everything that is wrong, each with the flag or field it stands in.
func (c *Config) Validate() error {
	var errs []error
	if c.NodeName == "" {
		errs = append(errs, errors.New("--hostname-override: a node name is required"))
	}
	for _, msg := range validation.IsDNS1123Subdomain(c.NodeName) {
		errs = append(errs, fmt.Errorf("--hostname-override: invalid node name %q: %s", c.NodeName, msg))
	}
	for key, value := range c.NodeLabels {
		for _, msg := range validation.IsQualifiedName(key) {
			errs = append(errs, fmt.Errorf("--node-labels: invalid key %q: %s", key, msg))
		}
		for _, msg := range validation.IsValidLabelValue(value) {
			errs = append(errs, fmt.Errorf("--node-labels: invalid value %q of %q: %s", value, key, msg))
		}
	}
	if !filepath.IsAbs(c.RootDir) {
		errs = append(errs, fmt.Errorf("--root-dir: %q must be an absolute path", c.RootDir))
	}
	errs = append(errs, validateConfiguration(&c.KubeletConfiguration)...)
	return errors.Join(errs...)
}

// LoadConfiguration reads a KubeletConfiguration file. Unknown and duplicate
// fields are errors, as is any other kind or version.
func LoadConfiguration(path string) (*kubeletconfig.KubeletConfiguration, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	config, err := decodeConfiguration(raw)
	if err != nil {
		return nil, fmt.Errorf("--config: %s: %w", path, err)
	}
	// Upstream resolves paths relative to the file that holds them.
	dir := filepath.Dir(path)
	for _, p := range []*string{
		&config.StaticPodPath, &config.TLSCertFile, &config.TLSPrivateKeyFile, &config.Authentication.X509.ClientCAFile,
	} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return config, nil
}

func decodeConfiguration(raw []byte) (*kubeletconfig.KubeletConfiguration, error) {
	asJSON, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		return nil, err
	}
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(asJSON, &kind); err != nil {
		return nil, err
	}
	wantVersion := kubeletconfig.SchemeGroupVersion.String()
	if kind.APIVersion != wantVersion || kind.Kind != "KubeletConfiguration" {
		return nil, fmt.Errorf("apiVersion %q, kind %q: expected apiVersion %q, kind %q", kind.APIVersion, kind.Kind, wantVersion, "KubeletConfiguration")
	}
	config := &kubeletconfig.KubeletConfiguration{}
	strict, err := kjson.UnmarshalStrict(asJSON, config)
	if err != nil {
		return nil, err
	}
	if len(strict) > 0 {
		return nil, fmt.Errorf("strict decoding error: %w", errors.Join(strict...))
	}
	return config, nil
}

func validateConfiguration(kc *kubeletconfig.KubeletConfiguration) []error {
	var errs field.ErrorList
	port := func(name string, value int32, zeroAllowed bool) {
		if zeroAllowed && value == 0 {
			return
		}
		for _, msg := range validation.IsValidPortNum(int(value)) {
			errs = append(errs, field.Invalid(field.NewPath(name), value, msg))
		}
	}
	port("port", kc.Port, false)
	port("readOnlyPort", kc.ReadOnlyPort, true)
	port("healthzPort", *kc.HealthzPort, true)
	if kc.Address != "" && net.ParseIP(kc.Address) == nil {
		errs = append(errs, field.Invalid(field.NewPath("address"), kc.Address, "must be an IP address"))
	}
	for i, server := range kc.ClusterDNS {
		if net.ParseIP(server) == nil {
			errs = append(errs, field.Invalid(field.NewPath("clusterDNS").Index(i), server, "must be an IP address"))
		}
	}
	if kc.CgroupDriver != "cgroupfs" {
		errs = append(errs, field.NotSupported(field.NewPath("cgroupDriver"), kc.CgroupDriver, []string{"cgroupfs"}))
	}
	if !*kc.CgroupsPerQOS && kc.CgroupRoot != "" {
		errs = append(errs, field.Invalid(field.NewPath("cgroupRoot"), kc.CgroupRoot, "needs cgroupsPerQOS"))
	}
	ids := *kc.UserNamespaces.IDsPerPod
	if at := field.NewPath("userNamespaces", "idsPerPod"); ids < userns.IDsStep || ids%userns.IDsStep != 0 {
		errs = append(errs, field.Invalid(at, ids, fmt.Sprintf("must be a multiple of %d", userns.IDsStep)))
	} else if most := int64(math.MaxUint32) / (int64(max(kc.MaxPods, 0)) + 1); ids > most {
		errs = append(errs, field.Invalid(at, ids, fmt.Sprintf("must not exceed %d, so that maxPods (%d) pods have ids", most, kc.MaxPods)))
	}
	if kc.MaxPods < 0 {
		errs = append(errs, field.Invalid(field.NewPath("maxPods"), kc.MaxPods, "must not be negative"))
	}
	if kc.NodeLeaseDurationSeconds <= 0 {
		errs = append(errs, field.Invalid(field.NewPath("nodeLeaseDurationSeconds"), kc.NodeLeaseDurationSeconds, "must be greater than 0"))
	}
	if high, low := *kc.ImageGCHighThresholdPercent, *kc.ImageGCLowThresholdPercent; high < low {
		errs = append(errs, field.Invalid(field.NewPath("imageGCLowThresholdPercent"), low, fmt.Sprintf("must not exceed imageGCHighThresholdPercent (%d)", high)))
	}
	if (kc.TLSCertFile == "") != (kc.TLSPrivateKeyFile == "") {
		errs = append(errs, field.Invalid(field.NewPath("tlsCertFile"), kc.TLSCertFile, "tlsCertFile and tlsPrivateKeyFile must be given together"))
	}
	switch kc.Authorization.Mode {
	case kubeletconfig.KubeletAuthorizationModeAlwaysAllow, kubeletconfig.KubeletAuthorizationModeWebhook:
	default:
		errs = append(errs, field.NotSupported(field.NewPath("authorization", "mode"), kc.Authorization.Mode,
			[]kubeletconfig.KubeletAuthorizationMode{kubeletconfig.KubeletAuthorizationModeAlwaysAllow, kubeletconfig.KubeletAuthorizationModeWebhook}))
	}
	for i, name := range kc.EnforceNodeAllocatable {
		switch name {
		case "none", "pods", "system-reserved", "kube-reserved", "system-reserved-compressible", "kube-reserved-compressible":
		default:
			errs = append(errs, field.NotSupported(field.NewPath("enforceNodeAllocatable").Index(i), name, []string{"none", "pods", "system-reserved", "kube-reserved"}))
		}
	}
	if !strings.Contains(kc.ContainerRuntimeEndpoint, "://") {
		errs = append(errs, field.Invalid(field.NewPath("containerRuntimeEndpoint"), kc.ContainerRuntimeEndpoint, "must be a URL such as unix:///run/containerd/containerd.sock"))
	}
	out := make([]error, 0, len(errs))
	for _, err := range errs {
		out = append(out, err)
	}
	return out
}
