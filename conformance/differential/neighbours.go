package differential

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// podAffinity asks for the company of other pods, or for being spared it.
func (d dice) podAffinity(spec *v1.PodSpec) {
	if spec.Affinity == nil {
		spec.Affinity = &v1.Affinity{}
	}
	if d.chance(60) {
		a := &v1.PodAffinity{}
		if d.chance(45) {
			a.RequiredDuringSchedulingIgnoredDuringExecution = d.podTerms(d.between(1, 2))
		}
		if d.chance(60) {
			a.PreferredDuringSchedulingIgnoredDuringExecution = d.weightedTerms()
		}
		spec.Affinity.PodAffinity = a
	}
	if d.chance(60) {
		a := &v1.PodAntiAffinity{}
		if d.chance(50) {
			a.RequiredDuringSchedulingIgnoredDuringExecution = d.podTerms(d.between(1, 2))
		}
		if d.chance(60) {
			a.PreferredDuringSchedulingIgnoredDuringExecution = d.weightedTerms()
		}
		spec.Affinity.PodAntiAffinity = a
	}
}

func (d dice) weightedTerms() []v1.WeightedPodAffinityTerm {
	var list []v1.WeightedPodAffinityTerm
	for _, term := range d.podTerms(d.between(1, 2)) {
		list = append(list, v1.WeightedPodAffinityTerm{Weight: int32(d.between(1, 100)), PodAffinityTerm: term})
	}
	return list
}

func (d dice) podTerms(n int) []v1.PodAffinityTerm {
	var list []v1.PodAffinityTerm
	for range n {
		term := v1.PodAffinityTerm{LabelSelector: d.podSelector(), TopologyKey: pick(d, keys...)}
		if d.chance(25) {
			term.Namespaces = append(some(d, 40, namespaces...), "default")
		}
		if d.chance(25) {
			term.NamespaceSelector = d.namespaceSelector()
		}
		if term.LabelSelector != nil && d.chance(15) {
			term.MatchLabelKeys = []string{"version"}
		}
		if term.LabelSelector != nil && d.chance(10) {
			term.MismatchLabelKeys = []string{"tier"}
		}
		list = append(list, term)
	}
	return list
}

func (d dice) namespaceSelector() *metav1.LabelSelector {
	switch d.IntN(4) {
	case 0:
		return &metav1.LabelSelector{} // every namespace
	case 1:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: "stage", Operator: pick(d, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist),
		}}}
	case 2:
		return &metav1.LabelSelector{MatchLabels: map[string]string{"team": "nobody"}}
	}
	return &metav1.LabelSelector{MatchLabels: map[string]string{"team": pick(d, "a", "b")}}
}

func (d dice) spread(spec *v1.PodSpec) {
	for range d.between(1, 2) {
		c := v1.TopologySpreadConstraint{
			MaxSkew: int32(d.between(1, 3)), TopologyKey: pick(d, keys...), LabelSelector: d.podSelector(),
			WhenUnsatisfiable: pick(d, v1.DoNotSchedule, v1.ScheduleAnyway),
		}
		if c.WhenUnsatisfiable == v1.DoNotSchedule && d.chance(30) {
			c.MinDomains = ref(int32(d.between(1, 5)))
		}
		if d.chance(50) {
			c.NodeAffinityPolicy = ref(pick(d, v1.NodeInclusionPolicyHonor, v1.NodeInclusionPolicyIgnore))
		}
		if d.chance(50) {
			c.NodeTaintsPolicy = ref(pick(d, v1.NodeInclusionPolicyHonor, v1.NodeInclusionPolicyIgnore))
		}
		if c.LabelSelector != nil && d.chance(25) {
			c.MatchLabelKeys = some(d, 70, "version", "tier")
		}
		spec.TopologySpreadConstraints = append(spec.TopologySpreadConstraints, c)
	}
}
