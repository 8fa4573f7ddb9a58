package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	criclientlogs "k8s.io/cri-client/pkg/logs"

	"github.com/plumbline/plumbline/components/kubelet/runtime"
	"github.com/plumbline/plumbline/components/kubelet/status"
)

// containerLogs answers with what a container wrote.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	namespace, name, container := r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")
	pod, ok := s.c.Pods.Find(namespace, name)
	if !ok {
		http.Error(w, fmt.Sprintf("pod %q does not exist", name), http.StatusNotFound)
		return
	}
	if !hasContainer(pod, container) {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", container, name), http.StatusNotFound)
		return
	}
	options, stream, err := logOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	found, err := pickRun(pod, s.c.Pods.State(pod.UID), container, r.URL.Query().Get("previous") == "true")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := os.Stat(found.GetLogPath()); err != nil {
		http.Error(w, fmt.Sprintf("failed to try resolving symlinks in path %q: %v", found.GetLogPath(), err), http.StatusInternalServerError)
		return
	}
	out := &flusher{w: w}
	w.Header().Set("Content-Type", "text/plain")
	if options.Follow {
		w.Header().Set("Transfer-Encoding", "chunked")
		out.flush()
	}
	stdout, stderr := io.Writer(out), io.Writer(out)
	switch stream {
	case v1.LogStreamStdout:
		stderr = nil
	case v1.LogStreamStderr:
		stdout = nil
	}
	if err := criclientlogs.ReadLogs(r.Context(), found.GetLogPath(), found.Id, options, s.c.Runtime, stdout, stderr); err != nil && r.Context().Err() == nil {
		if !out.begun {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

// flusher sends each line on at once.
type flusher struct {
	w     http.ResponseWriter
	begun bool
}

func (f *flusher) Write(p []byte) (int, error) {
	f.begun = true
	n, err := f.w.Write(p)
	f.flush()
	return n, err
}

func (f *flusher) flush() {
	if flush, ok := f.w.(http.Flusher); ok {
		flush.Flush()
	}
}

// logOptions reads the query of a request for logs.
func logOptions(r *http.Request) (*criclientlogs.LogOptions, string, error) {
	query := r.URL.Query()
	options := &criclientlogs.LogOptions{}
	flag := func(name string) (bool, error) {
		text := query.Get(name)
		if text == "" {
			return false, nil
		}
		value, err := strconv.ParseBool(text)
		if err != nil {
			return false, fmt.Errorf("%s: %q is not true or false", name, text)
		}
		return value, nil
	}
	amount := func(name string, least int64) (*int64, error) {
		text := query.Get(name)
		if text == "" {
			return nil, nil
		}
		value, err := strconv.ParseInt(text, 10, 64)
		if err != nil || value < least {
			return nil, fmt.Errorf("%s: %q is not a number of at least %d", name, text, least)
		}
		return &value, nil
	}
	var errs []error
	var err error
	options.Follow, err = flag("follow")
	errs = append(errs, err)
	options.Timestamp, err = flag("timestamps")
	errs = append(errs, err)
	if query.Get("tailLines") != "all" {
		options.TailLines, err = amount("tailLines", 0)
		errs = append(errs, err)
	}
	options.LimitBytes, err = amount("limitBytes", 1)
	errs = append(errs, err)
	seconds, err := amount("sinceSeconds", 1)
	errs = append(errs, err)
	if seconds != nil {
		options.Since = time.Now().Add(-time.Duration(*seconds) * time.Second)
	}
	if text := query.Get("sinceTime"); text != "" {
		since, err := time.Parse(time.RFC3339, text)
		errs = append(errs, err)
		options.Since = since
	}
	stream := query.Get("stream")
	switch stream {
	case "":
		stream = v1.LogStreamAll
	case v1.LogStreamAll, v1.LogStreamStdout, v1.LogStreamStderr:
	default:
		errs = append(errs, fmt.Errorf("stream: %q is not one of %s, %s, %s", stream, v1.LogStreamAll, v1.LogStreamStdout, v1.LogStreamStderr))
	}
	return options, stream, errors.Join(errs...)
}

func hasContainer(pod *v1.Pod, name string) bool {
	for _, list := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for _, c := range list {
			if c.Name == name {
				return true
			}
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			return true
		}
	}
	return false
}

// pickRun finds the run of a container whose logs are asked for: the one that runs or
// ended last, or the one before.
func pickRun(pod *v1.Pod, state *runtime.Pod, container string, previous bool) (*runtime.Container, error) {
	newest := state.Container(container)
	if newest != nil && !newest.Running() && !newest.Exited() {
		// Made, but not started: its logs are those of the run before.
		if older := state.Previous(container); older != nil && !previous {
			newest = older
		}
	}
	if previous {
		if older := state.Previous(container); older != nil {
			return older, nil
		}
		return nil, fmt.Errorf("previous terminated container %q in pod %q not found", container, pod.Name)
	}
	if newest != nil && (newest.Running() || newest.Exited()) {
		return newest, nil
	}
	for _, list := range [][]v1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		s := status.Find(list, container)
		if s == nil || s.State.Waiting == nil {
			continue
		}
		switch reason := s.State.Waiting.Reason; reason {
		case "ErrImagePull":
			return nil, fmt.Errorf("container %q in pod %q is waiting to start: image can't be pulled", container, pod.Name)
		case "ImagePullBackOff":
			return nil, fmt.Errorf("container %q in pod %q is waiting to start: trying and failing to pull image", container, pod.Name)
		default:
			return nil, fmt.Errorf("container %q in pod %q is waiting to start: %v", container, pod.Name, reason)
		}
	}
	return nil, fmt.Errorf("container %q in pod %q is not available", container, pod.Name)
}
