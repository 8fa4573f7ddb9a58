package pod

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// scheduling checks everything that says where and when a pod may run.
func (c *checker) scheduling(at *field.Path) {
	s := c.spec
	c.Add(metav1validation.ValidateLabels(s.NodeSelector, at.Child("nodeSelector"))...)
	if a := s.Affinity; a != nil {
		if a.NodeAffinity != nil {
			c.nodeAffinity(at.Child("affinity", "nodeAffinity"), a.NodeAffinity)
		}
		c.podAffinity(at.Child("affinity"), a)
	}
	gates := map[string]bool{}
	for i, gate := range s.SchedulingGates {
		gateAt := at.Child("schedulingGates").Index(i)
		c.qualifiedName(gateAt, gate.Name)
		if gates[gate.Name] {
			c.Duplicate(gateAt, gate.Name)
		}
		gates[gate.Name] = true
	}
	c.spread(at.Child("topologySpreadConstraints"))
	c.Add(ValidateTolerations(s.Tolerations, at.Child("tolerations"))...)
	if p := s.PreemptionPolicy; p != nil {
		if *p == "" {
			c.Required(at.Child("preemptionPolicy"), "")
		} else {
			problem.OneOf(&c.List, at.Child("preemptionPolicy"), *p, corev1.PreemptLowerPriority, corev1.PreemptNever)
		}
	}
}

// schedulingGroup checks the reference to a PodGroup. Of the union there is one member yet.
func (c *checker) schedulingGroup(at *field.Path) {
	group := c.spec.SchedulingGroup
	if group == nil {
		return
	}
	if nameAt := at.Child("podGroupName"); group.PodGroupName == nil {
		c.Invalid(nameAt, group.PodGroupName, "must specify one of: `podGroupName`")
	} else {
		c.Messages(nameAt, *group.PodGroupName, apivalidation.NameIsDNSSubdomain(*group.PodGroupName, false))
	}
	if len(c.spec.EvictionResponders) > 0 {
		c.Forbidden(at, "may not be set when evictionResponders is set")
	}
}

func (c *checker) nodeAffinity(at *field.Path, a *corev1.NodeAffinity) {
	if required := a.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		c.Add(ValidateNodeSelector(required, at.Child("requiredDuringSchedulingIgnoredDuringExecution"), c.labelValueInNodeAffinity)...)
	}
	for i, preferred := range a.PreferredDuringSchedulingIgnoredDuringExecution {
		termAt := at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		c.weight(termAt, preferred.Weight)
		c.Add(validateNodeTerm(&preferred.Preference, termAt.Child("preference"), true)...)
	}
}

func (c *checker) weight(at *field.Path, weight int32) {
	c.Within(at.Child("weight"), int64(weight), 1, 100, "must be in the range 1-100")
}

func (c *checker) podAffinity(at *field.Path, a *corev1.Affinity) {
	terms := func(at *field.Path, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			c.podAffinityTerm(at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i), &required[i])
		}
		for i := range preferred {
			termAt := at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
			c.weight(termAt, preferred[i].Weight)
			c.podAffinityTerm(termAt.Child("podAffinityTerm"), &preferred[i].PodAffinityTerm)
		}
	}
	if p := a.PodAffinity; p != nil {
		terms(at.Child("podAffinity"), p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		terms(at.Child("podAntiAffinity"), p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (c *checker) podAffinityTerm(at *field.Path, t *corev1.PodAffinityTerm) {
	c.selector(at.Child("labelSelector"), t.LabelSelector, c.labelValueInPodAffinity)
	c.selector(at.Child("namespaceSelector"), t.NamespaceSelector, c.labelValueInPodAffinity)
	for _, name := range t.Namespaces {
		c.Messages(at.Child("namespace"), name, apivalidation.ValidateNamespaceName(name, false))
	}
	c.labelKeys(at, t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector)
	if t.TopologyKey == "" {
		c.Required(at.Child("topologyKey"), "can not be empty")
	}
	c.Add(metav1validation.ValidateLabelName(t.TopologyKey, at.Child("topologyKey"))...)
}

func (c *checker) selector(at *field.Path, s *metav1.LabelSelector, anyValue bool) {
	c.Add(metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: anyValue}, at)...)
}

// labelKeys checks matchLabelKeys and mismatchLabelKeys. The API server merges the pod's
// values of them into the selector, so a key found there twice contradicts itself.
func (c *checker) labelKeys(at *field.Path, match, mismatch []string, selector *metav1.LabelSelector) {
	each := func(listAt *field.Path, keys []string) {
		if len(keys) > 0 && selector == nil {
			c.Forbidden(listAt, "must not be specified when labelSelector is not set")
			return
		}
		for i, key := range keys {
			c.Add(metav1validation.ValidateLabelName(key, listAt.Index(i))...)
		}
	}
	each(at.Child("matchLabelKeys"), match)
	each(at.Child("mismatchLabelKeys"), mismatch)
	if selector != nil {
		seen := map[string]bool{}
		for key := range selector.MatchLabels {
			seen[key] = true
		}
		for _, e := range selector.MatchExpressions {
			if i := slices.Index(match, e.Key); i >= 0 && seen[e.Key] {
				c.Add(field.Invalid(at.Index(i), e.Key, "exists in both matchLabelKeys and labelSelector").WithOrigin("duplicatedLabelKeys"))
			}
			seen[e.Key] = true
		}
	}
	for i, key := range match {
		if slices.Contains(mismatch, key) {
			c.Add(field.Invalid(at.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys").
				WithOrigin("duplicatedMismatchLabelKeys"))
		}
	}
}

// spread checks topology spread constraints.
// https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
func (c *checker) spread(at *field.Path) {
	list := c.spec.TopologySpreadConstraints
	for i, s := range list {
		itemAt := at.Index(i)
		c.Positive(itemAt.Child("maxSkew"), int64(s.MaxSkew))
		if s.TopologyKey == "" {
			c.Required(itemAt.Child("topologyKey"), "can not be empty")
		}
		problem.OneOf(&c.List, itemAt.Child("whenUnsatisfiable"), s.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)
		if slices.ContainsFunc(list[i+1:], func(other corev1.TopologySpreadConstraint) bool {
			return other.TopologyKey == s.TopologyKey && other.WhenUnsatisfiable == s.WhenUnsatisfiable
		}) {
			c.Duplicate(itemAt.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", s.TopologyKey, s.WhenUnsatisfiable))
		}
		if s.MinDomains != nil {
			c.Positive(itemAt.Child("minDomains"), int64(*s.MinDomains))
			if s.WhenUnsatisfiable != corev1.DoNotSchedule {
				c.Add(field.Invalid(itemAt.Child("minDomains"), s.MinDomains, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s",
					corev1.DoNotSchedule, s.WhenUnsatisfiable)).WithOrigin("dependsOn"))
			}
		}
		c.inclusion(itemAt.Child("nodeAffinityPolicy"), s.NodeAffinityPolicy)
		c.inclusion(itemAt.Child("nodeTaintsPolicy"), s.NodeTaintsPolicy)
		if c.legacySpreadKeys {
			c.legacyLabelKeys(itemAt.Child("matchLabelKeys"), s.MatchLabelKeys, s.LabelSelector)
		} else {
			c.labelKeys(itemAt, s.MatchLabelKeys, nil, s.LabelSelector)
		}
		if !c.labelValueInSpread {
			c.selector(itemAt.Child("labelSelector"), s.LabelSelector, false)
		}
	}
}

func (c *checker) inclusion(at *field.Path, p *corev1.NodeInclusionPolicy) {
	if p != nil {
		problem.OneOf(&c.List, at, *p, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
	}
}

// legacyLabelKeys has the rule of releases that did not merge keys into the selector.
func (c *checker) legacyLabelKeys(at *field.Path, keys []string, selector *metav1.LabelSelector) {
	if len(keys) > 0 && selector == nil {
		c.Forbidden(at, "must not be specified when labelSelector is not set")
		selector = new(metav1.LabelSelector)
	}
	for i, key := range keys {
		c.Add(metav1validation.ValidateLabelName(key, at.Index(i))...)
		_, byLabel := selector.MatchLabels[key]
		if byLabel || slices.ContainsFunc(selector.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool { return e.Key == key }) {
			c.Add(field.Invalid(at.Index(i), key, "exists in both matchLabelKeys and labelSelector").WithOrigin("duplicatedLabelKeys"))
		}
	}
}

// ValidateNodeSelector checks a selector of nodes, a pod's or a persistent volume's.
// anyValue tolerates values that no label can have.
func ValidateNodeSelector(s *corev1.NodeSelector, at *field.Path, anyValue bool) field.ErrorList {
	var found problem.List
	termsAt := at.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		found.Required(termsAt, "must have at least one node selector term")
	}
	for i := range s.NodeSelectorTerms {
		found.Add(validateNodeTerm(&s.NodeSelectorTerms[i], termsAt.Index(i), anyValue)...)
	}
	return found.Errors
}

func validateNodeTerm(t *corev1.NodeSelectorTerm, at *field.Path, anyValue bool) field.ErrorList {
	var found problem.List
	for i, r := range t.MatchExpressions {
		found.Add(validateNodeRequirement(&r, at.Child("matchExpressions").Index(i), anyValue)...)
	}
	for i, r := range t.MatchFields {
		fieldAt := at.Child("matchFields").Index(i)
		switch r.Operator {
		case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
			if len(r.Values) != 1 {
				found.Required(fieldAt.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
			}
		default:
			found.Invalid(fieldAt.Child("operator"), r.Operator, "not a valid selector operator")
		}
		if r.Key != metav1.ObjectNameField {
			found.Invalid(fieldAt.Child("key"), r.Key, "not a valid field selector key")
			continue
		}
		for j, value := range r.Values {
			found.Messages(fieldAt.Child("values").Index(j), value, apivalidation.NameIsDNSSubdomain(value, false))
		}
	}
	return found.Errors
}

func validateNodeRequirement(r *corev1.NodeSelectorRequirement, at *field.Path, anyValue bool) field.ErrorList {
	var found problem.List
	valuesAt := at.Child("values")
	switch n := len(r.Values); r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if n == 0 {
			found.Required(valuesAt, "must be specified when `operator` is 'In' or 'NotIn'")
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if n > 0 {
			found.Forbidden(valuesAt, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if n != 1 {
			found.Required(valuesAt, "must be specified single value when `operator` is 'Lt' or 'Gt'")
		}
	default:
		found.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator")
	}
	found.Add(metav1validation.ValidateLabelName(r.Key, at.Child("key"))...)
	for i, value := range r.Values {
		if anyValue {
			break
		}
		for _, m := range validation.IsValidLabelValue(value) {
			found.Add(field.Invalid(valuesAt.Index(i), value, m).WithOrigin("format=k8s-label-value"))
		}
	}
	return found.Errors
}

// ValidateTolerations checks which taints a pod puts up with.
// https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
func ValidateTolerations(list []corev1.Toleration, at *field.Path) field.ErrorList {
	var found problem.List
	for i, t := range list {
		itemAt := at.Index(i)
		operatorAt := itemAt.Child("operator")
		if t.Key != "" {
			found.Add(metav1validation.ValidateLabelName(t.Key, itemAt.Child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			found.Invalid(operatorAt, t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			found.Invalid(itemAt.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
		}
		switch t.Operator {
		case "", corev1.TolerationOpEqual:
			if messages := validation.IsValidLabelValue(t.Value); len(messages) > 0 {
				found.Invalid(operatorAt, t.Value, strings.Join(messages, ";"))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				found.Invalid(operatorAt, t.Value, "value must be empty when `operator` is 'Exists'")
			}
		case corev1.TolerationOpLt, corev1.TolerationOpGt: // alpha, off
			found.Add(field.NotSupported(operatorAt, t.Operator, []corev1.TolerationOperator{
				corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt}))
		default:
			found.Add(field.NotSupported(operatorAt, t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		if t.Effect != "" {
			ValidateTaintEffect(&found, itemAt.Child("effect"), t.Effect)
		}
	}
	return found.Errors
}

// ValidateTaintEffect checks what a taint does to pods that do not tolerate it.
func ValidateTaintEffect(found *problem.List, at *field.Path, e corev1.TaintEffect) {
	problem.OneOf(found, at, e, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}
