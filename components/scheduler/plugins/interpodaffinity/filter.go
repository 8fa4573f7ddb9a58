package interpodaffinity

import (
	"context"
	"fmt"
	"maps"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// Reasons given for a rejected node.
const (
	ReasonExistingAntiAffinity = "node(s) didn't satisfy existing pods anti-affinity rules"
	ReasonAffinity             = "node(s) didn't match pod affinity rules"
	ReasonAntiAffinity         = "node(s) didn't match pod anti-affinity rules"
)

const filterKey fwk.StateKey = "PreFilter" + Name

// domain is one value of a topology label.
type domain struct{ key, value string }

// tally counts matches by domain; a domain without matches is absent.
type tally map[domain]int64

func (t tally) add(node *v1.Node, key string, n int64) {
	value, found := node.Labels[key]
	if !found {
		return
	}
	d := domain{key, value}
	if t[d] += n; t[d] == 0 {
		delete(t, d)
	}
}

// filterState is what the new pod's terms and the running pods' anti-affinity terms match, and where.
type filterState struct {
	pod          *v1.Pod
	nsLabels     labels.Set
	affinity     []fwk.AffinityTerm
	antiAffinity []fwk.AffinityTerm

	attracting tally // running pods that match all affinity terms
	repelling  tally // running pods that match an anti-affinity term
	repelled   tally // running pods' anti-affinity terms that match the new pod
}

// Clone copies the counts, which AddPod and RemovePod change.
func (s *filterState) Clone() fwk.StateData {
	c := *s
	c.attracting, c.repelling, c.repelled = maps.Clone(s.attracting), maps.Clone(s.repelling), maps.Clone(s.repelled)
	return &c
}

func (s *filterState) countOwn(running fwk.PodInfo, node *v1.Node, n int64) {
	if matchesAll(s.affinity, running.GetPod()) {
		for i := range s.affinity {
			s.attracting.add(node, s.affinity[i].TopologyKey, n)
		}
	}
	for i := range s.antiAffinity {
		if s.antiAffinity[i].Matches(running.GetPod(), nil) {
			s.repelling.add(node, s.antiAffinity[i].TopologyKey, n)
		}
	}
}

func (s *filterState) matchesOwn(running fwk.PodInfo) bool {
	return matchesAll(s.affinity, running.GetPod()) || matchesAny(s.antiAffinity, running.GetPod())
}

func (s *filterState) matchesTheirs(running fwk.PodInfo) bool {
	terms := running.GetRequiredAntiAffinityTerms()
	for i := range terms {
		if terms[i].Matches(s.pod, s.nsLabels) {
			return true
		}
	}
	return false
}

func (s *filterState) countTheirs(running fwk.PodInfo, node *v1.Node, n int64) {
	terms := running.GetRequiredAntiAffinityTerms()
	for i := range terms {
		if terms[i].Matches(s.pod, s.nsLabels) {
			s.repelled.add(node, terms[i].TopologyKey, n)
		}
	}
}

// PreFilter counts matches over the cluster. For a pod without terms it looks only at nodes whose pods repel.
func (p *InterPodAffinity) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	repelling, err := p.snapshot.NodeInfos().HavePodsWithRequiredAntiAffinityList()
	if err != nil {
		return nil, fwk.AsStatus(fmt.Errorf("failed to list NodeInfos with pods with affinity: %w", err))
	}
	s := &filterState{pod: pod, nsLabels: p.namespaceLabels(pod.Namespace)}
	if a := pod.Spec.Affinity; a != nil && (a.PodAffinity != nil || a.PodAntiAffinity != nil) {
		info, err := nodeinfo.NewPodInfo(pod)
		if err != nil {
			return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf("parsing pod: %+v", err))
		}
		if s.affinity, err = p.resolveAll(info.GetRequiredAffinityTerms()); err != nil {
			return nil, fwk.AsStatus(err)
		}
		if s.antiAffinity, err = p.resolveAll(info.GetRequiredAntiAffinityTerms()); err != nil {
			return nil, fwk.AsStatus(err)
		}
	}
	s.attracting, s.repelling, s.repelled = tally{}, tally{}, tally{}
	hasTerms := len(s.affinity)+len(s.antiAffinity) > 0
	p.each(ctx, repelling, fwk.NodeInfo.GetPodsWithRequiredAntiAffinity, s.matchesTheirs, func(running fwk.PodInfo, node *v1.Node) {
		s.countTheirs(running, node, 1)
	})
	if hasTerms {
		p.each(ctx, nodes, fwk.NodeInfo.GetPods, s.matchesOwn, func(running fwk.PodInfo, node *v1.Node) {
			s.countOwn(running, node, 1)
		})
	}
	if !hasTerms && len(s.repelled) == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	state.Write(filterKey, s)
	return nil, nil
}

// each visits the matching pods of the nodes. Matching runs in parallel, and few pods match: visits take turns.
func (p *InterPodAffinity) each(ctx context.Context, nodes []fwk.NodeInfo, podsOf func(fwk.NodeInfo) []fwk.PodInfo,
	matches func(fwk.PodInfo) bool, visit func(fwk.PodInfo, *v1.Node),
) {
	var mu sync.Mutex
	p.parallelizer.Until(ctx, len(nodes), func(i int) {
		for _, running := range podsOf(nodes[i]) {
			if matches(running) {
				mu.Lock()
				visit(running, nodes[i].Node())
				mu.Unlock()
			}
		}
	}, Name)
}

// PreFilterExtensions returns the plugin, which can count pods in and out.
func (p *InterPodAffinity) PreFilterExtensions() fwk.PreFilterExtensions { return p }

// AddPod counts one more running pod.
func (p *InterPodAffinity) AddPod(_ context.Context, state fwk.CycleState, _ *v1.Pod, added fwk.PodInfo, node fwk.NodeInfo) *fwk.Status {
	return recount(state, added, node, 1)
}

// RemovePod counts one running pod less.
func (p *InterPodAffinity) RemovePod(_ context.Context, state fwk.CycleState, _ *v1.Pod, removed fwk.PodInfo, node fwk.NodeInfo) *fwk.Status {
	return recount(state, removed, node, -1)
}

func recount(state fwk.CycleState, running fwk.PodInfo, node fwk.NodeInfo, n int64) *fwk.Status {
	data, err := state.Read(filterKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	s := data.(*filterState)
	s.countOwn(running, node.Node(), n)
	s.countTheirs(running, node.Node(), n)
	return nil
}

// Filter rejects nodes outside the domains that attract the pod and inside those that repel it.
func (p *InterPodAffinity) Filter(_ context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	data, err := state.Read(filterKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	s, nodeLabels := data.(*filterState), node.Node().Labels
	if !s.attracted(pod, nodeLabels) {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, ReasonAffinity)
	}
	if len(s.repelling) > 0 {
		for i := range s.antiAffinity {
			key := s.antiAffinity[i].TopologyKey
			if value, found := nodeLabels[key]; found && s.repelling[domain{key, value}] > 0 {
				return fwk.NewStatus(fwk.Unschedulable, ReasonAntiAffinity)
			}
		}
	}
	if len(s.repelled) > 0 {
		for key, value := range nodeLabels {
			if s.repelled[domain{key, value}] > 0 {
				return fwk.NewStatus(fwk.Unschedulable, ReasonExistingAntiAffinity)
			}
		}
	}
	return nil
}

// attracted says whether the node lies in a matching domain of every term. The first pod of a group that is affine
// to itself may go anywhere that has the labels.
func (s *filterState) attracted(pod *v1.Pod, nodeLabels map[string]string) bool {
	met := true
	for i := range s.affinity {
		key := s.affinity[i].TopologyKey
		value, found := nodeLabels[key]
		if !found {
			return false
		}
		met = met && s.attracting[domain{key, value}] > 0
	}
	return met || len(s.attracting) == 0 && matchesAll(s.affinity, pod)
}
