package core

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerrors "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/partial"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// Namespaces divide names among teams and applications.
// https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/
func Namespaces() *resource.Definition[*corev1.Namespace] {
	return &resource.Definition[*corev1.Namespace]{
		Identity:      clusterWide("Namespace", "namespaces", "namespace", "ns"),
		New:           func() *corev1.Namespace { return new(corev1.Namespace) },
		NewList:       func() runtime.Object { return new(corev1.NamespaceList) },
		NameValidator: apivalidation.ValidateNamespaceName,
		Default: func(n *corev1.Namespace) {
			if n.Name != "" {
				labelWithName(n)
			}
			if n.Status.Phase == "" {
				n.Status.Phase = corev1.NamespaceActive
			}
		},
		// A generated name is known only now.
		Canonicalize: labelWithName,

		PrepareForCreate: func(_ context.Context, n *corev1.Namespace) {
			n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
			if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
				n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
			}
		},
		PrepareForUpdate: func(_ context.Context, n, old *corev1.Namespace) { n.Spec.Finalizers = old.Spec.Finalizers },
		Validate: func(_ context.Context, n *corev1.Namespace) field.ErrorList {
			return validateFinalizers(n.Spec.Finalizers, func(int) *field.Path { return field.NewPath("spec", "finalizers") })
		},

		Spec:                 func(n *corev1.Namespace) any { return &n.Spec },
		Status:               func(n *corev1.Namespace) any { return &n.Status },
		ValidateStatusUpdate: validatePhase,
		ReturnDeletedObject:  true,

		Fields: func(n *corev1.Namespace) fields.Set { return fields.Set{"status.phase": string(n.Status.Phase)} },
		Columns: []metav1.TableColumnDefinition{
			table.Name(), table.String("Status", "The status of the namespace"), table.Age(),
		},
		Cells: func(n *corev1.Namespace) []any {
			return []any{n.Name, string(n.Status.Phase), table.Since(n.CreationTimestamp)}
		},

		Subresources: []resource.Subresource{{Name: "finalize", Storage: newFinalize}},
		Attach: func(_ *resource.Env, store *genericregistry.Store) error {
			store.ShouldDeleteDuringUpdate = func(ctx context.Context, key string, obj, existing runtime.Object) bool {
				return len(obj.(*corev1.Namespace).Spec.Finalizers) == 0 && genericregistry.ShouldDeleteDuringUpdate(ctx, key, obj, existing)
			}
			return nil
		},
		Main: func(_ *resource.Env, stored *resource.Stored) rest.Storage {
			return namespaceEndpoint{exceptDeletion: stored, store: stored.Store}
		},
	}
}

// labelWithName lets selectors find a namespace by its name.
func labelWithName(n *corev1.Namespace) {
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

func validateFinalizers(names []corev1.FinalizerName, at func(int) *field.Path) field.ErrorList {
	var found problem.List
	for i, name := range names {
		found.Add(apivalidation.ValidateFinalizerName(string(name), at(i))...)
		standard := []corev1.FinalizerName{corev1.FinalizerKubernetes, metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}
		if !strings.Contains(string(name), "/") && !slices.Contains(standard, name) {
			found.Invalid(at(i), name, "name is neither a standard finalizer name nor is it fully qualified")
		}
	}
	return found.Errors
}

// validatePhase ties the phase to whether the namespace is being deleted.
func validatePhase(_ context.Context, n, _ *corev1.Namespace) field.ErrorList {
	wanted, when := corev1.NamespaceActive, "is empty"
	if !n.DeletionTimestamp.IsZero() {
		wanted, when = corev1.NamespaceTerminating, "is not empty"
	}
	if n.Status.Phase == wanted {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("status", "Phase"), n.Status.Phase,
		fmt.Sprintf("may only be '%s' if `deletionTimestamp` %s", wanted, when))}
}

// newFinalize makes PUT namespaces/NAME/finalize, by which the namespace controller
// says that nothing is left inside.
func newFinalize(env *resource.Env, store *genericregistry.Store) (rest.Storage, error) {
	return finalizeEndpoint{resource.NewSubresourceStore(store, partial.Update[*corev1.Namespace]{
		Scheme: env.Scheme, ClusterScoped: true,
		Prepare: func(n, old *corev1.Namespace) { n.Status = old.Status },
		Validate: func(n, _ *corev1.Namespace) field.ErrorList {
			return validateFinalizers(n.Spec.Finalizers, field.NewPath("spec", "finalizers").Index)
		},
	})}, nil
}

// finalizeEndpoint can be written and not read.
type finalizeEndpoint struct{ whole *resource.SubresourceStore }

var _ rest.Updater = finalizeEndpoint{}

func (e finalizeEndpoint) New() runtime.Object { return e.whole.New() }
func (e finalizeEndpoint) Destroy()            {}

// Update changes the finalizers of the spec.
//
//nolint:revive // rest.Updater asks for all of them
func (e finalizeEndpoint) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return e.whole.Update(ctx, name, info, create, update, force, options)
}

// exceptDeletion is what the store of namespaces serves by itself. Deletion is not part
// of it, and deletion of a collection is not offered at all.
type exceptDeletion interface {
	rest.Storage
	rest.Scoper
	rest.SingularNameProvider
	rest.ShortNamesProvider
	rest.CategoriesProvider
	rest.Getter
	rest.Lister
	rest.CreaterUpdater
	rest.Watcher
	rest.StorageVersionProvider
	rest.ResetFieldsStrategy
	resource.Registered
}

// namespaceEndpoint serves namespaces. The first delete starts the end of a namespace;
// a further one removes it if its finalizers are gone.
type namespaceEndpoint struct {
	exceptDeletion
	store *genericregistry.Store
}

var _ rest.GracefulDeleter = namespaceEndpoint{}

// Delete ends a namespace.
func (e namespaceEndpoint) Delete(ctx context.Context, name string, admit rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	obj, err := e.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	n := obj.(*corev1.Namespace)
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	if options.Preconditions == nil {
		options.Preconditions = new(metav1.Preconditions)
	}
	conditions := options.Preconditions
	if conditions.UID == nil {
		conditions.UID = &n.UID
	}
	if *conditions.UID != n.UID {
		return nil, false, failedPrecondition(name, "UID", "UID in object meta", *conditions.UID, n.UID)
	}
	if v := conditions.ResourceVersion; v != nil && *v != n.ResourceVersion {
		return nil, false, failedPrecondition(name, "ResourceVersion", "ResourceVersion in object meta", *v, n.ResourceVersion)
	}
	switch {
	case n.DeletionTimestamp.IsZero():
		ended, err := e.terminate(ctx, name, admit, options)
		return ended, false, err
	case len(n.Spec.Finalizers) > 0:
		return n, false, nil
	}
	return e.store.Delete(ctx, name, admit, options)
}

func failedPrecondition(name, what, where string, wanted, is any) error {
	return apierrors.NewConflict(corev1.Resource("namespaces"), name,
		fmt.Errorf("Precondition failed: %s in precondition: %v, %s: %v", what, wanted, where, is)) //nolint:staticcheck // the API's wording
}

// terminate marks the namespace, for admission to refuse new objects and for the
// controller to empty it.
func (e namespaceEndpoint) terminate(ctx context.Context, name string, admit rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, error) {
	key, err := e.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	out := new(corev1.Namespace)
	err = e.store.Storage.GuaranteedUpdate(ctx, key, out, false,
		&storage.Preconditions{UID: o.Preconditions.UID, ResourceVersion: o.Preconditions.ResourceVersion},
		storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
			n := existing.(*corev1.Namespace)
			if err := admit(ctx, n); err != nil {
				return nil, err
			}
			if n.DeletionTimestamp.IsZero() {
				n.DeletionTimestamp = ptr.To(metav1.Now())
			}
			n.Status.Phase = corev1.NamespaceTerminating
			n.Finalizers = finalizersFor(n.Finalizers, o)
			return n, nil
		}), dryrun.IsDryRun(o.DryRun), nil)
	if err == nil {
		return out, nil
	}
	namespaces := corev1.Resource("namespaces")
	err = storeerrors.InterpretUpdateError(storeerrors.InterpretGetError(err, namespaces, name), namespaces, name)
	if _, ok := err.(*apierrors.StatusError); !ok { //nolint:errorlint // a wrapped one is not an answer
		err = apierrors.NewInternalError(err)
	}
	return nil, err
}

// finalizersFor adds or removes the garbage collector's finalizers as asked.
func finalizersFor(now []string, o *metav1.DeleteOptions) []string {
	set := func(finalizer string, wanted bool) {
		if has := slices.Contains(now, finalizer); has && !wanted {
			now = slices.DeleteFunc(now, func(f string) bool { return f == finalizer })
		} else if !has && wanted {
			now = append(now, finalizer)
		}
	}
	switch {
	case o.OrphanDependents != nil:
		set(metav1.FinalizerOrphanDependents, *o.OrphanDependents)
		set(metav1.FinalizerDeleteDependents, !*o.OrphanDependents)
	case o.PropagationPolicy != nil:
		set(metav1.FinalizerOrphanDependents, *o.PropagationPolicy == metav1.DeletePropagationOrphan)
		set(metav1.FinalizerDeleteDependents, *o.PropagationPolicy == metav1.DeletePropagationForeground)
	}
	return now
}
