// Package healthcheck answers load balancers and probes: whether the proxy itself is
// up (the healthz port), and, on a Service's healthCheckNodePort, whether this node has
// an endpoint of it
// (https://kubernetes.io/docs/tasks/access-application-cluster/create-external-load-balancer/#preserving-the-client-source-ip).
package healthcheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// Proxy is the health of the proxy as a whole. Safe for concurrent use.
type Proxy struct {
	mu       sync.Mutex
	updated  time.Time
	pending  time.Time // since when a change waits to be programmed; zero for none
	deleting bool
	now      func() time.Time
	patience time.Duration
}

// NewProxy makes a Proxy that is unhealthy until the first Programmed, and again
// when a change has waited for longer than patience.
func NewProxy(patience time.Duration) *Proxy {
	return &Proxy{now: time.Now, patience: patience}
}

// Queued notes that a change waits to be programmed.
func (p *Proxy) Queued() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending.IsZero() {
		p.pending = p.now()
	}
}

// Programmed notes that the kernel is up to date.
func (p *Proxy) Programmed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.updated, p.pending = p.now(), time.Time{}
}

// NodeLeaving notes that the node is about to be deleted, so that load balancers turn
// to others (KEP-3836).
func (p *Proxy) NodeLeaving(leaving bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deleting = leaving
}

func (p *Proxy) working() (bool, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := !p.pending.IsZero() && p.now().Sub(p.pending) > p.patience
	return !p.updated.IsZero() && !late, p.updated
}

// Handler serves /healthz, which counts a node that is leaving as unhealthy, and /livez,
// which does not.
func (p *Proxy) Handler() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, healthy bool, updated time.Time) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{
			"lastUpdated": updated.UTC().String(),
			"currentTime": p.now().UTC().String(),
		})
	}
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) {
		working, updated := p.working()
		answer(w, working, updated)
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		working, updated := p.working()
		p.mu.Lock()
		leaving := p.deleting
		p.mu.Unlock()
		answer(w, working && !leaving, updated)
	})
	return mux
}

// Service is what is told of one Service on its health-check node port.
type Service struct {
	Name  types.NamespacedName
	Port  uint16
	Local int // endpoints on this node
}

// Services listens on the health-check node ports of all Services that have one.
// Safe for concurrent use.
type Services struct {
	proxy  *Proxy
	listen func(address string) (net.Listener, error)

	mu      sync.Mutex
	servers map[types.NamespacedName]*serviceServer
}

type serviceServer struct {
	port  uint16
	local int
	http  *http.Server
}

// NewServices makes a Services that listens nowhere yet.
func NewServices(proxy *Proxy) *Services {
	return &Services{
		proxy:   proxy,
		listen:  func(address string) (net.Listener, error) { return net.Listen("tcp", address) },
		servers: map[types.NamespacedName]*serviceServer{},
	}
}

// Set serves service; with port 0 it ends serving it.
func (s *Services) Set(service Service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	present := s.servers[service.Name]
	if present != nil && present.port == service.Port {
		present.local = service.Local
		return nil
	}
	if present != nil {
		_ = present.http.Close()
		delete(s.servers, service.Name)
	}
	if service.Port == 0 {
		return nil
	}
	listener, err := s.listen(net.JoinHostPort("", strconv.Itoa(int(service.Port))))
	if err != nil {
		return fmt.Errorf("health check of %s: %w", service.Name, err)
	}
	server := &serviceServer{port: service.Port, local: service.Local}
	server.http = &http.Server{Handler: s.handler(service.Name), ReadHeaderTimeout: 10 * time.Second}
	s.servers[service.Name] = server
	go func() {
		if err := server.http.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			klog.ErrorS(err, "Serving a health check", "service", service.Name, "port", service.Port)
		}
	}()
	return nil
}

// Close ends all servers.
func (s *Services) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, server := range s.servers {
		_ = server.http.Close()
		delete(s.servers, name)
	}
}

type serviceAnswer struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints int  `json:"localEndpoints"`
	ProxyHealthy   bool `json:"serviceProxyHealthy"`
}

func (s *Services) handler(name types.NamespacedName) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		local := 0
		if server := s.servers[name]; server != nil {
			local = server.local
		}
		s.mu.Unlock()
		working, _ := s.proxy.working()
		body := serviceAnswer{LocalEndpoints: local, ProxyHealthy: working}
		body.Service.Namespace, body.Service.Name = name.Namespace, name.Name
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(local))
		if local == 0 || !working {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(body)
	})
}
