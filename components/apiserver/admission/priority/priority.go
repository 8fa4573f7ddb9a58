// Package priority turns the priority class of a pod, or a pod group, into its priority.
// See https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/.
package priority

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/ptr"
)

// Name is the plugin's.
const Name = "Priority"

// Classes reads priority classes.
type Classes struct {
	Get  func(ctx context.Context, namespace, name string) (*schedulingv1.PriorityClass, error)
	List func(ctx context.Context, namespace string) ([]*schedulingv1.PriorityClass, error)
}

// Plugin implements admission.MutationInterface and admission.ValidationInterface.
type Plugin struct {
	*admission.Handler
	classes Classes
}

var (
	_ admission.MutationInterface   = &Plugin{}
	_ admission.ValidationInterface = &Plugin{}
)

// New resolves classes.
func New(classes Classes) *Plugin {
	return &Plugin{Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete), classes: classes}
}

// Admit resolves the class of a new pod or pod group, and keeps an old pod's priority.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" {
		return nil
	}
	switch object := a.GetObject().(type) {
	case *corev1.Pod:
		if a.GetOperation() == admission.Create {
			return p.resolve(ctx, a, object)
		}
		if old, ok := a.GetOldObject().(*corev1.Pod); ok {
			keep(&object.Spec.Priority, old.Spec.Priority)
			keep(&object.Spec.PreemptionPolicy, old.Spec.PreemptionPolicy)
		}
	case *schedulingv1beta1.PodGroup:
		if a.GetOperation() == admission.Create {
			return p.resolveGroup(ctx, a, object)
		}
	}
	return nil
}

// keep restores what an update leaves out.
func keep[T any](value **T, old *T) {
	if *value == nil {
		*value = old
	}
}

func (p *Plugin) resolve(ctx context.Context, a admission.Attributes, pod *corev1.Pod) error {
	class, err := p.classOf(ctx, a, pod.Spec.PriorityClassName)
	if err != nil {
		return err
	}
	pod.Spec.PriorityClassName = class.Name
	if asked := pod.Spec.Priority; asked != nil && *asked != class.Value {
		return admission.NewForbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *asked, class.Value))
	}
	pod.Spec.Priority = ptr.To(class.Value)
	if class.PreemptionPolicy == nil {
		return nil
	}
	if asked := pod.Spec.PreemptionPolicy; asked != nil && *asked != *class.PreemptionPolicy {
		return admission.NewForbidden(a, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *asked, *class.PreemptionPolicy))
	}
	pod.Spec.PreemptionPolicy = ptr.To(*class.PreemptionPolicy)
	return nil
}

func (p *Plugin) resolveGroup(ctx context.Context, a admission.Attributes, group *schedulingv1beta1.PodGroup) error {
	class, err := p.classOf(ctx, a, group.Spec.PriorityClassName)
	if err != nil {
		return err
	}
	if asked := group.Spec.Priority; asked != nil && *asked != class.Value {
		return admission.NewForbidden(a, fmt.Errorf("priority set in the pod group (%d) must match the priority computed (%d) based on the priority class set in the spec", *asked, class.Value))
	}
	group.Spec.PriorityClassName, group.Spec.Priority = class.Name, ptr.To(class.Value)
	return nil
}

// classOf is the named class or, without a name, the default one, or none of value 0.
func (p *Plugin) classOf(ctx context.Context, a admission.Attributes, name string) (*schedulingv1.PriorityClass, error) {
	if name != "" {
		class, err := p.classes.Get(ctx, "", name)
		if apierrors.IsNotFound(err) {
			return nil, admission.NewForbidden(a, fmt.Errorf("no PriorityClass with name %v was found", name))
		}
		if err != nil {
			return nil, fmt.Errorf("failed to get PriorityClass with name %s: %w", name, err)
		}
		return class, nil
	}
	class, err := p.defaultClass(ctx)
	if err != nil {
		return nil, fmt.Errorf("error occurred while retrieving default priority class: %w", err)
	}
	if class == nil {
		return &schedulingv1.PriorityClass{PreemptionPolicy: ptr.To(corev1.PreemptLowerPriority)}, nil
	}
	return class, nil
}

// defaultClass is the lowest of those marked so; more than one can only come of a race.
func (p *Plugin) defaultClass(ctx context.Context) (*schedulingv1.PriorityClass, error) {
	classes, err := p.classes.List(ctx, "")
	if err != nil {
		return nil, err
	}
	var lowest *schedulingv1.PriorityClass
	for _, class := range classes {
		if class.GlobalDefault && (lowest == nil || class.Value < lowest.Value) {
			lowest = class
		}
	}
	return lowest, nil
}

// Validate sees to it that there is one default class at most.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetSubresource() != "" || a.GetResource().GroupResource() != schedulingv1.Resource("priorityclasses") {
		return nil
	}
	class, ok := a.GetObject().(*schedulingv1.PriorityClass)
	if !ok || !class.GlobalDefault {
		return nil
	}
	existing, err := p.defaultClass(ctx)
	if err != nil {
		return fmt.Errorf("failed to get default priority class: %w", err)
	}
	if existing != nil && (a.GetOperation() == admission.Create || existing.Name != class.Name) {
		return admission.NewForbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", existing.Name))
	}
	return nil
}
