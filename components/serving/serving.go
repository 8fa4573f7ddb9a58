// Package serving is a component's own server: health for anybody, metrics and profiles for those whom the API server
// lets read them, over HTTPS. It is a library of components, as their namesakes upstream share one.
package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strconv"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"
)

// Content is what a component serves.
type Content struct {
	Metrics http.Handler
	// Profiles adds /debug/pprof.
	Profiles bool
	// Ready are the checks of /readyz beside that the server answers.
	Ready []healthz.HealthChecker
}

func (c Content) handler() http.Handler {
	mux := http.NewServeMux()
	healthz.InstallHandler(mux)
	healthz.InstallLivezHandler(mux)
	healthz.InstallReadyzHandler(mux, c.Ready...)
	mux.Handle("/metrics", c.Metrics)
	if c.Profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// Server is a server that listens already.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen takes the port, so that a port that is taken is known before any work begins.
func Listen(ctx context.Context, options Options, reviewers Reviewers, content Content) (*Server, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	certificate, err := Certificate(options.CertFile, options.KeyFile, []string{host, "localhost"}, []net.IP{options.BindAddress, net.IPv4(127, 0, 0, 1), net.IPv6loopback})
	if err != nil {
		return nil, fmt.Errorf("--tls-cert-file, --tls-private-key-file: %w", err)
	}
	guard, err := newGuard(ctx, options, reviewers)
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(options.BindAddress.String(), strconv.Itoa(options.Port))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--bind-address, --secure-port: %w", err)
	}
	return &Server{listener: listener, http: &http.Server{
		Handler:           guard.protect(content.handler()),
		ReadHeaderTimeout: 30 * time.Second,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate, ClientAuth: tls.RequestClientCert},
	}}, nil
}

// Address is where the server listens.
func (s *Server) Address() net.Addr { return s.listener.Addr() }

// Run answers requests until ctx ends.
func (s *Server) Run(ctx context.Context) error { return Serve(ctx, s.listener, s.http) }

// Serve has an HTTP server answer on a listener until ctx ends; with TLS if the server is configured for it.
func Serve(ctx context.Context, listener net.Listener, server *http.Server) error {
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	serve := server.Serve
	if server.TLSConfig != nil {
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", listener.Addr(), err)
	}
	return nil
}
