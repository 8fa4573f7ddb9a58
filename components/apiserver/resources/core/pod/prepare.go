package pod

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	componentresource "k8s.io/component-helpers/resource"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/core/quantity"
)

// prepareForCreate sets what only the API server says of a new pod.
func prepareForCreate(_ context.Context, p *corev1.Pod) {
	p.Status = corev1.PodStatus{Phase: corev1.PodPending}
	if len(p.Spec.SchedulingGates) > 0 {
		SetCondition(&p.Status, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
			Reason:  corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		})
	}
	mergeLabelKeys(p)
	appArmorFromAnnotations(p)
	defaultPodResources(p)
	p.Status.QOSClass = QOSClass(p)
}

// prepareForUpdate keeps amounts that were set for the pod as a whole: clients that do
// not know the field would clear it.
func prepareForUpdate(_ context.Context, p, old *corev1.Pod) {
	if p.Spec.Resources == nil {
		p.Spec.Resources = old.Spec.Resources.DeepCopy()
	}
}

// prepareForStatusUpdate keeps parts of the status that other writers than the kubelet own.
func prepareForStatusUpdate(_ context.Context, p, old *corev1.Pod) {
	now, was := &p.Status, &old.Status
	orElse(&now.QOSClass, was.QOSClass)
	orElse(&now.ObservedGeneration, was.ObservedGeneration)
	if now.ResourceClaimStatuses == nil {
		now.ResourceClaimStatuses = was.ResourceClaimStatuses
	}
	if now.ExtendedResourceClaimStatus == nil {
		now.ExtendedResourceClaimStatus = was.ExtendedResourceClaimStatus
	}
	if now.NodeAllocatableResourceClaimStatuses == nil {
		now.NodeAllocatableResourceClaimStatuses = was.NodeAllocatableResourceClaimStatuses
	}
	// The nth condition of a type goes with the nth of that type before.
	before := map[corev1.PodConditionType][]int64{}
	for _, c := range was.Conditions {
		before[c.Type] = append(before[c.Type], c.ObservedGeneration)
	}
	for i := range now.Conditions {
		c := &now.Conditions[i]
		if seen := before[c.Type]; len(seen) > 0 {
			orElse(&c.ObservedGeneration, seen[0])
			before[c.Type] = seen[1:]
		}
	}
}

// SetCondition sets a condition of a pod. The time of transition moves only when the
// condition's status does.
func SetCondition(s *corev1.PodStatus, c corev1.PodCondition) {
	c.LastTransitionTime = metav1.Now()
	i := slices.IndexFunc(s.Conditions, func(old corev1.PodCondition) bool { return old.Type == c.Type })
	if i < 0 {
		s.Conditions = append(s.Conditions, c)
		return
	}
	if s.Conditions[i].Status == c.Status {
		c.LastTransitionTime = s.Conditions[i].LastTransitionTime
	}
	s.Conditions[i] = c
}

// mergeLabelKeys writes the pod's values of matchLabelKeys and mismatchLabelKeys into
// the selectors beside them, so that schedulers need not know those fields.
func mergeLabelKeys(p *corev1.Pod) {
	merge := func(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator) {
		for _, key := range keys {
			if value, has := p.Labels[key]; has && s != nil {
				s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
			}
		}
	}
	term := func(t *corev1.PodAffinityTerm) {
		merge(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
		merge(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
	}
	terms := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			term(&required[i])
		}
		for i := range preferred {
			term(&preferred[i].PodAffinityTerm)
		}
	}
	if a := ptr.Deref(p.Spec.Affinity, corev1.Affinity{}).PodAffinity; a != nil {
		terms(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := ptr.Deref(p.Spec.Affinity, corev1.Affinity{}).PodAntiAffinity; a != nil {
		terms(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	for _, s := range p.Spec.TopologySpreadConstraints {
		merge(s.LabelSelector, s.MatchLabelKeys, metav1.LabelSelectorOpIn)
	}
}

// appArmorFromAnnotations moves profiles that are still given by annotation to the
// field that took its place. https://kubernetes.io/docs/tutorials/security/apparmor/
func appArmorFromAnnotations(p *corev1.Pod) {
	if isWindows(&p.Spec) {
		return
	}
	var whole *corev1.AppArmorProfile
	if p.Spec.SecurityContext != nil {
		whole = p.Spec.SecurityContext.AppArmorProfile
	}
	for m := range members(&p.Spec, nil) {
		value, given := p.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+m.Name]
		if !given || m.SecurityContext != nil && m.SecurityContext.AppArmorProfile != nil {
			continue
		}
		profile := appArmorProfile(value)
		if profile == nil || equality.Semantic.DeepEqual(profile, whole) {
			continue
		}
		if m.SecurityContext == nil {
			m.SecurityContext = new(corev1.SecurityContext)
		}
		m.SecurityContext.AppArmorProfile = profile
	}
}

// appArmorProfile reads an annotation; nil where it names no valid profile.
func appArmorProfile(value string) *corev1.AppArmorProfile {
	switch value {
	case corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	name, local := strings.CutPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
	if !local || name == "" || padded(name) {
		return nil
	}
	return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
}

// defaultPodResources completes amounts that are set for the pod as a whole, from those
// of its containers. It runs after admission, which may have added containers.
func defaultPodResources(p *corev1.Pod) {
	r := p.Spec.Resources
	if r == nil || len(r.Limits)+len(r.Requests) == 0 {
		return
	}
	set := func(list *corev1.ResourceList, from corev1.ResourceList, wanted func(corev1.ResourceName) bool) {
		for name, amount := range from {
			if _, given := (*list)[name]; given || !componentresource.IsSupportedPodLevelResource(name) || !wanted(name) {
				continue
			}
			if *list == nil {
				*list = corev1.ResourceList{}
			}
			(*list)[name] = amount.DeepCopy()
		}
	}
	plain := &corev1.Pod{Spec: corev1.PodSpec{Containers: p.Spec.Containers, InitContainers: p.Spec.InitContainers}}
	set(&r.Limits, componentresource.AggregateContainerLimits(plain, componentresource.PodResourcesOptions{}), func(n corev1.ResourceName) bool {
		_, requested := r.Requests[n]
		return quantity.IsHugePages(n) && !requested
	})
	if len(r.Limits) == 0 {
		return
	}
	set(&r.Requests, componentresource.AggregateContainerRequests(plain, componentresource.PodResourcesOptions{}), quantity.MayOvercommit)
	set(&r.Requests, r.Limits, func(corev1.ResourceName) bool { return true })
}
