package apiserver

import (
	"flag"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// Command is kube-apiserver's command line.
func Command() *cobra.Command {
	config, err := NewConfig()
	cmd := &cobra.Command{
		Use:           "kube-apiserver",
		Short:         "Serve the Kubernetes API",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err != nil {
				return err
			}
			if err := config.Server.ComponentGlobalsRegistry.Set(); err != nil {
				return err
			}
			if err := config.complete(); err != nil {
				return err
			}
			if err := config.Validate(); err != nil {
				return err
			}
			return Run(cmd.Context(), config)
		},
	}
	if err == nil {
		config.addFlags(cmd.Flags())
	}
	return cmd
}

func (c *Config) addFlags(fs *pflag.FlagSet) {
	logs := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(logs)
	fs.AddGoFlag(logs.Lookup("v"))
	fs.AddGoFlag(logs.Lookup("vmodule"))
	c.Server.AddUniversalFlags(fs)
	c.Serving.AddFlags(fs)
	c.Features.AddFlags(fs)
	c.Audit.AddFlags(fs)
	c.APIs.AddFlags(fs)
	c.Etcd.AddFlags(fs)
	c.Authentication.addFlags(fs)
	c.Services.addFlags(fs)
	c.Kubelet.addFlags(fs)
	fs.StringSliceVar(&c.Admission.Enable, "enable-admission-plugins", nil, "Admission plugins to run besides the default ones.")
	fs.StringSliceVar(&c.Admission.Disable, "disable-admission-plugins", nil, "Default admission plugins not to run.")
	fs.StringVar(&c.Admission.ConfigFile, "admission-control-config-file", "", "Configuration of single admission plugins.")
	fs.Int64Var(&c.Admission.NotReadySeconds, "default-not-ready-toleration-seconds", c.Admission.NotReadySeconds, "Seconds that pods stay on a node that is not ready, unless they say otherwise.")
	fs.Int64Var(&c.Admission.UnreachableSeconds, "default-unreachable-toleration-seconds", c.Admission.UnreachableSeconds, "Seconds that pods stay on a node that cannot be reached, unless they say otherwise.")
	fs.StringSliceVar(&c.AuthorizationModes, "authorization-mode", c.AuthorizationModes, "Authorizers, in the order in which they are asked: Node, RBAC, AlwaysAllow, AlwaysDeny.")
	fs.StringVar(&c.ProxyClientCert, "proxy-client-cert-file", "", "Client certificate for aggregated API servers.")
	fs.StringVar(&c.ProxyClientKey, "proxy-client-key-file", "", "Key of --proxy-client-cert-file.")
	fs.BoolVar(&c.AggregatorRouting, "enable-aggregator-routing", c.AggregatorRouting, "Reach aggregated API servers and webhooks by endpoint address instead of cluster IP.")
	fs.BoolVar(&c.AllowPrivileged, "allow-privileged", false, "Admit privileged containers.")
	fs.DurationVar(&c.EventTTL, "event-ttl", c.EventTTL, "How long events are kept.")
}

func (a *AuthenticationConfig) addFlags(fs *pflag.FlagSet) {
	a.ClientCert.AddFlags(fs)
	a.RequestHeader.AddFlags(fs)
	fs.BoolVar(&a.Anonymous, "anonymous-auth", a.Anonymous, "Admit requests without credentials as system:anonymous.")
	fs.BoolVar(&a.BootstrapTokens, "enable-bootstrap-token-auth", a.BootstrapTokens, "Accept the tokens in kube-system's secrets of type bootstrap.kubernetes.io/token.")
	fs.StringVar(&a.TokenFile, "token-auth-file", "", "CSV file of static tokens.")
	fs.StringArrayVar(&a.Issuers, "service-account-issuer", nil, "Issuer of service-account tokens; the first one signs new tokens.")
	fs.StringArrayVar(&a.KeyFiles, "service-account-key-file", nil, "File of PEM keys that verify service-account tokens.")
	fs.StringVar(&a.SigningKeyFile, "service-account-signing-key-file", "", "File of the PEM key that signs service-account tokens.")
	fs.StringVar(&a.JWKSURI, "service-account-jwks-uri", "", "Where the discovery document says that the keys are.")
	fs.StringSliceVar(&a.Audiences, "api-audiences", nil, "Audiences of the API; the issuers when not given.")
	fs.DurationVar(&a.MaxTokenExpiration, "service-account-max-token-expiration", 0, "Longest life of a token.")
	fs.BoolVar(&a.ExtendExpiration, "service-account-extend-token-expiration", a.ExtendExpiration, "Let tokens that admission mounts live a year, for clients that do not read them again.")
	fs.BoolVar(&a.Lookup, "service-account-lookup", a.Lookup, "Refuse tokens whose service account is gone.")
}

func (s *ServiceConfig) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.ClusterIPRange, "service-cluster-ip-range", s.ClusterIPRange, "CIDR that cluster IPs come from; one of each family for dual stack.")
	fs.Var(&s.NodePortRange, "service-node-port-range", "Ports that node ports come from, such as 30000-32767.")
	fs.IntVar(&s.KubernetesNodePort, "kubernetes-service-node-port", 0, "Node port of the kubernetes Service; 0 for none.")
	fs.StringVar(&s.EndpointReconciler, "endpoint-reconciler-type", s.EndpointReconciler, "How the kubernetes Service's endpoints are kept: lease or none.")
}

func (k *KubeletConfig) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&k.ClientCert, "kubelet-client-certificate", "", "Client certificate for kubelets.")
	fs.StringVar(&k.ClientKey, "kubelet-client-key", "", "Key of --kubelet-client-certificate.")
	fs.StringVar(&k.CAFile, "kubelet-certificate-authority", "", "Authority of kubelets' serving certificates; not checked when empty.")
	fs.StringSliceVar(&k.AddressTypes, "kubelet-preferred-address-types", k.AddressTypes, "Node address types, in the order in which they are tried.")
	fs.DurationVar(&k.Timeout, "kubelet-timeout", k.Timeout, "Time-out for connecting to a kubelet.")
}

// complete fills in what follows from other settings or from the machine.
func (c *Config) complete() error {
	if err := c.Server.DefaultAdvertiseAddress(c.Serving); err != nil {
		return err
	}
	if len(c.Authentication.Audiences) == 0 && len(c.Authentication.Issuers) > 0 {
		c.Authentication.Audiences = c.Authentication.Issuers
	}
	return c.Serving.MaybeDefaultWithSelfSignedCerts(c.Server.AdvertiseAddress.String(), []string{"kubernetes.default.svc", "kubernetes.default", "kubernetes", "localhost"}, nil)
}

func splitComma(s string) []string {
	var parts []string
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
