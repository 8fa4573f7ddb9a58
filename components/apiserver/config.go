package apiserver

import (
	"errors"
	"fmt"
	"net"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	netutils "k8s.io/utils/net"

	"github.com/plumbline/plumbline/components/apiserver/features"
)

// Config is everything that a command line can say about an API server.
type Config struct {
	// Server, Serving, Features and Audit are the library's own settings. Server has the
	// feature gates.
	Server   *options.ServerRunOptions
	Serving  *options.SecureServingOptions
	Features *options.FeatureOptions
	Audit    *options.AuditOptions
	// APIs turns built-in versions and resources on and off.
	APIs *options.APIEnablementOptions
	// Etcd is where objects are stored.
	Etcd *options.EtcdOptions
	// Admission names the plugins to add to or take from the default ones.
	Admission AdmissionConfig
	// Authentication says who a client is.
	Authentication AuthenticationConfig
	// AuthorizationModes are asked in turn: Node, RBAC, AlwaysAllow, AlwaysDeny.
	AuthorizationModes []string
	// Services are the addresses and ports that Services get.
	Services ServiceConfig
	// Kubelet is how kubelets are reached.
	Kubelet KubeletConfig
	// ProxyClientCert and ProxyClientKey prove this server to aggregated API servers.
	ProxyClientCert, ProxyClientKey string
	// AggregatorRouting reaches aggregated servers and webhooks by endpoint address
	// instead of by cluster IP.
	AggregatorRouting bool
	// AllowPrivileged admits privileged containers. Pods are what it is about, so
	// their validation would read it; it is accepted for the command line's sake.
	AllowPrivileged bool
	// EventTTL is how long events are kept.
	EventTTL time.Duration
}

// AdmissionConfig names admission plugins.
type AdmissionConfig struct {
	Enable, Disable []string
	// ConfigFile configures single plugins.
	ConfigFile string
	// NotReadySeconds and UnreachableSeconds are how long pods stay on such a node
	// that do not say otherwise.
	NotReadySeconds, UnreachableSeconds int64
}

// AuthenticationConfig says which proofs of identity are accepted.
type AuthenticationConfig struct {
	ClientCert    options.ClientCertAuthenticationOptions
	RequestHeader options.RequestHeaderAuthenticationOptions
	// Anonymous admits requests without any proof, as system:anonymous.
	Anonymous bool
	// BootstrapTokens accepts the tokens in kube-system's bootstrap-token secrets.
	BootstrapTokens bool
	// TokenFile is a CSV file of static tokens.
	TokenFile string
	// Issuers, KeyFiles and SigningKeyFile are those of service-account tokens.
	// The first issuer is written into new tokens.
	Issuers        []string
	KeyFiles       []string
	SigningKeyFile string
	// JWKSURI overrides where the discovery document says that the keys are.
	JWKSURI string
	// Audiences that tokens may be for; the issuers when empty.
	Audiences []string
	// MaxTokenExpiration bounds a token's life.
	MaxTokenExpiration time.Duration
	// ExtendExpiration lets tokens of old clients live a year; see KEP-1205.
	ExtendExpiration bool
	// Lookup refuses tokens of deleted service accounts.
	Lookup bool
}

// ServiceConfig is about addresses and ports of Services.
type ServiceConfig struct {
	// ClusterIPRange is a CIDR, or two separated by a comma.
	ClusterIPRange string
	NodePortRange  utilnet.PortRange
	// KubernetesNodePort gives the kubernetes Service a node port when not 0.
	KubernetesNodePort int
	// EndpointReconciler is "lease" or "none".
	EndpointReconciler string
}

// KubeletConfig is how the server reaches a node's kubelet.
type KubeletConfig struct {
	ClientCert, ClientKey, CAFile string
	// AddressTypes are tried in turn: InternalIP, Hostname, ...
	AddressTypes []string
	Timeout      time.Duration
}

// NewConfig has upstream's defaults.
func NewConfig() (*Config, error) {
	if err := features.Register(utilfeature.DefaultMutableFeatureGate); err != nil {
		return nil, fmt.Errorf("feature gates: %w", err)
	}
	c := &Config{
		Server:   options.NewServerRunOptions(),
		Serving:  options.NewSecureServingOptions(),
		Features: options.NewFeatureOptions(),
		Audit:    options.NewAuditOptions(),
		APIs:     options.NewAPIEnablementOptions(),
		Etcd:     protobufStorage(),
		Authentication: AuthenticationConfig{
			Anonymous: true, Lookup: true, ExtendExpiration: true,
		},
		Admission:          AdmissionConfig{NotReadySeconds: 300, UnreachableSeconds: 300},
		AuthorizationModes: []string{ModeAlwaysAllow},
		Services: ServiceConfig{
			ClusterIPRange:     "10.0.0.0/24",
			NodePortRange:      utilnet.PortRange{Base: 30000, Size: 2768},
			EndpointReconciler: "lease",
		},
		Kubelet: KubeletConfig{
			AddressTypes: []string{"Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"},
			Timeout:      5 * time.Second,
		},
		AggregatorRouting: false,
		EventTTL:          time.Hour,
	}
	c.Serving.BindPort = 6443
	c.Serving.Required = true
	c.Serving.ServerCert.PairName = "apiserver"
	c.Serving.ServerCert.CertDirectory = "/var/run/kubernetes"
	return c, nil
}

// Validate names every setting that cannot work.
func (c *Config) Validate() error {
	var errs []error
	errs = append(errs, c.Server.Validate()...)
	errs = append(errs, c.Serving.Validate()...)
	errs = append(errs, c.Features.Validate()...)
	errs = append(errs, c.Audit.Validate()...)
	errs = append(errs, c.Etcd.Validate()...)
	errs = append(errs, c.Authentication.RequestHeader.Validate()...)
	errs = append(errs, c.Authentication.validate()...)
	errs = append(errs, c.Services.validate()...)
	for _, mode := range c.AuthorizationModes {
		if !knownModes.Has(mode) {
			errs = append(errs, fmt.Errorf("--authorization-mode: %q is not a valid mode; valid are %v", mode, knownModes.UnsortedList()))
		}
	}
	if (c.ProxyClientCert == "") != (c.ProxyClientKey == "") {
		errs = append(errs, errors.New("--proxy-client-cert-file and --proxy-client-key-file must be given together"))
	}
	if (c.Kubelet.ClientCert == "") != (c.Kubelet.ClientKey == "") {
		errs = append(errs, errors.New("--kubelet-client-certificate and --kubelet-client-key must be given together"))
	}
	return errors.Join(errs...)
}

func (a *AuthenticationConfig) validate() []error {
	var errs []error
	if len(a.Issuers) > 0 && len(a.KeyFiles) == 0 && a.SigningKeyFile == "" {
		errs = append(errs, errors.New("--service-account-issuer needs --service-account-signing-key-file or --service-account-key-file"))
	}
	if a.SigningKeyFile != "" && len(a.Issuers) == 0 {
		errs = append(errs, errors.New("--service-account-signing-key-file needs --service-account-issuer"))
	}
	if a.MaxTokenExpiration != 0 && (a.MaxTokenExpiration < time.Hour || a.MaxTokenExpiration > 1<<32*time.Second) {
		errs = append(errs, errors.New("--service-account-max-token-expiration must be between 1 hour and 2^32 seconds"))
	}
	return errs
}

func (s *ServiceConfig) validate() []error {
	var errs []error
	if ranges, err := s.ranges(); err != nil {
		errs = append(errs, err)
	} else if len(ranges) > 2 {
		errs = append(errs, fmt.Errorf("--service-cluster-ip-range: at most two ranges, one of each family, got %d", len(ranges)))
	}
	if s.EndpointReconciler != "lease" && s.EndpointReconciler != "none" {
		errs = append(errs, fmt.Errorf("--endpoint-reconciler-type: %q is not known; valid are lease and none", s.EndpointReconciler))
	}
	if s.KubernetesNodePort != 0 && !s.NodePortRange.Contains(s.KubernetesNodePort) {
		errs = append(errs, fmt.Errorf("--kubernetes-service-node-port: %d is not in --service-node-port-range %s", s.KubernetesNodePort, s.NodePortRange.String()))
	}
	return errs
}

// ranges are the parsed ClusterIPRange.
func (s *ServiceConfig) ranges() ([]*net.IPNet, error) {
	ranges, err := netutils.ParseCIDRs(splitComma(s.ClusterIPRange))
	if err != nil {
		return nil, fmt.Errorf("--service-cluster-ip-range: %w", err)
	}
	if len(ranges) == 0 {
		return nil, errors.New("--service-cluster-ip-range: a CIDR such as 10.96.0.0/16 is needed")
	}
	return ranges, nil
}
