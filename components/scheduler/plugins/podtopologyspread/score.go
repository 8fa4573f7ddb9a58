package podtopologyspread

import (
	"context"
	"math"
	"sync/atomic"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

const scoreKey fwk.StateKey = "PreScore" + Name

// softSpread is a soft constraint, the matching pods per domain (of hostname: none, as each node is its own) and how
// much a pod weighs: more where there are more domains to choose from.
type softSpread struct {
	constraint
	domains    map[string]*atomic.Int64
	weight     float64
	remembered *kindCounts
}

func (s *softSpread) perNode() bool { return s.key == v1.LabelHostname }

type scoreState struct {
	spreads []softSpread
	// ignored are feasible nodes without all labels; they score 0.
	ignored sets.Set[string]
}

// Clone returns the value itself: it does not change after PreScore.
func (s *scoreState) Clone() fwk.StateData { return s }

// PreScore counts the matching pods of every domain that a feasible node lies in.
func (p *PodTopologySpread) PreScore(ctx context.Context, state fwk.CycleState, pod *v1.Pod, feasible []fwk.NodeInfo) *fwk.Status {
	all, err := p.snapshot.NodeInfos().List()
	if err != nil {
		return fwk.AsStatus(err)
	}
	constraints, err := p.constraintsOf(pod, v1.ScheduleAnyway)
	if err != nil {
		return fwk.AsStatus(err)
	}
	if len(constraints) == 0 || len(all) == 0 {
		return fwk.NewStatus(fwk.Skip)
	}
	// The built-in defaults apply to nodes without zones too.
	complete := len(pod.Spec.TopologySpreadConstraints) > 0 || !p.builtin
	s := p.domainsOf(constraints, feasible, complete, pod.Namespace)
	logger, affinity := klog.FromContext(ctx), nodeaffinity.GetRequiredNodeAffinity(pod)
	p.parallelizer.Until(ctx, len(all), func(n int) {
		node := all[n].Node()
		if complete && !hasAll(constraints, node.Labels) {
			return
		}
		for i := range s.spreads {
			c := &s.spreads[i]
			total := c.domains[node.Labels[c.key]]
			if total != nil && c.includes(logger, pod, affinity, node) {
				total.Add(int64(c.remembered.count(all[n], c.selector, pod.Namespace)))
			}
		}
	}, Name)
	state.Write(scoreKey, s)
	return nil
}

func (p *PodTopologySpread) domainsOf(constraints []constraint, feasible []fwk.NodeInfo, complete bool, namespace string) *scoreState {
	s := &scoreState{spreads: make([]softSpread, len(constraints)), ignored: sets.New[string]()}
	for i, c := range constraints {
		s.spreads[i] = softSpread{constraint: c, domains: map[string]*atomic.Int64{}, remembered: p.counts.of(namespace, c.id)}
	}
	for _, info := range feasible {
		node := info.Node()
		if complete && !hasAll(constraints, node.Labels) {
			s.ignored.Insert(node.Name)
			continue
		}
		for i := range s.spreads {
			c := &s.spreads[i]
			if value := node.Labels[c.key]; !c.perNode() && c.domains[value] == nil {
				c.domains[value] = &atomic.Int64{}
			}
		}
	}
	for i := range s.spreads {
		size := len(s.spreads[i].domains)
		if s.spreads[i].perNode() {
			size = len(feasible) - len(s.ignored)
		}
		s.spreads[i].weight = math.Log(float64(size + 2))
	}
	return s
}

// Score sums the matching pods of the node's domains: the lower the better, until normalised.
func (p *PodTopologySpread) Score(_ context.Context, state fwk.CycleState, pod *v1.Pod, info fwk.NodeInfo) (int64, *fwk.Status) {
	data, err := state.Read(scoreKey)
	if err != nil {
		return 0, fwk.AsStatus(err)
	}
	s, node := data.(*scoreState), info.Node()
	if s.ignored.Has(node.Name) {
		return 0, nil
	}
	var sum float64
	for i := range s.spreads {
		c := &s.spreads[i]
		value, found := node.Labels[c.key]
		if !found {
			continue
		}
		var pods int64
		if c.perNode() {
			pods = int64(c.remembered.count(info, c.selector, pod.Namespace))
		} else {
			pods = c.domains[value].Load()
		}
		// A larger allowed skew makes small differences matter less.
		sum += float64(pods)*c.weight + float64(c.maxSkew-1)
	}
	return int64(math.Round(sum)), nil
}

// ScoreExtensions returns the plugin, which normalises.
func (p *PodTopologySpread) ScoreExtensions() fwk.ScoreExtensions { return p }

// NormalizeScore turns few pods into high scores.
func (p *PodTopologySpread) NormalizeScore(_ context.Context, state fwk.CycleState, _ *v1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	data, err := state.Read(scoreKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	ignored := data.(*scoreState).ignored
	lowest, highest := int64(math.MaxInt64), int64(0)
	for i := range scores {
		if !ignored.Has(scores[i].Name) {
			lowest, highest = min(lowest, scores[i].Score), max(highest, scores[i].Score)
		}
	}
	for i := range scores {
		switch {
		case ignored.Has(scores[i].Name):
			scores[i].Score = 0
		case highest == 0:
			scores[i].Score = fwk.MaxScore
		default:
			scores[i].Score = fwk.MaxScore * (highest + lowest - scores[i].Score) / highest
		}
	}
	return nil
}
