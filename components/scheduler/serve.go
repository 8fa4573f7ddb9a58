package scheduler

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
)

// endpoints is what is served besides health.
type endpoints struct {
	metrics http.Handler
	ready   func() bool
}

// serve serves health and metrics over HTTPS until ctx is done; the channel is closed when it has ended.
func serve(ctx context.Context, config *Config, e *endpoints) (<-chan struct{}, error) {
	certificate, err := servingCertificate(config)
	if err != nil {
		return nil, err
	}
	guard, err := newGuard(config)
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(config.BindAddress.String(), strconv.Itoa(config.SecurePort))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--secure-port: %w", err)
	}
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }
	mux.HandleFunc("/healthz", ok)
	mux.HandleFunc("/livez", ok)
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if !e.ready() {
			http.Error(w, "[-]sched-handler-sync failed: the first lists are not taken in yet", http.StatusInternalServerError)
			return
		}
		ok(w, r)
	})
	mux.Handle("/metrics", e.metrics)
	server := &http.Server{
		Handler:           guard.protect(mux),
		ReadHeaderTimeout: 30 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			klog.FromContext(ctx).Error(err, "Serving ended")
		}
	}()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return done, nil
}

// guard admits requests to paths that not everybody may read.
type guard struct {
	open          []string
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
}

func newGuard(config *Config) (*guard, error) {
	first := func(paths ...string) string {
		for _, path := range paths {
			if path != "" {
				return path
			}
		}
		return ""
	}
	main := first(config.Component.ClientConnection.Kubeconfig, config.Kubeconfig)
	clients := [2]kubernetes.Interface{}
	for i, path := range []string{first(config.AuthenticationKubeconfig, main), first(config.AuthorizationKubeconfig, main)} {
		rest, err := connect(path, config.Component)
		if err != nil {
			return nil, err
		}
		if clients[i], err = kubernetes.NewForConfig(rest); err != nil {
			return nil, err
		}
	}
	retry := &wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
	authn := authenticatorfactory.DelegatingAuthenticatorConfig{
		TokenAccessReviewClient:  clients[0].AuthenticationV1(),
		TokenAccessReviewTimeout: 10 * time.Second,
		WebhookRetryBackoff:      retry,
		CacheTTL:                 10 * time.Second,
	}
	if config.ClientCAFile != "" {
		authorities, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca-bundle", config.ClientCAFile)
		if err != nil {
			return nil, fmt.Errorf("--client-ca-file: %w", err)
		}
		authn.ClientCertificateCAContentProvider = authorities
	}
	g := &guard{open: config.AlwaysAllowPaths}
	var err error
	if g.authenticator, _, err = authn.New(); err != nil {
		return nil, err
	}
	g.authorizer, err = authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: clients[1].AuthorizationV1(),
		AllowCacheTTL:             10 * time.Second,
		DenyCacheTTL:              10 * time.Second,
		WebhookRetryBackoff:       retry,
	}.New()
	return g, err
}

func (g *guard) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(g.open, r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		who, authenticated, err := g.authenticator.AuthenticateRequest(r)
		if err != nil || !authenticated {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		verb := map[string]string{http.MethodGet: "get", http.MethodHead: "head"}[r.Method]
		decision, reason, err := g.authorizer.Authorize(r.Context(), authorizer.AttributesRecord{User: who.User, Verb: verb, Path: r.URL.Path})
		if err != nil || decision != authorizer.DecisionAllow {
			http.Error(w, fmt.Sprintf("Forbidden: user %q cannot %s path %q %s", who.User.GetName(), verb, r.URL.Path, reason), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// servingCertificate loads the certificate, or signs one itself: of an elliptic curve, which takes no time.
func servingCertificate(config *Config) (tls.Certificate, error) {
	if config.CertFile != "" {
		return tls.LoadX509KeyPair(config.CertFile, config.KeyFile)
	}
	host, err := os.Hostname()
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: fmt.Sprintf("%s@%d", host, now.Unix())},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{host, "localhost"},
		IPAddresses:           []net.IP{config.BindAddress, net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
