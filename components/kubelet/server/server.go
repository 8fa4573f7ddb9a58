// Package server is the kubelet's API: the logs of containers and a way into them,
// what pods there are and what they use.
package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics/legacyregistry"
	internalapi "k8s.io/cri-api/pkg/apis"
	"k8s.io/klog/v2"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/plumbline/plumbline/components/kubelet/runtime"

	"github.com/plumbline/plumbline/components/serving"
)

// Pods is what the server knows of pods.
type Pods interface {
	Pods() []*v1.Pod
	Find(namespace, name string) (*v1.Pod, bool)
	State(uid types.UID) *runtime.Pod
}

// Stats measures the node and its pods.
type Stats interface {
	Summary(ctx context.Context) (*statsapi.Summary, error)
}

// Config is what the server serves.
type Config struct {
	Pods    Pods
	Stats   Stats
	Runtime internalapi.RuntimeService
	// Resource writes the page of /metrics/resource, CAdvisor that of /metrics/cadvisor.
	Resource, CAdvisor func(w io.Writer, summary *statsapi.Summary) error
	// Healthy says why the kubelet is not well.
	Healthy func() error
	// Configz is shown at /configz.
	Configz any
	// LogDir is shown at /logs/; empty shows nothing.
	LogDir string
	// Debugging serves exec, attach, port-forward and what else changes containers.
	Debugging bool
	Access    *Access
	// IdleTimeout ends streams without traffic.
	IdleTimeout time.Duration
}

// Server serves the kubelet's API.
type Server struct {
	c Config
}

// New returns a server.
func New(c Config) *Server { return &Server{c: c} }

// Handler is the API without the checks of who may use it.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", Healthz(s.c.Healthy))
	mux.HandleFunc("GET /healthz/{check}", Healthz(s.c.Healthy))
	mux.HandleFunc("GET /pods", s.pods)
	mux.HandleFunc("GET /pods/{$}", s.pods)
	mux.HandleFunc("GET /runningpods/{$}", s.runningPods)
	mux.HandleFunc("GET /runningpods", s.runningPods)
	mux.HandleFunc("GET /stats/summary", s.summary)
	mux.Handle("GET /metrics", legacyregistry.HandlerWithReset())
	mux.HandleFunc("GET /metrics/resource", s.page(s.c.Resource))
	mux.HandleFunc("GET /metrics/cadvisor", s.page(s.c.CAdvisor))
	mux.HandleFunc("GET /metrics/probes", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	})
	mux.HandleFunc("GET /configz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"kubeletconfig": s.c.Configz})
	})
	if !s.c.Debugging {
		return mux
	}
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.containerLogs)
	for _, method := range []string{"GET", "POST"} {
		for _, uid := range []string{"", "/{uid}"} {
			mux.HandleFunc(method+" /exec/{namespace}/{pod}"+uid+"/{container}", s.exec)
			mux.HandleFunc(method+" /attach/{namespace}/{pod}"+uid+"/{container}", s.attach)
			mux.HandleFunc(method+" /portForward/{namespace}/{pod}"+uid, s.portForward)
		}
	}
	mux.HandleFunc("POST /run/{namespace}/{pod}/{container}", s.run)
	mux.HandleFunc("POST /run/{namespace}/{pod}/{uid}/{container}", s.run)
	if s.c.LogDir != "" {
		mux.Handle("GET /logs/", http.StripPrefix("/logs/", http.FileServer(http.Dir(s.c.LogDir))))
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// ReadOnly is the part of the API that may be shown to anybody.
func (s *Server) ReadOnly() http.Handler {
	mux := http.NewServeMux()
	all := s.Handler()
	for _, path := range []string{"/healthz", "/pods", "/pods/", "/stats/summary", "/metrics", "/metrics/", "/runningpods/"} {
		mux.Handle("GET "+path, all)
	}
	return mux
}

// Serve answers requests with TLS until ctx ends.
func (s *Server) Serve(ctx context.Context, address string, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("address, port: %w", err)
	}
	server := &http.Server{
		Handler: s.c.Access.Guard(s.Handler()),
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			ClientAuth:     tls.RequestClientCert,
			GetCertificate: certificate,
			// Exec and its kin take the connection over, which HTTP/2 does not allow.
			NextProtos: []string{"http/1.1"},
		},
		IdleTimeout:       s.c.IdleTimeout,
		ReadHeaderTimeout: 30 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          klog.NewStandardLogger("INFO"),
	}
	return serving.Serve(ctx, listener, server)
}

// ServePlain answers requests without TLS, for the health port and the read-only port.
func ServePlain(ctx context.Context, address string, handler http.Handler) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second}
	return serving.Serve(ctx, listener, server)
}

// Healthz answers ok as long as healthy does not object.
func Healthz(healthy func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if healthy != nil {
			if err := healthy(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok")
	}
}

func writeJSON(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(object); err != nil {
		klog.V(2).InfoS("Write an answer", "err", err)
	}
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) { writeJSON(w, podList(s.c.Pods.Pods())) }

func podList(pods []*v1.Pod) *v1.PodList {
	list := &v1.PodList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "PodList"})
	list.Items = []v1.Pod{}
	for _, pod := range pods {
		list.Items = append(list.Items, *pod)
	}
	return list
}

func (s *Server) runningPods(w http.ResponseWriter, _ *http.Request) {
	var running []*v1.Pod
	for _, pod := range s.c.Pods.Pods() {
		if len(s.c.Pods.State(pod.UID).RunningContainers()) > 0 {
			running = append(running, pod)
		}
	}
	writeJSON(w, podList(running))
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	summary, err := s.c.Stats.Summary(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if strings.EqualFold(r.URL.Query().Get("only_cpu_and_memory"), "true") {
		summary = onlyCPUAndMemory(summary)
	}
	writeJSON(w, summary)
}

func onlyCPUAndMemory(full *statsapi.Summary) *statsapi.Summary {
	out := &statsapi.Summary{Node: statsapi.NodeStats{
		NodeName: full.Node.NodeName, StartTime: full.Node.StartTime, CPU: full.Node.CPU, Memory: full.Node.Memory,
	}}
	for _, pod := range full.Pods {
		brief := statsapi.PodStats{PodRef: pod.PodRef, StartTime: pod.StartTime, CPU: pod.CPU, Memory: pod.Memory}
		for _, c := range pod.Containers {
			brief.Containers = append(brief.Containers, statsapi.ContainerStats{Name: c.Name, StartTime: c.StartTime, CPU: c.CPU, Memory: c.Memory})
		}
		out.Pods = append(out.Pods, brief)
	}
	return out
}

// page serves figures in Prometheus' text format.
func (s *Server) page(write func(io.Writer, *statsapi.Summary) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if write == nil || s.c.Stats == nil {
			http.NotFound(w, r)
			return
		}
		summary, err := s.c.Stats.Summary(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if err := write(w, summary); err != nil {
			klog.FromContext(r.Context()).V(2).Info("Write an answer", "err", err)
		}
	}
}
