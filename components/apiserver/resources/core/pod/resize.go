package pod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// Changing the cpu and memory of a running pod:
// https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/

// prepareForResize takes over of a change what the resize endpoint is for: resources
// and resize policies. A pod with other containers is left for validation to refuse.
func prepareForResize(p, old *corev1.Pod) {
	if len(p.Spec.Containers) != len(old.Spec.Containers) || len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return
	}
	asked := p.Spec
	p.Spec = *old.Spec.DeepCopy()
	p.Spec.Containers = resized(asked.Containers, p.Spec.Containers)
	p.Spec.InitContainers = resized(asked.InitContainers, p.Spec.InitContainers)
	if asked.Resources != nil {
		p.Spec.Resources = asked.Resources
	}
	p.Status = old.Status
	metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &old.ObjectMeta)
	defaultPodResources(p)
}

func resized(asked, into []corev1.Container) []corev1.Container {
	for i := range asked {
		if asked[i].Name != into[i].Name {
			return asked
		}
		into[i].Resources, into[i].ResizePolicy = asked[i].Resources, asked[i].ResizePolicy
	}
	return into
}

func validateResize(p, old *corev1.Pod) field.ErrorList {
	switch {
	case isMirror(old.Annotations):
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	case isWindows(&old.Spec):
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	found := problem.List{Errors: validatePod(p, optionsForPod(old))}
	at := field.NewPath("spec")
	class := old.Status.QOSClass
	if class == "" {
		class = QOSClass(old)
	}
	if class != QOSClass(p) {
		found.Invalid(at, p.Status.QOSClass, "Pod QOS Class may not change as a result of resizing")
	}
	if !nodeResizes(old) {
		found.Forbidden(at, "Pod running on node without support for resize")
	}
	rest := p.Spec.DeepCopy()
	podAmountsMayChange(&found, at, rest, old.Spec.Resources)
	if !sameContainers(&found, at.Child("containers"), "containers", p.Spec.Containers, old.Spec.Containers) ||
		!sameContainers(&found, at.Child("initContainers"), "initContainers", p.Spec.InitContainers, old.Spec.InitContainers) {
		return found.Errors
	}
	for i := range rest.InitContainers {
		initMayChange(&found, at.Child("initContainers").Index(i), &rest.InitContainers[i], &old.Spec.InitContainers[i])
	}
	for i := range rest.Containers {
		is, was := &rest.Containers[i], &old.Spec.Containers[i]
		amountsNotRemoved(&found, at.Child("containers").Index(i).Child("resources"), "resource", &is.Resources, &was.Resources)
		takeBackAmounts(&is.Resources, &was.Resources)
		if !equality.Semantic.DeepEqual(is, was) {
			found.Forbidden(at, "only cpu and memory resources are mutable")
		}
	}
	if !equality.Semantic.DeepEqual(p.Spec.Volumes, old.Spec.Volumes) {
		found.Forbidden(at.Child("volumes"), "volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes feature gate is disabled")
	}
	if found.Errors == nil && !equality.Semantic.DeepEqual(*rest, old.Spec) {
		found.Forbidden(at, "only cpu and memory resources are mutable")
	}
	return found.Errors
}

// nodeResizes reports whether the kubelet shows what running containers have, as those
// do that can change it.
func nodeResizes(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil {
			return s.Resources != nil
		}
	}
	return true
}

func sameContainers(found *problem.List, at *field.Path, what string, now, was []corev1.Container) bool {
	before := len(found.Errors)
	if len(now) != len(was) {
		found.Forbidden(at, what+" may not be added or removed on resize")
		return false
	}
	for i := range was {
		if now[i].Name != was[i].Name {
			found.Forbidden(at.Index(i).Child("name"), what+" may not be renamed or reordered on resize")
		}
	}
	return len(found.Errors) == before
}

func initMayChange(found *problem.List, at *field.Path, is, was *corev1.Container) {
	changed := !equality.Semantic.DeepEqual(is, was)
	amountsNotRemoved(found, at.Child("resources"), "resource", &is.Resources, &was.Resources)
	takeBackAmounts(&is.Resources, &was.Resources)
	if !equality.Semantic.DeepEqual(is, was) {
		found.Forbidden(at, "only cpu and memory resources for init or sidecar containers are mutable")
	}
	if !changed || isSidecar(is) {
		return
	}
	for _, p := range is.ResizePolicy {
		if restartsOnResize(p) {
			found.Forbidden(at, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized")
		}
	}
}

// podAmountsMayChange checks the amounts of the pod as a whole, and takes them back in s.
func podAmountsMayChange(found *problem.List, at *field.Path, s *corev1.PodSpec, was *corev1.ResourceRequirements) {
	resourcesAt := at.Child("resources")
	switch {
	case s.Resources == nil && was == nil:
		return
	case s.Resources == nil:
		found.Forbidden(resourcesAt, "pod-level resources cannot be removed")
		return
	case was == nil:
		takeBackAmounts(s.Resources, new(corev1.ResourceRequirements))
		if len(s.Resources.Requests)+len(s.Resources.Limits)+len(s.Resources.Claims) == 0 {
			s.Resources = nil
		}
	default:
		amountsNotRemoved(found, resourcesAt, "pod-level resource", s.Resources, was)
		takeBackAmounts(s.Resources, was)
	}
	if !equality.Semantic.DeepEqual(s.Resources, was) {
		found.Forbidden(at, "only cpu and memory resources are mutable at pod-level")
	}
}

func amountsNotRemoved(found *problem.List, at *field.Path, what string, is, was *corev1.ResourceRequirements) {
	lost := func(now, before corev1.ResourceList) bool {
		for name := range before {
			if _, kept := now[name]; !kept {
				return true
			}
		}
		return false
	}
	if lost(is.Requests, was.Requests) {
		found.Forbidden(at.Child("requests"), what+" requests cannot be removed")
	}
	if lost(is.Limits, was.Limits) {
		found.Forbidden(at.Child("limits"), what+" limits cannot be removed")
	}
}

// takeBackAmounts undoes changes of cpu and memory.
func takeBackAmounts(is, was *corev1.ResourceRequirements) {
	undo := func(list *corev1.ResourceList, before corev1.ResourceList) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			amount, had := before[name]
			switch {
			case !had:
				delete(*list, name)
			case *list == nil:
				*list = corev1.ResourceList{name: amount}
			default:
				(*list)[name] = amount
			}
		}
	}
	undo(&is.Requests, was.Requests)
	undo(&is.Limits, was.Limits)
}
