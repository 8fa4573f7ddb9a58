package pod

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerrors "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// binder gives a pod its node: POST pods/NAME/binding.
type binder struct {
	// pods is the store; it is asked for at each call since the legacy endpoint is
	// built beside it.
	pods func() (*genericregistry.Store, error)
}

var (
	_ rest.NamedCreater                   = binder{}
	_ rest.SubresourceObjectMetaPreserver = binder{}
	_ rest.Creater                        = legacyBinder{}
)

func (binder) New() runtime.Object { return new(corev1.Binding) }
func (binder) Destroy()            {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the UID and the
// resource version of a binding: they are the pod's, and conditions of the write.
func (binder) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create writes the node into the pod.
func (b binder) Create(ctx context.Context, name string, obj runtime.Object, admit rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	binding, ok := obj.(*corev1.Binding)
	switch {
	case !ok:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %#v", obj))
	case binding.Name != name:
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := validateBinding(binding); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	if admit != nil {
		if err := admit(ctx, binding.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := b.bind(ctx, binding, dryrun.IsDryRun(options.DryRun)); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

func (b binder) bind(ctx context.Context, binding *corev1.Binding, dry bool) error {
	store, err := b.pods()
	if err != nil {
		return err
	}
	key, err := store.KeyFunc(ctx, binding.Name)
	if err != nil {
		return err
	}
	err = store.Storage.GuaranteedUpdate(ctx, key, new(corev1.Pod), false, conditionsOf(binding),
		storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
			p := obj.(*corev1.Pod)
			return p, assign(p, binding)
		}), dry, nil)
	if err == nil {
		return nil
	}
	pods := corev1.Resource("pods")
	err = storeerrors.InterpretUpdateError(storeerrors.InterpretGetError(err, pods, binding.Name), pods, binding.Name)
	if _, ok := err.(*apierrors.StatusError); ok { //nolint:errorlint // a wrapped one is not an answer
		return err
	}
	return apierrors.NewConflict(corev1.Resource("pods/binding"), binding.Name, err)
}

func conditionsOf(binding *corev1.Binding) *storage.Preconditions {
	var c storage.Preconditions
	if binding.UID != "" {
		c.UID = &[]types.UID{binding.UID}[0]
	}
	if binding.ResourceVersion != "" {
		c.ResourceVersion = &[]string{binding.ResourceVersion}[0]
	}
	if c == (storage.Preconditions{}) {
		return nil
	}
	return &c
}

// assign binds a pod that is free to be bound.
func assign(p *corev1.Pod, binding *corev1.Binding) error {
	switch {
	case p.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", p.Name)
	case p.Spec.NodeName != "":
		return fmt.Errorf("pod %v is already assigned to node %q", p.Name, p.Spec.NodeName)
	case len(p.Spec.SchedulingGates) > 0:
		return fmt.Errorf("pod %v has non-empty .spec.schedulingGates", p.Name)
	}
	p.Spec.NodeName = binding.Target.Name
	p.Status.NominatedNodeName = ""
	p.Annotations = merged(p.Annotations, binding.Annotations)
	p.Labels = merged(p.Labels, binding.Labels)
	SetCondition(&p.Status, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	return nil
}

func merged(into, from map[string]string) map[string]string {
	if into == nil && len(from) > 0 {
		into = map[string]string{}
	}
	maps.Copy(into, from)
	return into
}

func validateBinding(b *corev1.Binding) field.ErrorList {
	var found problem.List
	at := field.NewPath("target")
	toNode := b.Target.Kind == "" || b.Target.Kind == "Node"
	if !toNode {
		found.Add(field.NotSupported(at.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if name := b.Target.Name; name == "" {
		found.Required(at.Child("name"), "")
	} else if toNode {
		found.Messages(at.Child("name"), name, apivalidation.NameIsDNSSubdomain(name, false))
	}
	return found.Errors
}

// legacyBinder is the same at POST bindings, with the pod's name in the body.
type legacyBinder struct{ binder }

// Create binds the pod that the binding names.
func (b legacyBinder) Create(ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	binding, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", obj))
	}
	return b.binder.Create(ctx, binding.Name, obj, admit, options)
}

// NamespaceScoped says that bindings are made in the pod's namespace.
func (legacyBinder) NamespaceScoped() bool { return true }

// GetSingularName is the name of one.
func (legacyBinder) GetSingularName() string { return "binding" }

// Bindings is the legacy endpoint that binds pods.
func Bindings() *resource.Virtual {
	return &resource.Virtual{
		Identity: resource.Identity{
			GroupVersion: corev1.SchemeGroupVersion,
			Kind:         "Binding", Name: "bindings", Singular: "binding",
		},
		New: func() runtime.Object { return new(corev1.Binding) },
		Serve: func(env *resource.Env) (rest.Storage, error) {
			return legacyBinder{binder{func() (*genericregistry.Store, error) { return env.Store(corev1.Resource("pods")) }}}, nil
		},
	}
}
