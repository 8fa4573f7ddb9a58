package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/proxy"
	translator "k8s.io/apiserver/pkg/util/proxy"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/plumbline/plumbline/components/kubelet/handler"
)

// target finds the running container that a request is about, and answers the
// request if there is none.
func (s *Server) target(w http.ResponseWriter, r *http.Request) (containerID string, ok bool) {
	pod, ok := s.podOf(w, r)
	if !ok {
		return "", false
	}
	name := r.PathValue("container")
	c := s.c.Pods.State(pod.UID).Container(name)
	if c == nil || !c.Running() {
		http.Error(w, fmt.Sprintf("container not found (%q)", name), http.StatusNotFound)
		return "", false
	}
	return c.Id, true
}

func (s *Server) podOf(w http.ResponseWriter, r *http.Request) (*v1.Pod, bool) {
	pod, ok := s.c.Pods.Find(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		http.Error(w, "pod does not exist", http.StatusNotFound)
		return nil, false
	}
	if uid := types.UID(r.PathValue("uid")); uid != "" && uid != pod.UID {
		http.Error(w, "pod not found", http.StatusNotFound)
		return nil, false
	}
	return pod, true
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, ok := s.target(w, r)
	if !ok {
		return
	}
	answer, err := s.c.Runtime.Exec(r.Context(), &runtimeapi.ExecRequest{
		ContainerId: id, Cmd: r.URL.Query()["command"], Tty: options.TTY,
		Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr,
	})
	s.hand(w, r, answer.GetUrl(), options, err)
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, ok := s.target(w, r)
	if !ok {
		return
	}
	answer, err := s.c.Runtime.Attach(r.Context(), &runtimeapi.AttachRequest{
		ContainerId: id, Tty: options.TTY, Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr,
	})
	s.hand(w, r, answer.GetUrl(), options, err)
}

// hand passes the connection on to the runtime's streaming server.
func (s *Server) hand(w http.ResponseWriter, r *http.Request, location string, options *remotecommand.Options, err error) {
	target, err := streamURL(location, err)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		// The runtime speaks SPDY; what comes by WebSocket is translated.
		translator.NewStreamTranslatorHandler(target, nil, 0, translator.Options{
			Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr, Tty: options.TTY,
		}).ServeHTTP(w, r)
		return
	}
	proxy.NewUpgradeAwareHandler(target, nil, false, true, responder{}).ServeHTTP(w, r)
}

func streamURL(location string, err error) (*url.URL, error) {
	if err != nil {
		return nil, err
	}
	return url.Parse(location)
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	tunnel := wsstream.IsWebSocketRequestWithTunnelingProtocol(r)
	options := &portforward.V4Options{}
	if !tunnel {
		var err error
		if options, err = portforward.NewV4Options(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	pod, ok := s.podOf(w, r)
	if !ok {
		return
	}
	sandbox := s.c.Pods.State(pod.UID).Sandbox()
	if sandbox == nil || !sandbox.Ready() {
		http.Error(w, fmt.Sprintf("pod not found (%q)", pod.Name+"_"+pod.Namespace), http.StatusNotFound)
		return
	}
	answer, err := s.c.Runtime.PortForward(r.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: sandbox.Id, Port: options.Ports})
	target, err := streamURL(answer.GetUrl(), err)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var next http.Handler = proxy.NewUpgradeAwareHandler(target, nil, false, true, responder{})
	if tunnel {
		next = translator.NewTunnelingHandler(next)
	}
	next.ServeHTTP(w, r)
}

// run runs a command to its end and answers with its output.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	id, ok := s.target(w, r)
	if !ok {
		return
	}
	command := strings.Split(r.FormValue("cmd"), " ")
	output, err := handler.Command(r.Context(), s.c.Runtime, id, command, 2*time.Minute)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte(output))
}

// responder answers when the runtime's streaming server does not.
type responder struct{}

func (responder) Error(w http.ResponseWriter, r *http.Request, err error) {
	klog.FromContext(r.Context()).V(2).Info("Streaming failed", "err", err)
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
