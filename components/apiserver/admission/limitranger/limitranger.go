// Package limitranger gives containers a namespace's default requests and limits, and holds pods and
// claims to its bounds.
// See https://kubernetes.io/docs/concepts/policy/limit-range/.
package limitranger

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Name is the plugin's.
const Name = "LimitRanger"

// annotation tells users what was set for them.
const annotation = "kubernetes.io/limit-ranger"

// Lister finds a namespace's limit ranges.
type Lister func(ctx context.Context, namespace string) ([]*corev1.LimitRange, error)

// Plugin implements admission.MutationInterface and admission.ValidationInterface.
type Plugin struct {
	*admission.Handler
	list Lister
}

var (
	_ admission.MutationInterface   = &Plugin{}
	_ admission.ValidationInterface = &Plugin{}
)

// New finds limit ranges by list.
func New(list Lister) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update), list: list}
}

// applies says whether a request can break a limit: a pod's containers change only when it is created
// or resized.
func applies(a admission.Attributes) bool {
	switch a.GetKind().GroupKind() {
	case corev1.SchemeGroupVersion.WithKind("Pod").GroupKind():
		if a.GetOperation() == admission.Update {
			return a.GetSubresource() == "resize"
		}
		return a.GetSubresource() == ""
	case corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim").GroupKind():
		return a.GetSubresource() == ""
	}
	return false
}

// limits are all limits that a request is held to.
func (p *Plugin) limits(ctx context.Context, a admission.Attributes) ([]corev1.LimitRangeItem, error) {
	if !applies(a) {
		return nil, nil
	}
	if old := a.GetOldObject(); old != nil {
		if accessor, err := meta.Accessor(old); err == nil && accessor.GetDeletionTimestamp() != nil {
			return nil, nil
		}
	}
	ranges, err := p.list(ctx, a.GetNamespace())
	if err != nil {
		return nil, admission.NewForbidden(a, fmt.Errorf("unable to %s %v at this time because there was an error enforcing limit ranges", a.GetOperation(), a.GetResource()))
	}
	var items []corev1.LimitRangeItem
	for _, r := range ranges {
		items = append(items, r.Spec.Limits...)
	}
	return items, nil
}

// Admit fills in the defaults.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	items, err := p.limits(ctx, a)
	if err != nil {
		return err
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	if !ok {
		return nil
	}
	var notes []string
	for i := range items {
		if items[i].Type != corev1.LimitTypeContainer {
			continue
		}
		for j := range pod.Spec.Containers {
			notes = append(notes, complete(&pod.Spec.Containers[j], "container", &items[i])...)
		}
		for j := range pod.Spec.InitContainers {
			notes = append(notes, complete(&pod.Spec.InitContainers[j], "init container", &items[i])...)
		}
	}
	if len(notes) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[annotation] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
	}
	return nil
}

// complete gives a container the defaults it lacks, and says which.
func complete(c *corev1.Container, kind string, item *corev1.LimitRangeItem) []string {
	var notes []string
	fill := func(list *corev1.ResourceList, defaults corev1.ResourceList, what string) {
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		var set []string
		for name, quantity := range defaults {
			if _, has := (*list)[name]; !has {
				(*list)[name] = quantity.DeepCopy()
				set = append(set, string(name))
			}
		}
		if len(set) > 0 {
			slices.Sort(set)
			notes = append(notes, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), what, kind, c.Name))
		}
	}
	fill(&c.Resources.Requests, item.DefaultRequest, "request")
	fill(&c.Resources.Limits, item.Default, "limit")
	return notes
}

// Validate checks every bound.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	items, err := p.limits(ctx, a)
	if err != nil {
		return err
	}
	var errs []error
	for i := range items {
		switch obj := a.GetObject().(type) {
		case *corev1.Pod:
			errs = append(errs, checkPod(obj, &items[i])...)
		case *corev1.PersistentVolumeClaim:
			errs = append(errs, checkClaim(obj, &items[i])...)
		}
	}
	if err := utilerrors.NewAggregate(errs); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

func checkPod(pod *corev1.Pod, item *corev1.LimitRangeItem) []error {
	var errs []error
	switch item.Type {
	case corev1.LimitTypeContainer:
		for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
			errs = append(errs, check(item, c.Resources.Requests, c.Resources.Limits)...)
		}
	case corev1.LimitTypePod:
		options := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
		errs = check(item, resourcehelper.PodRequests(pod, options), resourcehelper.PodLimits(pod, options))
	}
	return errs
}

func checkClaim(claim *corev1.PersistentVolumeClaim, item *corev1.LimitRangeItem) []error {
	if item.Type != corev1.LimitTypePersistentVolumeClaim {
		return nil
	}
	var errs []error
	requests := claim.Spec.Resources.Requests
	for name, bound := range item.Min {
		errs = append(errs, least(item.Type, name, bound, requests, nil))
	}
	for name, bound := range item.Max {
		errs = append(errs, mostRequest(item.Type, name, bound, requests))
	}
	return errs
}
