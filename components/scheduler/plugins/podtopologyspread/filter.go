package podtopologyspread

import (
	"context"
	"maps"
	"math"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// Reasons given for a rejected node.
const (
	Reason             = "node(s) didn't match pod topology spread constraints"
	ReasonMissingLabel = Reason + " (missing required label)"
)

const filterKey fwk.StateKey = "PreFilter" + Name

// spread is how many matching pods each domain of a constraint has.
type spread struct {
	constraint
	self    int // 1 if the pod itself matches
	domains map[string]int
	fewest  int
}

func (s *spread) findFewest() {
	s.fewest = math.MaxInt32
	for _, n := range s.domains {
		s.fewest = min(s.fewest, n)
	}
	if len(s.domains) < s.minDomains {
		s.fewest = 0
	}
}

type filterState struct {
	constraints []constraint
	spreads     []spread
}

// Clone copies the counts, which AddPod and RemovePod change.
func (s *filterState) Clone() fwk.StateData {
	c := &filterState{constraints: s.constraints, spreads: append([]spread(nil), s.spreads...)}
	for i := range c.spreads {
		c.spreads[i].domains = maps.Clone(c.spreads[i].domains)
	}
	return c
}

// PreFilter counts the matching pods of every domain.
func (p *PodTopologySpread) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	constraints, err := p.constraintsOf(pod, v1.DoNotSchedule)
	if err != nil {
		return nil, fwk.AsStatus(err)
	}
	if len(constraints) == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	s := &filterState{constraints: constraints, spreads: make([]spread, len(constraints))}
	remembered := make([]*kindCounts, len(constraints))
	for i, c := range constraints {
		s.spreads[i] = spread{constraint: c, domains: map[string]int{}}
		if c.selector.Matches(labels.Set(pod.Labels)) {
			s.spreads[i].self = 1
		}
		remembered[i] = p.counts.of(pod.Namespace, c.id)
	}
	// -1 marks a node that a constraint does not include.
	counts := make([]int, len(nodes)*len(constraints))
	logger, affinity := klog.FromContext(ctx), nodeaffinity.GetRequiredNodeAffinity(pod)
	p.parallelizer.Until(ctx, len(nodes), func(n int) {
		node := nodes[n].Node()
		complete := hasAll(constraints, node.Labels)
		for i := range constraints {
			at := &counts[n*len(constraints)+i]
			if *at = -1; complete && constraints[i].includes(logger, pod, affinity, node) {
				*at = remembered[i].count(nodes[n], constraints[i].selector, pod.Namespace)
			}
		}
	}, Name)
	for n := range nodes {
		for i := range s.spreads {
			if pods := counts[n*len(constraints)+i]; pods >= 0 {
				s.spreads[i].domains[nodes[n].Node().Labels[s.spreads[i].key]] += pods
			}
		}
	}
	for i := range s.spreads {
		s.spreads[i].findFewest()
	}
	state.Write(filterKey, s)
	return nil, nil
}

// PreFilterExtensions returns the plugin, which can count pods in and out.
func (p *PodTopologySpread) PreFilterExtensions() fwk.PreFilterExtensions { return p }

// AddPod counts one more pod on the node.
func (p *PodTopologySpread) AddPod(ctx context.Context, state fwk.CycleState, pod *v1.Pod, added fwk.PodInfo, node fwk.NodeInfo) *fwk.Status {
	return recount(ctx, state, pod, added.GetPod(), node.Node(), 1)
}

// RemovePod counts one pod less on the node.
func (p *PodTopologySpread) RemovePod(ctx context.Context, state fwk.CycleState, pod *v1.Pod, removed fwk.PodInfo, node fwk.NodeInfo) *fwk.Status {
	return recount(ctx, state, pod, removed.GetPod(), node.Node(), -1)
}

func recount(ctx context.Context, state fwk.CycleState, pod, other *v1.Pod, node *v1.Node, delta int) *fwk.Status {
	data, err := state.Read(filterKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	s := data.(*filterState)
	if other.Namespace != pod.Namespace || node == nil || !hasAll(s.constraints, node.Labels) {
		return nil
	}
	logger, affinity := klog.FromContext(ctx), nodeaffinity.GetRequiredNodeAffinity(pod)
	for i := range s.spreads {
		c := &s.spreads[i]
		if c.selector.Matches(labels.Set(other.Labels)) && c.includes(logger, pod, affinity, node) {
			c.domains[node.Labels[c.key]] += delta
			c.findFewest()
		}
	}
	return nil
}

// Filter rejects nodes whose domain would run too far ahead of the emptiest.
func (p *PodTopologySpread) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	data, err := state.Read(filterKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	s := data.(*filterState)
	for i := range s.spreads {
		c := &s.spreads[i]
		value, found := node.Node().Labels[c.key]
		if !found {
			return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, ReasonMissingLabel)
		}
		if c.domains[value]+c.self-c.fewest > c.maxSkew {
			return fwk.NewStatus(fwk.Unschedulable, Reason)
		}
	}
	return nil
}
