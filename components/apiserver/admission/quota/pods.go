package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

const requestsPrefix = "requests."

func pods() quotav1.Evaluator {
	return &measure[*corev1.Pod]{
		resource: corev1.Resource("pods"),
		covers:   coversPods,
		usage:    podUsage,
		changes:  podChanges,
		inScope:  podInScope,
		demands:  podDemands,
	}
}

func coversPods(name corev1.ResourceName) bool {
	switch name {
	case "count/pods", corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage:
		return true
	}
	text := string(name)
	if strings.HasPrefix(text, corev1.ResourceHugePagesPrefix) || strings.HasPrefix(text, requestsPrefix+corev1.ResourceHugePagesPrefix) {
		return true
	}
	extended, asked := strings.CutPrefix(text, requestsPrefix)
	return asked && isExtended(extended)
}

// isExtended says whether a resource is neither one of Kubernetes' own nor a storage class's.
func isExtended(name string) bool {
	domain, _, qualified := strings.Cut(name, "/")
	return qualified && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io") && !strings.HasSuffix(domain, ".storageclass.storage.k8s.io")
}

func podChanges(a admission.Attributes) bool {
	if a.GetSubresource() == "resize" {
		return a.GetOperation() == admission.Update
	}
	if created(a) {
		return true
	}
	// An update can move a pod from one scope to another.
	now, ok := a.GetObject().(*corev1.Pod)
	before, also := a.GetOldObject().(*corev1.Pod)
	return written(a) && ok && also && terminating(now) != terminating(before)
}

// podUsage counts a pod that is over as an object only.
func podUsage(pod *corev1.Pod) corev1.ResourceList {
	usage := corev1.ResourceList{"count/pods": count(1)}
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return usage
	}
	usage[corev1.ResourcePods] = count(1)
	options := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	maps.Copy(usage, asQuota(resourcehelper.PodRequests(pod, options), resourcehelper.PodLimits(pod, options)))
	return usage
}

// asQuota names requests and limits as quotas do.
func asQuota(requests, limits corev1.ResourceList) corev1.ResourceList {
	usage := corev1.ResourceList{}
	for name, quantity := range requests {
		plain := name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage ||
			strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
		if plain {
			usage[name] = quantity
		}
		if plain || isExtended(string(name)) {
			usage[requestsPrefix+name] = quantity
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if quantity, limited := limits[name]; limited {
			usage["limits."+name] = quantity
		}
	}
	return usage
}

// podDemands wants every container to name the CPU and memory that a quota counts.
func podDemands(required []corev1.ResourceName, pod *corev1.Pod) error {
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		return nil
	}
	missing := map[string][]string{}
	for _, container := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		named := asQuota(container.Resources.Requests, container.Resources.Limits)
		for _, name := range required {
			switch name {
			case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
				corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory:
				if _, ok := named[name]; !ok {
					missing[string(name)] = append(missing[string(name)], container.Name)
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		containers := missing[name]
		slices.Sort(containers)
		parts = append(parts, fmt.Sprintf("%s for: %s", name, strings.Join(slices.Compact(containers), ",")))
	}
	return fmt.Errorf("must specify %s", strings.Join(parts, "; "))
}

func terminating(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

func podInScope(pod *corev1.Pod, selector corev1.ScopedResourceSelectorRequirement) (bool, error) {
	switch selector.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return terminating(pod), nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !terminating(pod), nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod), nil
	case corev1.ResourceQuotaScopePriorityClass:
		return byName(pod.Spec.PriorityClassName, selector)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(pod.Spec.Affinity), nil
	}
	return false, nil
}

func byName(name string, selector corev1.ScopedResourceSelectorRequirement) (bool, error) {
	switch selector.Operator {
	case corev1.ScopeSelectorOpExists:
		return name != "", nil
	case corev1.ScopeSelectorOpDoesNotExist:
		return name == "", nil
	case corev1.ScopeSelectorOpIn:
		return name != "" && slices.Contains(selector.Values, name), nil
	case corev1.ScopeSelectorOpNotIn:
		return name == "" || !slices.Contains(selector.Values, name), nil
	}
	return false, fmt.Errorf("%q is not a valid scope selector operator", selector.Operator)
}

// bestEffort says whether no container asks for or limits CPU or memory.
func bestEffort(pod *corev1.Pod) bool {
	names := func(list corev1.ResourceList) bool {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if quantity := list[name]; !quantity.IsZero() {
				return true
			}
		}
		return false
	}
	if pod.Spec.Resources != nil && (names(pod.Spec.Resources.Requests) || names(pod.Spec.Resources.Limits)) {
		return false
	}
	return !slices.ContainsFunc(slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers), func(c corev1.Container) bool {
		return names(c.Resources.Requests) || names(c.Resources.Limits)
	})
}

func crossesNamespaces(affinity *corev1.Affinity) bool {
	if affinity == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		terms = append(terms, required...)
		for _, weighted := range preferred {
			terms = append(terms, weighted.PodAffinityTerm)
		}
	}
	if a := affinity.PodAffinity; a != nil {
		add(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := affinity.PodAntiAffinity; a != nil {
		add(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}
