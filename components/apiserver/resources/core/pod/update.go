package pod

import (
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

const mutableFields = "pod updates may not change fields other than " +
	"`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

func optionsForPod(old *corev1.Pod) Options {
	return Options{Old: &old.Spec, OldAnnotations: old.Annotations}
}

// validateUpdate checks a change of a pod at its main endpoint, where next to nothing
// of the spec may change.
func validateUpdate(p, old *corev1.Pod) field.ErrorList {
	found := problem.List{Errors: validatePod(p, optionsForPod(old))}
	found.Add(annotationChanges(p.Annotations, old.Annotations, field.NewPath("metadata", "annotations"))...)
	at := field.NewPath("spec")
	if len(p.Spec.Containers) != len(old.Spec.Containers) {
		found.Forbidden(at.Child("containers"), "pod updates may not add or remove containers")
		return found.Errors
	}
	if len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		found.Forbidden(at.Child("initContainers"), "pod updates may not add or remove containers")
		return found.Errors
	}
	if !deadlineMayChange(&found, at.Child("activeDeadlineSeconds"), p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds) {
		return found.Errors
	}
	tolerationsMayChange(&found, at.Child("tolerations"), p.Spec.Tolerations, old.Spec.Tolerations)
	for i, gate := range p.Spec.SchedulingGates {
		if !slices.Contains(old.Spec.SchedulingGates, gate) {
			found.Forbidden(at.Child("schedulingGates").Index(i).Child("name"),
				fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", gate.Name))
		}
	}
	if equality.Semantic.DeepEqual(p.Spec, old.Spec) {
		return found.Errors
	}
	rest := p.Spec.DeepCopy()
	takeBackAllowed(rest, &old.Spec)
	if len(old.Spec.SchedulingGates) > 0 {
		takeBackPlacement(&found, at, rest, &old.Spec)
	}
	if !equality.Semantic.DeepEqual(*rest, old.Spec) {
		found.Forbidden(at, mutableFields+"\n"+diff.Diff(old.Spec, *rest))
	}
	return found.Errors
}

// deadlineMayChange: a deadline can be set, and brought nearer. It reports whether to go on.
func deadlineMayChange(found *problem.List, at *field.Path, now, was *int64) bool {
	before := len(found.Errors)
	switch {
	case now == nil && was != nil:
		found.Invalid(at, now, "must not update from a positive integer to nil value")
		return true
	case now == nil:
	case *now < 0 || *now > math.MaxInt32:
		found.Invalid(at, *now, validation.InclusiveRangeError(0, math.MaxInt32))
	case was != nil && *was < *now:
		found.Invalid(at, *now, "must be less than or equal to previous value")
	}
	return len(found.Errors) == before
}

// tolerationsMayChange: they can be added to, and how long they last can be changed.
func tolerationsMayChange(found *problem.List, at *field.Path, now, was []corev1.Toleration) {
	sameButTime := func(a, b corev1.Toleration) bool {
		a.TolerationSeconds, b.TolerationSeconds = nil, nil
		return a == b
	}
	for _, t := range was {
		if !slices.ContainsFunc(now, func(n corev1.Toleration) bool { return sameButTime(n, t) }) {
			found.Forbidden(at, "existing toleration can not be modified except its tolerationSeconds")
			return
		}
	}
}

// takeBackAllowed undoes the changes that are allowed of any pod.
func takeBackAllowed(s, old *corev1.PodSpec) {
	for i := range s.Containers {
		s.Containers[i].Image = old.Containers[i].Image
	}
	for i := range s.InitContainers {
		s.InitContainers[i].Image = old.InitContainers[i].Image
	}
	s.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	s.SchedulingGates = old.SchedulingGates
	s.Tolerations = old.Tolerations
	if was, is := old.TerminationGracePeriodSeconds, s.TerminationGracePeriodSeconds; was != nil && *was < 0 && is != nil && *is == 1 {
		s.TerminationGracePeriodSeconds = was
	}
}

// takeBackPlacement undoes changes of where a pod may run that are allowed while it is
// gated: the choice can be narrowed.
// https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/#mutable-pod-scheduling-directives
func takeBackPlacement(found *problem.List, at *field.Path, s, old *corev1.PodSpec) {
	for key, value := range old.NodeSelector {
		if now, kept := s.NodeSelector[key]; !kept || now != value {
			found.Invalid(at.Child("nodeSelector"), s.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
			break
		}
	}
	s.NodeSelector = old.NodeSelector

	var is, was *corev1.NodeAffinity
	if s.Affinity != nil {
		is = s.Affinity.NodeAffinity
	}
	if old.Affinity != nil {
		was = old.Affinity.NodeAffinity
	}
	if equality.Semantic.DeepEqual(is, was) {
		return
	}
	termsMayNarrow(found, at.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"),
		requiredTerms(is), requiredTerms(was))
	if s.Affinity == nil {
		s.Affinity = new(corev1.Affinity)
	}
	s.Affinity.NodeAffinity = was
	if old.Affinity == nil && *s.Affinity == (corev1.Affinity{}) {
		s.Affinity = nil
	}
}

func requiredTerms(a *corev1.NodeAffinity) []corev1.NodeSelectorTerm {
	if a == nil || a.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

// termsMayNarrow: terms are alternatives, so none may be added; within one, further
// conditions may.
func termsMayNarrow(found *problem.List, at *field.Path, now, was []corev1.NodeSelectorTerm) {
	if len(was) == 0 {
		return
	}
	if len(now) != len(was) {
		found.Invalid(at, now, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
		return
	}
	for i := range was {
		// A term without conditions matches no node, so conditions would widen it.
		empty := len(was[i].MatchExpressions)+len(was[i].MatchFields) == 0
		widened := empty && len(now[i].MatchExpressions)+len(now[i].MatchFields) > 0
		if widened || !startsWith(now[i].MatchExpressions, was[i].MatchExpressions) || !startsWith(now[i].MatchFields, was[i].MatchFields) {
			found.Invalid(at.Index(i), now[i], "only additions are allowed (no mutations or deletions)")
		}
	}
}

func startsWith(list, start []corev1.NodeSelectorRequirement) bool {
	return len(list) >= len(start) && equality.Semantic.DeepEqual(list[:len(start)], start)
}

// validateEphemeralUpdate checks a change at the ephemeralcontainers endpoint, where
// containers can be added and nothing else.
func validateEphemeralUpdate(p, old *corev1.Pod) field.ErrorList {
	if isMirror(old.Annotations) {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	found := problem.List{Errors: validatePod(p, optionsForPod(old))}
	found.Add(annotationChanges(p.Annotations, old.Annotations, field.NewPath("metadata", "annotations"))...)
	at := field.NewPath("spec", "ephemeralContainers")
	for _, was := range old.Spec.EphemeralContainers {
		i := slices.IndexFunc(p.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == was.Name })
		if i < 0 {
			found.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name))
		} else if is := p.Spec.EphemeralContainers[i]; !equality.Semantic.DeepEqual(is, was) {
			found.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, diff.Diff(was, is)))
		}
	}
	return found.Errors
}
