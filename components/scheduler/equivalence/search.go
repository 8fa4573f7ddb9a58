package equivalence

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Search looks for nodes that suit the class, from one place on and around, until it has enough. It returns how many it
// looked at.
func (c *Class) Search(ctx context.Context, from, enough int) (looked int, err error) {
	c.candidates = c.candidates[:0]
	at := from % len(c.nodes)
	for looked < len(c.nodes) && len(c.candidates) < enough {
		status, err := c.Status(ctx, at)
		if err != nil {
			return looked, err
		}
		if status == nil {
			c.candidates = append(c.candidates, int32(at))
		}
		looked++
		if at++; at == len(c.nodes) {
			at = 0
		}
	}
	return looked, nil
}

// Only looks at one node alone. It says whether that is a candidate.
func (c *Class) Only(ctx context.Context, at int) (bool, error) {
	c.candidates = c.candidates[:0]
	status, err := c.Status(ctx, at)
	if status != nil || err != nil {
		return false, err
	}
	c.candidates = append(c.candidates, int32(at))
	return true, nil
}

// Agreed says whether the plugins that the class knows nothing of have no opinion on the candidates for the pod either.
func (c *Class) Agreed(ctx context.Context, state fwk.CycleState, pod *v1.Pod) bool {
	if len(c.preScore) == 0 {
		return true
	}
	nodes := make([]fwk.NodeInfo, len(c.candidates))
	for i, at := range c.candidates {
		nodes[i] = c.nodes[at]
	}
	for _, plugin := range c.preScore {
		if !plugin.PreScore(ctx, state, pod, nodes).IsSkip() {
			return false
		}
	}
	return true
}

// Candidates is how many nodes the last search found.
func (c *Class) Candidates() int { return len(c.candidates) }

// Status is why the node does not do, nil where it does. It must do with the pods nominated to it, and also if they do
// not come.
func (c *Class) Status(ctx context.Context, at int) (*fwk.Status, error) {
	if rivals := Rivals(c.asking, c.view.Nominated(at)); len(rivals) > 0 {
		with, err := c.expect(ctx, at, rivals)
		if err != nil {
			return nil, err
		}
		if status := c.combine(at, with, rivals); status != nil {
			return status, nil
		}
	}
	if !c.valid[at] {
		if err := c.ask(ctx, at); err != nil {
			return nil, err
		}
	}
	return c.combine(at, c.verdicts[at], nil), nil
}

// combine puts the trackers of filters that come first before the verdict of the local ones.
func (c *Class) combine(at int, local verdict, further []fwk.PodInfo) *fwk.Status {
	for i := range c.filters[:local.passed] {
		tracker := c.filters[i].tracker
		if tracker == nil {
			continue
		}
		var rejection *fwk.Status
		if len(further) == 0 {
			rejection = tracker.Filter(at)
		} else {
			rejection = tracker.FilterWith(at, further)
		}
		if rejection != nil {
			return rejection
		}
	}
	return local.status
}

// expect runs the local filters on the node with the pods nominated to it, unless they said before what they think.
func (c *Class) expect(ctx context.Context, at int, rivals []fwk.PodInfo) (verdict, error) {
	if known, found := c.expected[at]; found && slices.Equal(known.rivals, rivals) {
		return known.verdict, nil
	}
	with := c.nodes[at].Snapshot()
	for _, rival := range rivals {
		with.AddPodInfo(rival)
	}
	v, err := c.filter(ctx, with)
	if err == nil {
		c.expected[at] = expectation{rivals, v}
	}
	return v, err
}

// ask runs the local plugins on the node.
func (c *Class) ask(ctx context.Context, at int) (err error) {
	if c.verdicts[at], err = c.filter(ctx, c.nodes[at]); err != nil {
		return err
	}
	if c.verdicts[at].status == nil {
		for i := range c.scores {
			if c.scores[i].tracker != nil {
				continue
			}
			value, status := c.scores[i].plugin.Score(ctx, c.state, c.pod, c.nodes[at])
			if !status.IsSuccess() {
				return fmt.Errorf("plugin %q failed with: %w", c.scores[i].name, status.AsError())
			}
			c.scores[i].raw[at] = value
		}
	}
	c.valid[at] = true
	return nil
}

// filter runs the local filters on the node.
func (c *Class) filter(ctx context.Context, node fwk.NodeInfo) (verdict, error) {
	for i := range c.filters {
		if c.filters[i].tracker != nil {
			continue
		}
		status := c.filters[i].plugin.Filter(ctx, c.state, c.pod, node)
		if status.IsSuccess() {
			continue
		}
		if !status.IsRejected() {
			return verdict{}, fmt.Errorf("running %q filter plugin: %w", c.filters[i].name, status.AsError())
		}
		return verdict{status.WithPlugin(c.filters[i].name), i}, nil
	}
	return verdict{nil, len(c.filters)}, nil
}

// Best returns the candidate with the highest score; among equals, any.
func (c *Class) Best() fwk.NodeInfo {
	c.rate(nil)
	best, equals := 0, 0
	for i, total := range c.totals {
		switch {
		case i == 0 || total > c.totals[best]:
			best, equals = i, 1
		case total == c.totals[best]:
			if equals++; rand.IntN(equals) == 0 {
				best = i
			}
		}
	}
	return c.nodes[c.candidates[best]]
}

// First returns the first candidate.
func (c *Class) First() fwk.NodeInfo { return c.nodes[c.candidates[0]] }

// Scores returns the candidates with their weighted scores by plugin.
func (c *Class) Scores() []fwk.NodePluginScores {
	list := make([]fwk.NodePluginScores, len(c.candidates))
	for i, at := range c.candidates {
		list[i].Name = c.nodes[at].Node().Name
	}
	c.rate(func(i int, plugin string, weighted int64) {
		list[i].Scores = append(list[i].Scores, fwk.PluginScore{Name: plugin, Score: weighted})
	})
	for i := range list {
		list[i].TotalScore = c.totals[i]
	}
	return list
}

// rate sums the candidates' normalised and weighted scores. Each is told if anybody wants to know.
func (c *Class) rate(tell func(i int, plugin string, weighted int64)) {
	n := len(c.candidates)
	if cap(c.totals) < n {
		c.totals, c.normalised = make([]int64, len(c.nodes)), make([]int64, len(c.nodes))
	}
	c.totals, c.normalised = c.totals[:n], c.normalised[:n]
	clear(c.totals)
	for k := range c.scores {
		s := &c.scores[k]
		if s.tracker != nil {
			if !s.tracker.Score(c.candidates, c.normalised) {
				continue
			}
		} else {
			for i, at := range c.candidates {
				c.normalised[i] = s.raw[at]
			}
			s.scale.apply(c.normalised)
		}
		for i, value := range c.normalised {
			c.totals[i] += value * s.weight
			if tell != nil {
				tell(i, s.name, value*s.weight)
			}
		}
	}
}

func (s Scale) apply(scores []int64) {
	if s == AsIs {
		return
	}
	var highest int64
	for _, value := range scores {
		highest = max(highest, value)
	}
	for i, value := range scores {
		if highest > 0 {
			value = fwk.MaxScore * value / highest
		}
		if s == FromHighest {
			value = fwk.MaxScore - value
		}
		scores[i] = value
	}
}
