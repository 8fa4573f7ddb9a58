package interpodaffinity

import (
	"context"
	"fmt"
	"math"
	"sync"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

const scoreKey fwk.StateKey = "PreScore" + Name

// pull is how strongly each domain attracts the pod, by topology label and value.
type pull map[string]map[string]int64

// Clone returns the value itself: it does not change after PreScore.
func (p pull) Clone() fwk.StateData { return p }

func (p pull) add(node *v1.Node, key string, n int64) {
	value, found := node.Labels[key]
	if !found {
		return
	}
	if p[key] == nil {
		p[key] = map[string]int64{}
	}
	p[key][value] += n
}

// PreScore sums up the weights of preferred terms: the pod's own against running pods, and theirs against it.
func (p *InterPodAffinity) PreScore(ctx context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	own, err := p.preferences(pod)
	if err != nil {
		return fwk.AsStatus(err)
	}
	lister := p.snapshot.NodeInfos()
	list, podsOf := lister.HavePodsWithAffinityList, fwk.NodeInfo.GetPodsWithAffinity
	if own != nil {
		list, podsOf = lister.List, fwk.NodeInfo.GetPods
	} else if p.ignorePreferred {
		return fwk.NewStatus(fwk.Skip)
	}
	nodes, err := list()
	if err != nil {
		return fwk.AsStatus(fmt.Errorf("failed to get all nodes from shared lister: %w", err))
	}
	nsLabels := p.namespaceLabels(pod.Namespace)
	total := pull{}
	var mu sync.Mutex
	p.parallelizer.Until(ctx, len(nodes), func(i int) {
		node := nodes[i].Node()
		pods := podsOf(nodes[i])
		if len(pods) == 0 {
			return
		}
		part := pull{}
		for _, running := range pods {
			for _, t := range own {
				if t.Matches(running.GetPod(), nil) {
					part.add(node, t.TopologyKey, int64(t.Weight))
				}
			}
			p.theirs(running, func(t *fwk.AffinityTerm, weight int64) {
				if t.Matches(pod, nsLabels) {
					part.add(node, t.TopologyKey, weight)
				}
			})
		}
		if len(part) == 0 {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for key, values := range part {
			for value, n := range values {
				if total[key] == nil {
					total[key] = map[string]int64{}
				}
				total[key][value] += n
			}
		}
	}, Name)
	if len(total) == 0 {
		return fwk.NewStatus(fwk.Skip)
	}
	state.Write(scoreKey, total)
	return nil
}

// preferences are the pod's own preferred terms, those of anti-affinity with a negative weight.
func (p *InterPodAffinity) preferences(pod *v1.Pod) ([]fwk.WeightedAffinityTerm, error) {
	a := pod.Spec.Affinity
	if a == nil || (a.PodAffinity == nil || len(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0) &&
		(a.PodAntiAffinity == nil || len(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0) {
		return nil, nil
	}
	info, err := nodeinfo.NewPodInfo(pod)
	if err != nil {
		return nil, fmt.Errorf("failed to parse pod: %w", err)
	}
	terms, err := p.resolveWeighted(info.GetPreferredAffinityTerms())
	if err != nil {
		return nil, fmt.Errorf("updating PreferredAffinityTerms: %w", err)
	}
	against, err := p.resolveWeighted(info.GetPreferredAntiAffinityTerms())
	if err != nil {
		return nil, fmt.Errorf("updating PreferredAntiAffinityTerms: %w", err)
	}
	for _, t := range against {
		t.Weight = -t.Weight
		terms = append(terms, t)
	}
	return terms, nil
}

// theirs visits what a running pod wants of the new one. Its required affinity counts with the configured weight: where
// it had to have company, more company is welcome.
func (p *InterPodAffinity) theirs(running fwk.PodInfo, visit func(term *fwk.AffinityTerm, weight int64)) {
	if p.hardWeight > 0 {
		required := running.GetRequiredAffinityTerms()
		for i := range required {
			visit(&required[i], int64(p.hardWeight))
		}
	}
	for i, terms := 0, running.GetPreferredAffinityTerms(); i < len(terms); i++ {
		visit(&terms[i].AffinityTerm, int64(terms[i].Weight))
	}
	for i, terms := 0, running.GetPreferredAntiAffinityTerms(); i < len(terms); i++ {
		visit(&terms[i].AffinityTerm, -int64(terms[i].Weight))
	}
}

// Score sums the pulls of the node's domains.
func (p *InterPodAffinity) Score(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	data, err := state.Read(scoreKey)
	if err != nil {
		return 0, fwk.AsStatus(err)
	}
	var sum int64
	for key, values := range data.(pull) {
		if value, found := node.Node().Labels[key]; found {
			sum += values[value]
		}
	}
	return sum, nil
}

// ScoreExtensions returns the plugin, which normalises.
func (p *InterPodAffinity) ScoreExtensions() fwk.ScoreExtensions { return p }

// NormalizeScore spreads the sums, which may be negative, over 0 to 100.
func (p *InterPodAffinity) NormalizeScore(_ context.Context, state fwk.CycleState, _ *v1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	if _, err := state.Read(scoreKey); err != nil {
		return fwk.AsStatus(err)
	}
	lowest, highest := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range scores {
		lowest, highest = min(lowest, scores[i].Score), max(highest, scores[i].Score)
	}
	for i := range scores {
		above := scores[i].Score - lowest
		scores[i].Score = 0
		if highest > lowest {
			scores[i].Score = int64(float64(fwk.MaxScore) * (float64(above) / float64(highest-lowest)))
		}
	}
	return nil
}
