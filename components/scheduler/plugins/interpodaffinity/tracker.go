package interpodaffinity

import (
	"maps"
	"math"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/equivalence"
	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// tracker keeps, for one class of pods, what running pods make of each domain.
type tracker struct {
	plugin   *InterPodAffinity
	pod      *v1.Pod
	info     *nodeinfo.PodInfo
	nsLabels labels.Set

	affinity, antiAffinity []fwk.AffinityTerm
	preferred              []fwk.WeightedAffinityTerm
	selfish                bool // the pod would meet its own affinity

	nodes      []*v1.Node
	attracting []*domains // by term of affinity
	attracted  int64      // sum over attracting
	repelling  []*domains // by term of antiAffinity
	repelled   byKey      // running pods' anti-affinity terms that match the pod
	pulls      byKey      // weights of preferences

	// shares are what each node's pods add.
	shares [][]share

	noCompany, unwanted, repels *fwk.Status
}

// domains sums something up by the value of a node label.
type domains struct {
	key    string
	values map[string]int32
	of     []int32 // by the place of the node; -1 where it lacks the label
	sums   []int64
}

// byKey has domains for each of several node labels.
type byKey []*domains

// share is what a node's pods add to the sum of the node's domain.
type share struct {
	to     *domains
	domain int32
	amount int64
	counts bool // towards attracted
}

// Track counts matches over the nodes, and keeps counting.
func (p *InterPodAffinity) Track(pod *v1.Pod, nodes []fwk.NodeInfo) (equivalence.Tracker, error) {
	info, err := nodeinfo.NewPodInfo(pod)
	if err != nil {
		return nil, err
	}
	t := &tracker{
		plugin: p, pod: pod, info: info, nsLabels: p.namespaceLabels(pod.Namespace),
		nodes: make([]*v1.Node, len(nodes)), shares: make([][]share, len(nodes)),
		noCompany: fwk.NewStatus(fwk.UnschedulableAndUnresolvable, ReasonAffinity).WithPlugin(Name),
		unwanted:  fwk.NewStatus(fwk.Unschedulable, ReasonAntiAffinity).WithPlugin(Name),
		repels:    fwk.NewStatus(fwk.Unschedulable, ReasonExistingAntiAffinity).WithPlugin(Name),
	}
	for i, node := range nodes {
		t.nodes[i] = node.Node()
	}
	if err := t.resolve(); err != nil {
		return nil, err
	}
	t.selfish = matchesAll(t.affinity, pod)
	for i := range t.affinity {
		t.attracting = append(t.attracting, t.domains(t.affinity[i].TopologyKey))
	}
	for i := range t.antiAffinity {
		t.repelling = append(t.repelling, t.domains(t.antiAffinity[i].TopologyKey))
	}
	for i, node := range nodes {
		t.Update(i, node)
	}
	return t, nil
}

// resolve finds the namespaces that the pod's terms select now.
func (t *tracker) resolve() (err error) {
	if t.affinity, err = t.plugin.resolveAll(t.info.GetRequiredAffinityTerms()); err != nil {
		return err
	}
	if t.antiAffinity, err = t.plugin.resolveAll(t.info.GetRequiredAntiAffinityTerms()); err != nil {
		return err
	}
	t.preferred, err = t.plugin.preferences(t.pod)
	return err
}

// Current says whether namespaces still look the same.
func (t *tracker) Current() bool {
	if !maps.Equal(t.nsLabels, t.plugin.namespaceLabels(t.pod.Namespace)) {
		return false
	}
	if !t.selectsNamespaces() {
		return true
	}
	now := &tracker{plugin: t.plugin, pod: t.pod, info: t.info}
	if now.resolve() != nil {
		return false
	}
	same := func(a, b []fwk.AffinityTerm) bool {
		for i := range a {
			if !a[i].Namespaces.Equal(b[i].Namespaces) {
				return false
			}
		}
		return true
	}
	for i := range t.preferred {
		if !t.preferred[i].Namespaces.Equal(now.preferred[i].Namespaces) {
			return false
		}
	}
	return same(t.affinity, now.affinity) && same(t.antiAffinity, now.antiAffinity)
}

func (t *tracker) selectsNamespaces() bool {
	for _, terms := range [][]fwk.AffinityTerm{t.info.GetRequiredAffinityTerms(), t.info.GetRequiredAntiAffinityTerms()} {
		for i := range terms {
			if !terms[i].NamespaceSelector.Empty() {
				return true
			}
		}
	}
	for _, terms := range [][]fwk.WeightedAffinityTerm{t.info.GetPreferredAffinityTerms(), t.info.GetPreferredAntiAffinityTerms()} {
		for i := range terms {
			if !terms[i].NamespaceSelector.Empty() {
				return true
			}
		}
	}
	return false
}

func (t *tracker) domains(key string) *domains {
	d := &domains{key: key, values: map[string]int32{}, of: make([]int32, len(t.nodes))}
	for i, node := range t.nodes {
		d.place(i, node)
	}
	return d
}

// place finds the domain of a node.
func (d *domains) place(at int, node *v1.Node) {
	value, found := node.Labels[d.key]
	if !found {
		d.of[at] = -1
		return
	}
	n, known := d.values[value]
	if !known {
		n = int32(len(d.sums))
		d.values[value] = n
		d.sums = append(d.sums, 0)
	}
	d.of[at] = n
}

func (d *domains) sum(at int) int64 {
	if n := d.of[at]; n >= 0 {
		return d.sums[n]
	}
	return 0
}

// of returns the domains of a node label.
func (b *byKey) of(t *tracker, key string) *domains {
	for _, d := range *b {
		if d.key == key {
			return d
		}
	}
	d := t.domains(key)
	*b = append(*b, d)
	return d
}

// any says whether anything was counted.
func (b *byKey) any() bool {
	return slices.ContainsFunc(*b, func(d *domains) bool {
		return slices.ContainsFunc(d.sums, func(sum int64) bool { return sum != 0 })
	})
}

// Update counts a changed node's pods again.
func (t *tracker) Update(at int, info fwk.NodeInfo) {
	t.withdraw(at)
	t.shares[at] = t.shares[at][:0]
	if node := info.Node(); t.nodes[at] != node {
		t.nodes[at] = node
		for _, list := range [][]*domains{t.attracting, t.repelling, t.repelled, t.pulls} {
			for _, d := range list {
				d.place(at, node)
			}
		}
	}
	if len(t.affinity)+len(t.antiAffinity) > 0 {
		for _, running := range info.GetPods() {
			t.countOwn(at, running)
		}
	}
	for _, running := range info.GetPodsWithRequiredAntiAffinity() {
		t.countTheirs(at, running)
	}
	t.countPreferences(at, info)
}

// withdraw takes the node's shares out of the sums.
func (t *tracker) withdraw(at int) {
	for _, s := range t.shares[at] {
		s.to.sums[s.domain] -= s.amount
		if s.counts {
			t.attracted -= s.amount
		}
	}
}

func (t *tracker) countTheirs(at int, running fwk.PodInfo) {
	terms := running.GetRequiredAntiAffinityTerms()
	for i := range terms {
		if terms[i].Matches(t.pod, t.nsLabels) {
			t.add(at, t.repelled.of(t, terms[i].TopologyKey), 1, false)
		}
	}
}

func (t *tracker) countOwn(at int, running fwk.PodInfo) {
	if len(t.affinity) > 0 && matchesAll(t.affinity, running.GetPod()) {
		for _, d := range t.attracting {
			t.add(at, d, 1, true)
		}
	}
	for i := range t.antiAffinity {
		if t.antiAffinity[i].Matches(running.GetPod(), nil) {
			t.add(at, t.repelling[i], 1, false)
		}
	}
}

func (t *tracker) countPreferences(at int, info fwk.NodeInfo) {
	for i := range t.preferred {
		for _, running := range info.GetPods() {
			if t.preferred[i].Matches(running.GetPod(), nil) {
				t.add(at, t.pulls.of(t, t.preferred[i].TopologyKey), int64(t.preferred[i].Weight), false)
			}
		}
	}
	if len(t.preferred) == 0 && t.plugin.ignorePreferred {
		return
	}
	for _, running := range info.GetPodsWithAffinity() {
		t.plugin.theirs(running, func(term *fwk.AffinityTerm, weight int64) {
			if term.Matches(t.pod, t.nsLabels) {
				t.add(at, t.pulls.of(t, term.TopologyKey), weight, false)
			}
		})
	}
}

// add notes a share of the node; shares of one domain are summed up.
func (t *tracker) add(at int, to *domains, amount int64, counts bool) {
	domain := to.of[at]
	if domain < 0 {
		return
	}
	to.sums[domain] += amount
	if counts {
		t.attracted += amount
	}
	own := t.shares[at]
	for i := range own {
		if own[i].to == to {
			own[i].amount += amount
			return
		}
	}
	t.shares[at] = append(own, share{to, domain, amount, counts})
}

// Filter rejects nodes outside the domains that attract the pod and inside those that repel it.
func (t *tracker) Filter(at int) *fwk.Status {
	met := true
	for _, d := range t.attracting {
		if d.of[at] < 0 {
			return t.noCompany
		}
		met = met && d.sums[d.of[at]] > 0
	}
	if !met && (t.attracted > 0 || !t.selfish) {
		return t.noCompany
	}
	for _, d := range t.repelling {
		if d.sum(at) > 0 {
			return t.unwanted
		}
	}
	for _, d := range t.repelled {
		if d.sum(at) > 0 {
			return t.repels
		}
	}
	return nil
}

// FilterWith lets the further pods have shares while it asks Filter. A plugin that PreFilter sees no work for is not
// asked about nominated pods either.
func (t *tracker) FilterWith(at int, further []fwk.PodInfo) *fwk.Status {
	if len(t.affinity)+len(t.antiAffinity) == 0 && !t.repelled.any() {
		return nil
	}
	own := t.shares[at]
	t.shares[at] = nil
	for _, info := range further {
		t.countOwn(at, info)
		t.countTheirs(at, info)
	}
	status := t.Filter(at)
	t.withdraw(at)
	t.shares[at] = own
	return status
}

// Score spreads the pulls of the candidates' domains, which may be negative, over 0 to 100.
func (t *tracker) Score(candidates []int32, scores []int64) bool {
	if len(t.pulls) == 0 {
		return false
	}
	lowest, highest := int64(math.MaxInt64), int64(math.MinInt64)
	for i, at := range candidates {
		scores[i] = 0
		for _, d := range t.pulls {
			scores[i] += d.sum(int(at))
		}
		lowest, highest = min(lowest, scores[i]), max(highest, scores[i])
	}
	if highest <= lowest {
		return false
	}
	for i := range scores {
		scores[i] = int64(float64(fwk.MaxScore) * (float64(scores[i]-lowest) / float64(highest-lowest)))
	}
	return true
}
