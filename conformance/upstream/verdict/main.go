// Command verdict says what Kubernetes' own scheduler thinks of pods and nodes: the
// other side of conformance/differential, whose protocol it speaks. It keeps a
// cluster in the scheduler's own cache and runs the plugins of its default profile
// over a snapshot; nothing is bound.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/klog/v2"
)

// request changes the cluster, or asks about a pod.
type request struct {
	// Reset forgets everything.
	Reset bool `json:"reset,omitempty"`
	// Set takes in objects, each with kind and apiVersion; a pod with a node counts as running there.
	Set []json.RawMessage `json:"set,omitempty"`
	// Delete takes objects away.
	Delete []json.RawMessage `json:"delete,omitempty"`
	// Nominate says which pending pods are expected on which nodes.
	Nominate []nomination `json:"nominate,omitempty"`
	// Judge asks for the verdict on a pod.
	Judge json.RawMessage `json:"judge,omitempty"`
	// Schedule asks how long it takes to schedule pods.
	Schedule *load `json:"schedule,omitempty"`
}

// load is pods to schedule from the queue to the binding, which an API server that takes no time accepts.
type load struct {
	Pod   json.RawMessage `json:"pod"`
	Count int             `json:"count"`
}

// effort is the answer to Schedule.
type effort struct {
	// Seconds passed until the last pod was bound; CPU are those that the whole process computed.
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`
}

type nomination struct {
	Pod  json.RawMessage `json:"pod"`
	Node string          `json:"node"`
}

// verdict is the answer to Judge.
type verdict struct {
	// Rejected is why no node was looked at.
	Rejected *status `json:"rejected,omitempty"`
	// Nodes says why each node does not do; Feasible are those that do, with their score by plugin and in sum.
	Nodes    map[string]status `json:"nodes,omitempty"`
	Feasible map[string]scores `json:"feasible,omitempty"`
	Error    string            `json:"error,omitempty"`
}

type status struct {
	Code    string   `json:"code"`
	Plugin  string   `json:"plugin,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
}

type scores struct {
	Total  int64            `json:"total"`
	Plugin map[string]int64 `json:"plugin,omitempty"`
}

func main() {
	klog.SetLogger(klog.Logger{}) // what a plugin logs is not asked for here
	if err := serve(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "verdict: %v\n", err)
		os.Exit(1)
	}
}

// serve answers requests, one in a line, until there are no more.
func serve(ctx context.Context, in io.Reader, out io.Writer) error {
	decoder, answers := json.NewDecoder(bufio.NewReader(in)), bufio.NewWriter(out)
	encoder := json.NewEncoder(answers)
	c, err := newCluster(ctx)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		var r request
		if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("request %d: %w", n, err)
		}
		if r.Reset {
			c.close()
			if c, err = newCluster(ctx); err != nil {
				return err
			}
		}
		if err := c.change(r); err != nil {
			return fmt.Errorf("request %d: %w", n, err)
		}
		var answer any
		switch {
		case r.Judge != nil:
			answer, err = c.judge(r.Judge)
		case r.Schedule != nil:
			answer, err = c.schedule(r.Schedule)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("request %d: %w", n, err)
		}
		if err := encoder.Encode(answer); err != nil {
			return err
		}
		if err := answers.Flush(); err != nil {
			return err
		}
	}
}
