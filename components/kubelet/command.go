// Package kubelet runs the pods of one node: it takes them from the API server and
// from static manifests, brings them to life through a container runtime that
// speaks CRI, and reports what became of them.
//
// The rooms below it each do one part: podsource says which pods there should be,
// runtime sees and changes what there is, lifecycle decides what to do next, worker
// does it, status tells the API server.
package kubelet

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
)

// commandLine holds the flags before they become a Config.
type commandLine struct {
	configFile       string
	kubeconfig       string
	hostnameOverride string
	nodeIP           string
	nodeLabels       map[string]string
	taints           []string
	rootDir          string
	certDir          string
	cloudProvider    string
	// overrides are flags that also stand in the configuration file; a flag that
	// was given wins over the file.
	overrides kubeletconfig.KubeletConfiguration
}

// Command is the kubelet's command line.
func Command() *cobra.Command {
	line := &commandLine{}
	cmd := &cobra.Command{
		Use:           "kubelet",
		Short:         "Run the pods of this node",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := line.config(cmd.Flags())
			if err != nil {
				return err
			}
			return Run(cmd.Context(), config)
		},
	}
	line.register(cmd.Flags())
	logging := flag.NewFlagSet("logging", flag.ContinueOnError)
	klog.InitFlags(logging)
	for _, name := range []string{"v", "vmodule", "logtostderr"} {
		cmd.Flags().AddGoFlag(logging.Lookup(name))
	}
	return cmd
}

func (l *commandLine) register(flags *pflag.FlagSet) {
	flags.StringVar(&l.configFile, "config", "", "file with a KubeletConfiguration (kubelet.config.k8s.io/v1beta1)")
	flags.StringVar(&l.kubeconfig, "kubeconfig", "", "file that says how to reach the API server; without it the kubelet runs static pods only")
	flags.StringVar(&l.hostnameOverride, "hostname-override", "", "name of this node, if not the host's name")
	flags.StringVar(&l.nodeIP, "node-ip", "", "address (or two, comma separated, of both families) of this node")
	flags.StringToStringVar(&l.nodeLabels, "node-labels", nil, "labels to register the node with")
	flags.StringSliceVar(&l.taints, "register-with-taints", nil, "taints to register the node with: key=value:effect")
	flags.StringVar(&l.rootDir, "root-dir", "/var/lib/kubelet", "directory for the state of pods and volumes")
	flags.StringVar(&l.certDir, "cert-dir", "/var/lib/kubelet/pki", "directory for a self-signed serving certificate")
	flags.StringVar(&l.cloudProvider, "cloud-provider", "", `"external" or empty`)

	o := &l.overrides
	flags.StringVar(&o.ContainerRuntimeEndpoint, "container-runtime-endpoint", "", "endpoint of the container runtime")
	flags.StringVar(&o.ImageServiceEndpoint, "image-service-endpoint", "", "endpoint of the image service, if not the runtime's")
	flags.StringVar(&o.StaticPodPath, "pod-manifest-path", "", "directory or file with static pods")
	flags.StringVar(&o.StaticPodURL, "manifest-url", "", "URL of static pods")
	flags.StringVar(&o.CgroupRoot, "cgroup-root", "", "cgroup below which the pods' cgroups are made")
	flags.StringVar(&o.Address, "address", "", "address to serve on")
	flags.Int32Var(&o.Port, "port", 0, "port to serve on")
	flags.Int32Var(&o.ReadOnlyPort, "read-only-port", 0, "port to serve on without authentication; 0 is off")
	flags.StringSliceVar(&o.ClusterDNS, "cluster-dns", nil, "addresses of the cluster's DNS")
	flags.StringVar(&o.ClusterDomain, "cluster-domain", "", "domain of the cluster")
	flags.Int32Var(&o.MaxPods, "max-pods", 0, "number of pods that may run here")
	flags.StringVar(&o.TLSCertFile, "tls-cert-file", "", "serving certificate")
	flags.StringVar(&o.TLSPrivateKeyFile, "tls-private-key-file", "", "key of the serving certificate")
	flags.StringVar(&o.Authentication.X509.ClientCAFile, "client-ca-file", "", "authorities of client certificates")
	flags.StringVar(&o.ProviderID, "provider-id", "", "the machine's id with its cloud provider")
}

// config builds and validates the Config that the flags and the file describe.
func (l *commandLine) config(flags *pflag.FlagSet) (*Config, error) {
	kc := &kubeletconfig.KubeletConfiguration{}
	if l.configFile != "" {
		var err error
		if kc, err = LoadConfiguration(l.configFile); err != nil {
			return nil, err
		}
	}
	l.applyOverrides(kc, flags)
	SetDefaults(kc)

	config := &Config{
		NodeName:             strings.ToLower(l.hostnameOverride),
		NodeLabels:           l.nodeLabels,
		Kubeconfig:           l.kubeconfig,
		RootDir:              l.rootDir,
		CertDir:              l.certDir,
		KubeletConfiguration: *kc,
		Taints:               kc.RegisterWithTaints,
	}
	if config.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("--hostname-override: not given, and the host has no name: %w", err)
		}
		config.NodeName = strings.ToLower(strings.TrimSpace(host))
	}
	if l.nodeIP != "" {
		for _, text := range strings.Split(l.nodeIP, ",") {
			ip := net.ParseIP(strings.TrimSpace(text))
			if ip == nil {
				return nil, fmt.Errorf("--node-ip: %q is not an IP address", text)
			}
			config.NodeIPs = append(config.NodeIPs, ip)
		}
	}
	if l.cloudProvider != "" && l.cloudProvider != "external" {
		return nil, fmt.Errorf(`--cloud-provider: %q is not supported: use "external" or leave it out`, l.cloudProvider)
	}
	if l.cloudProvider == "external" {
		config.Taints = append(config.Taints, v1.Taint{
			Key: "node.cloudprovider.kubernetes.io/uninitialized", Value: "true", Effect: v1.TaintEffectNoSchedule,
		})
	}
	for _, text := range l.taints {
		taint, err := parseTaint(text)
		if err != nil {
			return nil, fmt.Errorf("--register-with-taints: %w", err)
		}
		config.Taints = append(config.Taints, taint)
	}
	return config, config.Validate()
}

func (l *commandLine) applyOverrides(kc *kubeletconfig.KubeletConfiguration, flags *pflag.FlagSet) {
	o := &l.overrides
	for name, apply := range map[string]func(){
		"container-runtime-endpoint": func() { kc.ContainerRuntimeEndpoint = o.ContainerRuntimeEndpoint },
		"image-service-endpoint":     func() { kc.ImageServiceEndpoint = o.ImageServiceEndpoint },
		"pod-manifest-path":          func() { kc.StaticPodPath = o.StaticPodPath },
		"manifest-url":               func() { kc.StaticPodURL = o.StaticPodURL },
		"cgroup-root":                func() { kc.CgroupRoot = o.CgroupRoot },
		"address":                    func() { kc.Address = o.Address },
		"port":                       func() { kc.Port = o.Port },
		"read-only-port":             func() { kc.ReadOnlyPort = o.ReadOnlyPort },
		"cluster-dns":                func() { kc.ClusterDNS = o.ClusterDNS },
		"cluster-domain":             func() { kc.ClusterDomain = o.ClusterDomain },
		"max-pods":                   func() { kc.MaxPods = o.MaxPods },
		"tls-cert-file":              func() { kc.TLSCertFile = o.TLSCertFile },
		"tls-private-key-file":       func() { kc.TLSPrivateKeyFile = o.TLSPrivateKeyFile },
		"client-ca-file":             func() { kc.Authentication.X509.ClientCAFile = o.Authentication.X509.ClientCAFile },
		"provider-id":                func() { kc.ProviderID = o.ProviderID },
	} {
		if flags.Changed(name) {
			apply()
		}
	}
}

// parseTaint reads key=value:effect, key:effect.
func parseTaint(text string) (v1.Taint, error) {
	keyValue, effect, found := strings.Cut(text, ":")
	key, value, _ := strings.Cut(keyValue, "=")
	taint := v1.Taint{Key: key, Value: value, Effect: v1.TaintEffect(effect)}
	if !found || key == "" {
		return taint, fmt.Errorf("invalid taint %q: expected key=value:effect", text)
	}
	if problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(problems) > 0 {
		return taint, fmt.Errorf("invalid taint %q: %s", text, strings.Join(problems, "; "))
	}
	switch taint.Effect {
	case v1.TaintEffectNoSchedule, v1.TaintEffectPreferNoSchedule, v1.TaintEffectNoExecute:
		return taint, nil
	}
	return taint, fmt.Errorf("invalid taint effect %q in %q: expected NoSchedule, PreferNoSchedule or NoExecute", effect, text)
}
