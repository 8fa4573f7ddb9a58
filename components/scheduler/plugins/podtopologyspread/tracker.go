package podtopologyspread

import (
	"math"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/equivalence"
)

// Track counts the pods of every domain, and keeps counting.
func (p *PodTopologySpread) Track(pod *v1.Pod, nodes []fwk.NodeInfo) (equivalence.Tracker, error) {
	hard, err := p.constraintsOf(pod, v1.DoNotSchedule)
	if err != nil {
		return nil, err
	}
	soft, err := p.constraintsOf(pod, v1.ScheduleAnyway)
	if err != nil {
		return nil, err
	}
	t := &tracker{
		plugin: p, pod: pod, affinity: nodeaffinity.GetRequiredNodeAffinity(pod),
		hard: newTallies(hard, pod, len(nodes)), soft: newTallies(soft, pod, len(nodes)),
		// The built-in defaults apply to nodes without zones too.
		partial: len(pod.Spec.TopologySpreadConstraints) == 0 && p.builtin,
		missing: fwk.NewStatus(fwk.UnschedulableAndUnresolvable, ReasonMissingLabel).WithPlugin(Name),
		skewed:  fwk.NewStatus(fwk.Unschedulable, Reason).WithPlugin(Name),
	}
	if len(hard)+len(soft) > 0 {
		for i, node := range nodes {
			t.Update(i, node)
		}
	}
	return t, nil
}

// tracker keeps the counts of one class of pods.
type tracker struct {
	plugin          *PodTopologySpread
	pod             *v1.Pod
	affinity        nodeaffinity.RequiredNodeAffinity
	hard, soft      []*countOf
	partial         bool
	missing, skewed *fwk.Status
}

// countOf is how many matching pods each domain of a constraint has.
type countOf struct {
	constraint
	self   int
	values map[string]int32 // numbers the domains
	// By the node's place: its object when last seen, its domain, whether it has the label, whether the constraint
	// counts it, its matching pods; ignored are nodes that lack the label of any constraint.
	objects  []*v1.Node
	domain   []int32
	labelled []bool
	included []bool
	ignored  []bool
	pods     []int32
	// By domain: how many nodes count, their matching pods, and the round in which the domain was last met.
	nodes  []int32
	totals []int64
	met    []int64

	round  int64
	fewest int64
	stale  bool
}

func newTallies(constraints []constraint, pod *v1.Pod, nodes int) []*countOf {
	var list []*countOf
	for _, c := range constraints {
		count := &countOf{
			constraint: c, values: map[string]int32{}, objects: make([]*v1.Node, nodes), domain: make([]int32, nodes),
			labelled: make([]bool, nodes), included: make([]bool, nodes), ignored: make([]bool, nodes), pods: make([]int32, nodes),
			stale: true,
		}
		if c.selector.Matches(labels.Set(pod.Labels)) {
			count.self = 1
		}
		list = append(list, count)
	}
	return list
}

// Current says whether the default constraints, which follow from Services and owners, are still the same.
func (t *tracker) Current() bool {
	if len(t.pod.Spec.TopologySpreadConstraints) > 0 || len(t.plugin.defaults) == 0 {
		return true
	}
	selector := t.plugin.owners.selectorOf(t.pod)
	if selector.Empty() {
		return len(t.hard)+len(t.soft) == 0
	}
	if len(t.hard)+len(t.soft) == 0 {
		return false
	}
	id := selector.String()
	for _, c := range append(t.hard[:len(t.hard):len(t.hard)], t.soft...) {
		if c.id != id {
			return false
		}
	}
	return true
}

// Update counts a changed node again.
func (t *tracker) Update(at int, info fwk.NodeInfo) {
	for _, c := range t.hard {
		t.recount(c, t.hard, at, info, false)
	}
	for _, c := range t.soft {
		t.recount(c, t.soft, at, info, t.partial)
	}
}

func (t *tracker) recount(c *countOf, all []*countOf, at int, info fwk.NodeInfo, partial bool) {
	node := info.Node()
	if c.included[at] {
		c.nodes[c.domain[at]]--
		c.totals[c.domain[at]] -= int64(c.pods[at])
	}
	if c.objects[at] != node {
		c.objects[at] = node
		value, found := node.Labels[c.key]
		c.labelled[at] = found
		c.domain[at] = c.number(value)
		c.ignored[at] = false
		for _, other := range all {
			if _, has := node.Labels[other.key]; !has && !partial {
				c.ignored[at] = true
			}
		}
		c.included[at] = !c.ignored[at] && c.includes(klog.Background(), t.pod, t.affinity, node)
	}
	c.pods[at] = int32(count(info.GetPods(), c.selector, t.pod.Namespace))
	if c.included[at] {
		c.nodes[c.domain[at]]++
		c.totals[c.domain[at]] += int64(c.pods[at])
	}
	c.stale = true
}

func (c *countOf) number(value string) int32 {
	n, known := c.values[value]
	if !known {
		n = int32(len(c.values))
		c.values[value] = n
		c.nodes, c.totals, c.met = append(c.nodes, 0), append(c.totals, 0), append(c.met, 0)
	}
	return n
}

func (c *countOf) findFewest() {
	c.fewest, c.stale = math.MaxInt32, false
	domains := 0
	for i, nodes := range c.nodes {
		if nodes > 0 {
			domains++
			c.fewest = min(c.fewest, c.totals[i])
		}
	}
	if domains < c.minDomains {
		c.fewest = 0
	}
}

// Filter rejects nodes whose domain would run too far ahead of the emptiest.
func (t *tracker) Filter(at int) *fwk.Status {
	for _, c := range t.hard {
		if !c.labelled[at] {
			return t.missing
		}
		if c.stale {
			c.findFewest()
		}
		if c.totals[c.domain[at]]+int64(c.self)-c.fewest > int64(c.maxSkew) {
			return t.skewed
		}
	}
	return nil
}

// FilterWith counts the further pods in the node's domains and asks Filter.
func (t *tracker) FilterWith(at int, further []fwk.PodInfo) *fwk.Status {
	t.count(at, further, 1)
	defer t.count(at, further, -1)
	return t.Filter(at)
}

func (t *tracker) count(at int, further []fwk.PodInfo, sign int64) {
	for _, c := range t.hard {
		if !c.included[at] {
			continue
		}
		for _, info := range further {
			pod := info.GetPod()
			if pod.Namespace == t.pod.Namespace && c.selector.Matches(labels.Set(pod.Labels)) {
				c.totals[c.domain[at]] += sign
				c.stale = true
			}
		}
	}
}

// Score turns few pods in a candidate's domains into high scores.
func (t *tracker) Score(candidates []int32, scores []int64) bool {
	if len(t.soft) == 0 {
		return false
	}
	ignored := t.soft[0].ignored
	weights := t.weigh(candidates, ignored)
	lowest, highest := int64(math.MaxInt64), int64(0)
	for i, at := range candidates {
		if ignored[at] {
			continue
		}
		var sum float64
		for k, c := range t.soft {
			if !c.labelled[at] {
				continue
			}
			pods := int64(c.pods[at])
			if c.key != v1.LabelHostname {
				pods = c.totals[c.domain[at]]
			}
			sum += float64(pods)*weights[k] + float64(c.maxSkew-1)
		}
		scores[i] = int64(math.Round(sum))
		lowest, highest = min(lowest, scores[i]), max(highest, scores[i])
	}
	for i, at := range candidates {
		switch {
		case ignored[at]:
			scores[i] = 0
		case highest == 0:
			scores[i] = fwk.MaxScore
		default:
			scores[i] = fwk.MaxScore * (highest + lowest - scores[i]) / highest
		}
	}
	return true
}

// weigh tells what a pod weighs under each constraint: the more, the more domains the candidates lie in.
func (t *tracker) weigh(candidates []int32, ignored []bool) []float64 {
	weights := make([]float64, len(t.soft))
	for k, c := range t.soft {
		c.round++
		size := 0
		for _, at := range candidates {
			if ignored[at] {
				continue
			}
			if c.key == v1.LabelHostname {
				size++
			} else if d := c.domain[at]; c.met[d] != c.round {
				c.met[d] = c.round
				size++
			}
		}
		weights[k] = math.Log(float64(size + 2))
	}
	return weights
}
