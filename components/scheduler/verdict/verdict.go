// Package verdict lets this scheduler say what it thinks of pods and nodes, one JSON object a line: it is told of a
// cluster by hand, runs scheduling cycles over it as far as the choice of a node, and binds nothing. What compares
// schedulers asks it, and any other program that speaks the protocol.
package verdict

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/cycle"
	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// Request changes the cluster, or asks about a pod.
type Request struct {
	// Reset forgets everything.
	Reset bool `json:"reset,omitempty"`
	// Set takes in objects, each with kind and apiVersion; a pod with a node counts as running there.
	Set []json.RawMessage `json:"set,omitempty"`
	// Delete takes objects away.
	Delete []json.RawMessage `json:"delete,omitempty"`
	// Nominate says which pending pods are expected on which nodes.
	Nominate []Nomination `json:"nominate,omitempty"`
	// Judge asks for the verdict on a pod.
	Judge json.RawMessage `json:"judge,omitempty"`
	// Schedule asks how long it takes to schedule pods.
	Schedule *Load `json:"schedule,omitempty"`
}

// Load is pods to schedule from the queue to the binding, which an API server that takes no time accepts.
type Load struct {
	Pod   json.RawMessage `json:"pod"`
	Count int             `json:"count"`
}

// Effort is the answer to Schedule.
type Effort struct {
	// Seconds passed until the last pod was bound; CPU are those that the whole process computed.
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`
}

// Nomination is a pending pod that is expected on a node.
type Nomination struct {
	Pod  json.RawMessage `json:"pod"`
	Node string          `json:"node"`
}

// Verdict is the answer to Judge.
type Verdict struct {
	// Rejected is why no node was looked at.
	Rejected *Status `json:"rejected,omitempty"`
	// Nodes says why each node does not do.
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

// Serve answers requests until there are no more.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	decoder, answers := json.NewDecoder(bufio.NewReader(in)), bufio.NewWriter(out)
	encoder := json.NewEncoder(answers)
	c, err := newCluster(ctx)
	if err != nil {
		return err
	}
	defer func() { c.close() }()
	for n := 1; ; n++ {
		var r Request
		if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("request %d: %w", n, err)
		}
		if r.Reset {
			c.close()
			next, err := newCluster(ctx)
			if err != nil {
				return err
			}
			c = next
		}
		if err := c.change(&r); err != nil {
			return fmt.Errorf("request %d: %w", n, err)
		}
		answer, err := c.answer(ctx, &r)
		if err != nil {
			return fmt.Errorf("request %d: %w", n, err)
		}
		if answer == nil {
			continue
		}
		if err := encoder.Encode(answer); err != nil {
			return err
		}
		if err := answers.Flush(); err != nil {
			return err
		}
	}
}

// answer is nil where a request wants none.
func (c *cluster) answer(ctx context.Context, r *Request) (any, error) {
	switch {
	case r.Judge != nil:
		pod, err := decode[*v1.Pod](r.Judge)
		if err != nil {
			return nil, fmt.Errorf("judge: %w", err)
		}
		return c.judge(ctx, pod), nil
	case r.Schedule != nil:
		pod, err := decode[*v1.Pod](r.Schedule.Pod)
		if err != nil {
			return nil, fmt.Errorf("schedule: %w", err)
		}
		return c.schedule(ctx, pod, r.Schedule.Count), nil
	}
	return nil, nil
}

func (c *cluster) judge(ctx context.Context, pod *v1.Pod) *Verdict {
	info, err := nodeinfo.NewPodInfo(pod)
	if err != nil {
		return &Verdict{Error: err.Error()}
	}
	c.scheduler.Percentage = 100
	opinion, err := c.scheduler.Judge(ctx, info)
	if err != nil {
		return &Verdict{Error: err.Error()}
	}
	return word(opinion)
}

func word(o *cycle.Opinion) *Verdict {
	if o.Rejected != nil {
		rejected := stated(o.Rejected)
		return &Verdict{Rejected: &rejected}
	}
	v := &Verdict{Nodes: map[string]Status{}, Feasible: map[string]Scores{}}
	for name, status := range o.Nodes {
		v.Nodes[name] = stated(status)
	}
	for _, scored := range o.Feasible {
		scores := Scores{Total: scored.TotalScore, Plugin: map[string]int64{}}
		for _, p := range scored.Scores {
			if p.Score != 0 {
				scores.Plugin[p.Name] = p.Score
			}
		}
		v.Feasible[scored.Name] = scores
	}
	return v
}

func stated(s *fwk.Status) Status {
	reasons := slices.Clone(s.Reasons())
	slices.Sort(reasons)
	return Status{Code: s.Code().String(), Plugin: s.Plugin(), Reasons: reasons}
}
