// Package worker runs processes of a Ginkgo suite that ask for one spec after the other
// and tell of each when it has ended. It stands where Ginkgo's command line stands in a
// parallel run and speaks the same protocol (over HTTP, which Ginkgo's processes choose
// by GINKGO_PARALLEL_PROTOCOL), with two differences: which spec a process runs next is
// ours to say, and a process that hangs or dies is replaced without the others' notice.
package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// Director says what workers do and is told what they did. Its methods are called from
// several goroutines, each worker's one after the other.
type Director interface {
	// Next is the turn of the worker's next spec; false ends the worker.
	Next(worker int) (turn int, ok bool)
	// Did tells of a spec that has ended, or of a suite's set-up or end.
	Did(worker int, report types.SpecReport)
	// Progress tells where a spec stands, as it was asked to or by its own doing.
	Progress(worker int, report types.ProgressReport)
}

// first is the worker that does what a suite does once: it sets up, and cleans up when
// the others have ended.
const first = 1

// Server is the end of the protocol that the workers call.
type Server struct {
	director Director
	listener net.Listener
	http     *http.Server

	mu    sync.Mutex
	alive map[int]bool
	// setUp and reportedSetUp are what the first worker said after its set-up, for the others.
	setUp, reportedSetUp []byte
}

// Serve starts a server on a port of the loopback.
func Serve(director Director) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the suite's processes: %w", err)
	}
	s := &Server{director: director, listener: listener, alive: map[int]bool{}}
	mux := http.NewServeMux()
	for path, handler := range map[string]func(int, http.ResponseWriter, *http.Request){
		"/up":                                 accept,
		"/suite-will-begin":                   accept,
		"/suite-did-end":                      accept,
		"/emit-output":                        accept,
		"/abort":                              accept,
		"/did-run":                            s.didRun,
		"/progress-report":                    s.progress,
		"/counter":                            s.counter,
		"/before-suite-completed":             s.keep(&s.setUp),
		"/before-suite-state":                 s.tell(&s.setUp),
		"/report-before-suite-completed":      s.keep(&s.reportedSetUp),
		"/report-before-suite-state":          s.tell(&s.reportedSetUp),
		"/have-nonprimary-procs-finished":     s.othersFinished,
		"/aggregated-nonprimary-procs-report": s.othersReport,
	} {
		mux.HandleFunc("/{worker}"+path, func(w http.ResponseWriter, r *http.Request) {
			worker, err := strconv.Atoi(r.PathValue("worker"))
			if err != nil {
				http.Error(w, "no such worker", http.StatusNotFound)
				return
			}
			handler(worker, w, r)
		})
	}
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.http.Serve(listener) }()
	return s, nil
}

// Close ends the server.
func (s *Server) Close() error { return s.http.Close() }

// host is the address that a worker is given; it tells the workers apart.
func (s *Server) host(worker int) string {
	return fmt.Sprintf("http://%s/%d", s.listener.Addr(), worker)
}

// setAlive records that a worker's process has started or ended.
func (s *Server) setAlive(worker int, alive bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive[worker] = alive
}

func accept(_ int, w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusOK)
}

func (s *Server) didRun(worker int, w http.ResponseWriter, r *http.Request) {
	var report types.SpecReport
	if decode(w, r, &report) {
		s.director.Did(worker, report)
	}
}

func (s *Server) progress(worker int, w http.ResponseWriter, r *http.Request) {
	var report types.ProgressReport
	if decode(w, r, &report) {
		s.director.Progress(worker, report)
	}
}

func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func (s *Server) counter(worker int, w http.ResponseWriter, _ *http.Request) {
	turn, ok := s.director.Next(worker)
	if !ok {
		turn = math.MaxInt32 // past the last spec of any suite
	}
	answer(w, struct{ Index int }{turn})
}

func (s *Server) keep(where *[]byte) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		*where = data
	}
}

// tell answers with what the first worker said, if it has; a worker asks again until then.
func (s *Server) tell(what *[]byte) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		data, alive := *what, s.alive[first]
		s.mu.Unlock()
		switch {
		case data != nil:
			_, _ = w.Write(data)
		case alive:
			w.WriteHeader(http.StatusTooEarly)
		default:
			w.WriteHeader(http.StatusGone)
		}
	}
}

func (s *Server) haveOthersFinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for worker, alive := range s.alive {
		if worker != first && alive {
			return false
		}
	}
	return true
}

func (s *Server) othersFinished(_ int, w http.ResponseWriter, _ *http.Request) {
	if !s.haveOthersFinished() {
		w.WriteHeader(http.StatusTooEarly)
	}
}

// othersReport is empty: a report of everybody's specs is ours to write.
func (s *Server) othersReport(_ int, w http.ResponseWriter, _ *http.Request) {
	if !s.haveOthersFinished() {
		w.WriteHeader(http.StatusTooEarly)
		return
	}
	answer(w, types.Report{SuiteSucceeded: true})
}

func answer(w http.ResponseWriter, value any) {
	if err := json.NewEncoder(w).Encode(value); err != nil && !errors.Is(err, http.ErrHandlerTimeout) {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
