package serving

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/spf13/pflag"
)

// Options are the flags of a component's server.
type Options struct {
	BindAddress net.IP
	// Port 0 serves nothing.
	Port int
	// CertFile and KeyFile are the serving certificate; without them one is made.
	CertFile, KeyFile string
	// ClientCAFile has the authorities of client certificates that are accepted.
	ClientCAFile string
	// AuthenticationKubeconfig and AuthorizationKubeconfig connect to the API server that knows who may read what;
	// empty means the component's own kubeconfig.
	AuthenticationKubeconfig, AuthorizationKubeconfig string
	// AlwaysAllowPaths may be read by anybody.
	AlwaysAllowPaths []string
}

// Defaults are the options of a component that serves on a port.
func Defaults(port int) Options {
	return Options{BindAddress: net.IPv4zero, Port: port, AlwaysAllowPaths: []string{"/healthz", "/readyz", "/livez"}}
}

// AddFlags binds the options to flags under upstream's names.
func (o *Options) AddFlags(set *pflag.FlagSet) {
	set.IPVar(&o.BindAddress, "bind-address", o.BindAddress, "The IP address on which to listen for --secure-port.")
	set.IntVar(&o.Port, "secure-port", o.Port, "The port on which to serve HTTPS with authentication and authorization; 0 serves nothing.")
	set.StringVar(&o.CertFile, "tls-cert-file", o.CertFile, "The serving certificate; without it, a self-signed one is made.")
	set.StringVar(&o.KeyFile, "tls-private-key-file", o.KeyFile, "The private key of --tls-cert-file.")
	set.StringVar(&o.ClientCAFile, "client-ca-file", o.ClientCAFile, "Authorities whose client certificates are accepted.")
	set.StringVar(&o.AuthenticationKubeconfig, "authentication-kubeconfig", o.AuthenticationKubeconfig, "Kubeconfig with rights to create tokenreviews.authentication.k8s.io.")
	set.StringVar(&o.AuthorizationKubeconfig, "authorization-kubeconfig", o.AuthorizationKubeconfig, "Kubeconfig with rights to create subjectaccessreviews.authorization.k8s.io.")
	set.StringSliceVar(&o.AlwaysAllowPaths, "authorization-always-allow-paths", o.AlwaysAllowPaths, "HTTP paths that need no authorization.")
}

// Validate names every mistake with its flag.
func (o *Options) Validate() error {
	var errs []error
	if o.BindAddress == nil {
		errs = append(errs, errors.New("--bind-address: an IP address is required"))
	}
	if o.Port < 0 || o.Port > 65535 {
		errs = append(errs, fmt.Errorf("--secure-port: %d is not a port: must be between 0 and 65535, 0 for turning off serving", o.Port))
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		errs = append(errs, errors.New("--tls-cert-file and --tls-private-key-file: give both or neither"))
	}
	for _, file := range [...]struct{ flag, path string }{
		{"tls-cert-file", o.CertFile},
		{"tls-private-key-file", o.KeyFile},
		{"client-ca-file", o.ClientCAFile},
		{"authentication-kubeconfig", o.AuthenticationKubeconfig},
		{"authorization-kubeconfig", o.AuthorizationKubeconfig},
	} {
		if file.path == "" {
			continue
		}
		if _, err := os.Stat(file.path); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", file.flag, err))
		}
	}
	return errors.Join(errs...)
}
