package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	podresource "k8s.io/component-helpers/resource"
	"k8s.io/utils/clock"
)

const (
	requestsPrefix = corev1.DefaultResourceRequestsPrefix
	limitsPrefix   = "limits."
	// deviceClassPrefix begins the extended resources that stand for device classes.
	deviceClassPrefix = "deviceclass.resource.kubernetes.io/"
)

// compute are the resources that a quota may limit by requests (with or without the prefix) and by limits.
func compute() []corev1.ResourceName {
	return []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
}

func pods(lister quotav1.ListerForResourceFunc, clock clock.PassiveClock) quotav1.Evaluator {
	return &measure{
		resource:     corev1.SchemeGroupVersion.WithResource("pods"),
		lister:       lister,
		covers:       coversPods,
		subresources: []string{"resize"},
		usage: func(object runtime.Object) (corev1.ResourceList, error) {
			pod, err := as[*corev1.Pod](object)
			if err != nil {
				return nil, err
			}
			return podUsage(pod, clock.Now()), nil
		},
		changed: func(old, object runtime.Object) bool {
			before, err1 := as[*corev1.Pod](old)
			after, err2 := as[*corev1.Pod](object)
			return err1 == nil && err2 == nil && bounded(before) != bounded(after)
		},
		inScope:  podInScope,
		complete: podComplete,
	}
}

func as[T runtime.Object](object runtime.Object) (T, error) {
	typed, ok := object.(T)
	if !ok {
		return typed, fmt.Errorf("expected %T, got %T", typed, object)
	}
	return typed, nil
}

func coversPods(name corev1.ResourceName) bool {
	if name == corev1.ResourcePods || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
		return true
	}
	if slices.Contains(compute(), name) {
		return true
	}
	if plain, ok := strings.CutPrefix(string(name), limitsPrefix); ok {
		return slices.Contains(compute(), corev1.ResourceName(plain))
	}
	plain, ok := strings.CutPrefix(string(name), requestsPrefix)
	if !ok {
		return false
	}
	return slices.Contains(compute(), corev1.ResourceName(plain)) || strings.HasPrefix(plain, corev1.ResourceHugePagesPrefix) || extended(corev1.ResourceName(plain))
}

// extended tells whether the name is of an extended resource: qualified by a domain that is not Kubernetes' own.
func extended(name corev1.ResourceName) bool {
	text := string(name)
	return strings.HasPrefix(text, deviceClassPrefix) || (strings.Contains(text, "/") && !strings.Contains(text, corev1.ResourceDefaultNamespacePrefix))
}

// podUsage is what a pod uses: of compute resources, nothing once it has ended or should be gone.
func podUsage(pod *corev1.Pod, now time.Time) corev1.ResourceList {
	count := generic.ObjectCountQuotaResourceNameFor(corev1.Resource("pods"))
	usage := corev1.ResourceList{count: *resource.NewQuantity(1, resource.DecimalSI)}
	if !charged(pod, now) {
		return usage
	}
	options := podresource.PodResourcesOptions{UseStatusResources: true}
	maps.Copy(usage, charge(podresource.PodRequests(pod, options), podresource.PodLimits(pod, options)))
	usage[corev1.ResourcePods] = *resource.NewQuantity(1, resource.DecimalSI)
	return usage
}

// charged tells whether the pod uses compute resources. One whose grace period is over does not: its node may be gone,
// and its replacement must not be refused for it.
func charged(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return true
	}
	grace := time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second
	return !now.After(pod.DeletionTimestamp.Add(grace))
}

// charge is what requests and limits come to under a quota's names.
func charge(requests, limits corev1.ResourceList) corev1.ResourceList {
	usage := corev1.ResourceList{}
	for name, amount := range requests {
		switch {
		case slices.Contains(compute(), name), strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			usage[name] = amount
			usage[requestsPrefix+name] = amount
		case extended(name):
			usage[requestsPrefix+name] = amount
		}
	}
	for name, amount := range limits {
		if slices.Contains(compute(), name) {
			usage[limitsPrefix+name] = amount
		}
	}
	return usage
}

// podComplete refuses a pod whose containers leave out CPU or memory that a quota limits. Of other resources they may.
func podComplete(required []corev1.ResourceName, object runtime.Object) error {
	pod, err := as[*corev1.Pod](object)
	if err != nil {
		return err
	}
	if podresource.IsPodLevelResourcesSet(pod) {
		return nil
	}
	missing := map[string][]string{}
	for _, container := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		given := charge(container.Resources.Requests, container.Resources.Limits)
		for _, name := range required {
			plain := strings.TrimPrefix(strings.TrimPrefix(string(name), requestsPrefix), limitsPrefix)
			if plain != string(corev1.ResourceCPU) && plain != string(corev1.ResourceMemory) {
				continue
			}
			if _, ok := given[name]; !ok {
				missing[string(name)] = append(missing[string(name)], container.Name)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		slices.Sort(missing[name])
		parts = append(parts, name+" for: "+strings.Join(slices.Compact(missing[name]), ","))
	}
	return fmt.Errorf("must specify %s", strings.Join(parts, "; "))
}

// bounded tells whether the pod ends by itself after a time: the scope Terminating.
func bounded(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

func podInScope(selector corev1.ScopedResourceSelectorRequirement, object runtime.Object) (bool, error) {
	pod, err := as[*corev1.Pod](object)
	if err != nil {
		return false, err
	}
	switch selector.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return bounded(pod), nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !bounded(pod), nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod), nil
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(pod.Spec.Affinity), nil
	case corev1.ResourceQuotaScopePriorityClass:
		return selects(selector, pod.Spec.PriorityClassName)
	}
	return false, nil
}

// selects matches a scope selector against the one value that an object has in the scope, which may be none.
func selects(selector corev1.ScopedResourceSelectorRequirement, value string) (bool, error) {
	operators := map[corev1.ScopeSelectorOperator]selection.Operator{
		corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
		corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	operator, ok := operators[selector.Operator]
	if !ok {
		return false, fmt.Errorf("%q is not a valid scope selector operator", selector.Operator)
	}
	requirement, err := labels.NewRequirement(string(selector.ScopeName), operator, selector.Values)
	if err != nil {
		return false, err
	}
	has := labels.Set{}
	if value != "" {
		has[string(selector.ScopeName)] = value
	}
	return requirement.Matches(has), nil
}

func bestEffort(pod *corev1.Pod) bool {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass == corev1.PodQOSBestEffort
	}
	claims := func(requirements corev1.ResourceRequirements) bool {
		for _, list := range []corev1.ResourceList{requirements.Requests, requirements.Limits} {
			for name, amount := range list {
				if (name == corev1.ResourceCPU || name == corev1.ResourceMemory) && amount.Sign() > 0 {
					return true
				}
			}
		}
		return false
	}
	if pod.Spec.Resources != nil && claims(*pod.Spec.Resources) {
		return false
	}
	return !slices.ContainsFunc(slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers), func(c corev1.Container) bool { return claims(c.Resources) })
}

func crossesNamespaces(affinity *corev1.Affinity) bool {
	if affinity == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	weighted := func(more []corev1.WeightedPodAffinityTerm) {
		for _, term := range more {
			terms = append(terms, term.PodAffinityTerm)
		}
	}
	if near := affinity.PodAffinity; near != nil {
		terms = append(terms, near.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(near.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if far := affinity.PodAntiAffinity; far != nil {
		terms = append(terms, far.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted(far.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(term corev1.PodAffinityTerm) bool {
		return len(term.Namespaces) > 0 || term.NamespaceSelector != nil
	})
}
