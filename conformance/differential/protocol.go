// Package differential gives the same random clusters and pods to two schedulers and compares what they think, pod by
// pod: which nodes do, why the others do not, and how each plugin scores those that do. A scheduler takes part as a
// program that reads requests and writes verdicts, so that neither side's code is linked into the comparison.
package differential

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Request changes a scheduler's cluster, or asks it about a pod. It is one line of JSON.
type Request struct {
	// Reset forgets everything.
	Reset bool `json:"reset,omitempty"`
	// Set takes in objects, each with kind and apiVersion; a pod with a node counts as running there.
	Set []runtime.Object `json:"set,omitempty"`
	// Delete takes objects away.
	Delete []runtime.Object `json:"delete,omitempty"`
	// Nominate says which pending pods are expected on which nodes.
	Nominate []Nomination `json:"nominate,omitempty"`
	// Judge asks for the verdict on a pod.
	Judge *v1.Pod `json:"judge,omitempty"`
	// Schedule asks how long it takes to schedule pods.
	Schedule *Load `json:"schedule,omitempty"`
}

// Load is pods to schedule from the queue to the binding, which an API server that takes no time accepts.
type Load struct {
	Pod   *v1.Pod `json:"pod"`
	Count int     `json:"count"`
}

// Effort is a scheduler's answer to Schedule.
type Effort struct {
	// Seconds passed until the last pod was bound; CPU are those that the whole process computed.
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`
}

// Nomination is a pending pod that is expected on a node.
type Nomination struct {
	Pod  *v1.Pod `json:"pod"`
	Node string  `json:"node"`
}

// Verdict is a scheduler's answer to Judge.
type Verdict struct {
	// Rejected is why no node was looked at.
	Rejected *Status `json:"rejected,omitempty"`
	// Nodes says why each node does not do. A node that a plugin's PreFilter left out is not mentioned.
	Nodes map[string]Status `json:"nodes,omitempty"`
	// Feasible are the nodes that do, with their scores.
	Feasible map[string]Scores `json:"feasible,omitempty"`
	Error    string            `json:"error,omitempty"`
}

// Status is a plugin's reason to reject a node.
type Status struct {
	Code    string   `json:"code"`
	Plugin  string   `json:"plugin,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
}

// Scores are a node's weighted scores by plugin, where they are not 0, and their sum.
type Scores struct {
	Total  int64            `json:"total"`
	Plugin map[string]int64 `json:"plugin,omitempty"`
}

// Contender is a scheduler that answers.
type Contender interface {
	// Tell sends a request that wants no answer.
	Tell(Request) error
	// Judge asks for a verdict.
	Judge(*v1.Pod) (Verdict, error)
}

// Program is a scheduler in a process of its own.
type Program struct {
	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	encoder *json.Encoder
	decoder *json.Decoder
}

var _ Contender = &Program{}

// Start runs a program that speaks the protocol.
func Start(ctx context.Context, argv ...string) (*Program, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &Program{name: argv[0], cmd: cmd, in: in, encoder: json.NewEncoder(in), decoder: json.NewDecoder(bufio.NewReader(out))}, nil
}

// Tell sends a request that wants no answer.
func (p *Program) Tell(r Request) error {
	if err := p.encoder.Encode(r); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Judge asks for a verdict.
func (p *Program) Judge(pod *v1.Pod) (v Verdict, err error) {
	err = p.ask(Request{Judge: pod}, &v)
	return v, err
}

// Schedule asks how long it takes to schedule pods.
func (p *Program) Schedule(load Load) (e Effort, err error) {
	err = p.ask(Request{Schedule: &load}, &e)
	return e, err
}

func (p *Program) ask(r Request, answer any) error {
	if err := p.Tell(r); err != nil {
		return err
	}
	if err := p.decoder.Decode(answer); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Close ends the program.
func (p *Program) Close() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }
