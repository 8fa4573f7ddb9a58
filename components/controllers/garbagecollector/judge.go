package garbagecollector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/controllers/podcontrol"
)

// errMisplacedOwner: a cluster-wide object names a namespaced owner, which cannot be looked up. It is left alone.
var errMisplacedOwner = errors.New("cluster-scoped objects cannot refer to namespaced owners")

// orphanBatch is how many dependents are let go at the same time.
const orphanBatch = 20

// resource returns the client for objects of that kind in the namespace, and whether they are namespaced.
func (c *Controller) resource(apiVersion, kind, namespace string) (metadata.ResourceInterface, bool, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, false, err
	}
	mapping, err := c.env.Mapper.RESTMapping(gv.WithKind(kind).GroupKind(), gv.Version)
	if err != nil {
		return nil, false, fmt.Errorf("unable to get REST mapping for %s/%s: %w", gv.Version, kind, err)
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return c.env.Metadata.Resource(mapping.Resource), false, nil
	}
	if namespace == "" {
		return nil, true, errMisplacedOwner
	}
	return c.env.Metadata.Resource(mapping.Resource).Namespace(namespace), true, nil
}

func (c *Controller) get(ctx context.Context, id identity) (*metav1.PartialObjectMetadata, error) {
	client, _, err := c.resource(id.APIVersion, id.Kind, id.Namespace)
	if err != nil {
		return nil, err
	}
	live, err := client.Get(ctx, id.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if live.UID != id.UID {
		// Another object has the name by now.
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: id.Kind}, id.Name)
	}
	return live, nil
}

// judge decides what becomes of one object.
func (c *Controller) judge(ctx context.Context, uid types.UID) error {
	n, ok := c.graph.look(uid)
	if !ok || (n.deleted && !n.foreground) {
		return nil
	}
	live, err := c.get(ctx, n.id)
	switch {
	case apierrors.IsNotFound(err):
		c.absences.add(n.id, c.env.Clock.Now())
		c.schedule(c.graph.absent(n.id))
		return nil
	case errors.Is(err, errMisplacedOwner):
		c.schedule(c.graph.absent(n.id))
		return nil
	case err != nil:
		// Also where the kind is not served, yet or any more: that is no proof that the object is gone.
		return err
	}
	if n.foreground {
		return c.finishForeground(ctx, n, live)
	}
	if live.DeletionTimestamp != nil || len(live.OwnerReferences) == 0 {
		return nil
	}
	return c.judgeOwners(ctx, n, live)
}

// finishForeground lets an object go once nothing that blocks it is left, else sees to what is left.
func (c *Controller) finishForeground(ctx context.Context, n view, live *metav1.PartialObjectMetadata) error {
	blocked := false
	for _, dependent := range n.dependents {
		if !dependent.blocks {
			continue
		}
		blocked = true
		if !dependent.foreground {
			c.judged.Add(dependent.id.UID)
		}
	}
	if blocked {
		return nil
	}
	return c.dropFinalizer(ctx, n.id, live, metav1.FinalizerDeleteDependents)
}

// owners sorts an object's references by what their owners are.
type owners struct {
	solid, dangling, waiting []metav1.OwnerReference
}

func (c *Controller) sortOwners(ctx context.Context, live *metav1.PartialObjectMetadata) (owners, error) {
	var sorted owners
	for _, ref := range live.OwnerReferences {
		owner, err := c.owner(ctx, ref, live.Namespace)
		switch {
		case err != nil:
			return owners{}, err
		case owner == nil:
			sorted.dangling = append(sorted.dangling, ref)
		case owner.DeletionTimestamp != nil && slices.Contains(owner.Finalizers, metav1.FinalizerDeleteDependents):
			sorted.waiting = append(sorted.waiting, ref)
		default:
			sorted.solid = append(sorted.solid, ref)
		}
	}
	return sorted, nil
}

// owner returns the owner that ref names from within namespace, nil if there is none.
func (c *Controller) owner(ctx context.Context, ref metav1.OwnerReference, namespace string) (*metav1.PartialObjectMetadata, error) {
	id := ownerIdentity(ref, namespace)
	_, namespaced, err := c.resource(id.APIVersion, id.Kind, id.Namespace)
	if err != nil {
		return nil, err
	}
	if !namespaced {
		id.Namespace = ""
	}
	now := c.env.Clock.Now()
	if c.absences.has(id, now) {
		return nil, nil
	}
	owner, err := c.get(ctx, id)
	if apierrors.IsNotFound(err) {
		c.absences.add(id, now)
		return nil, nil
	}
	return owner, err
}

func (c *Controller) judgeOwners(ctx context.Context, n view, live *metav1.PartialObjectMetadata) error {
	sorted, err := c.sortOwners(ctx, live)
	if errors.Is(err, errMisplacedOwner) {
		return nil
	}
	if err != nil {
		return err
	}
	logger := klog.FromContext(ctx)
	switch {
	case len(sorted.solid) > 0:
		if len(sorted.dangling)+len(sorted.waiting) == 0 {
			return nil
		}
		// It stays for the sake of an owner that stays, and must not hold up one that goes.
		return c.setOwners(ctx, n.id, live, sorted.solid)
	case len(sorted.waiting) > 0 && len(n.dependents) > 0:
		if slices.ContainsFunc(n.dependents, func(d dependentView) bool { return d.foreground }) {
			// A circle of objects that wait for each other: none of them may block any more.
			if live, err = c.unblock(ctx, n.id, live); err != nil {
				return err
			}
		}
		logger.V(2).Info("Deleting with its dependents", "object", n.id)
		return c.delete(ctx, n.id, live, metav1.DeletePropagationForeground)
	}
	policy := metav1.DeletePropagationBackground
	switch {
	case slices.Contains(live.Finalizers, metav1.FinalizerOrphanDependents):
		policy = metav1.DeletePropagationOrphan
	case slices.Contains(live.Finalizers, metav1.FinalizerDeleteDependents):
		policy = metav1.DeletePropagationForeground
	}
	logger.V(2).Info("Deleting, its owners are gone", "object", n.id)
	return c.delete(ctx, n.id, live, policy)
}

// orphan lets an owner's dependents go, then the owner.
func (c *Controller) orphan(ctx context.Context, uid types.UID) error {
	n, ok := c.graph.look(uid)
	if !ok || !n.orphaning {
		return nil
	}
	for batch := range slices.Chunk(n.dependents, orphanBatch) {
		errs := podcontrol.Parallel(len(batch), func(i int) error { return c.letGo(ctx, batch[i].id, uid) })
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
	live, err := c.get(ctx, n.id)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.dropFinalizer(ctx, n.id, live, metav1.FinalizerOrphanDependents)
}

// letGo removes the references to an owner from one of its dependents.
func (c *Controller) letGo(ctx context.Context, dependent identity, owner types.UID) error {
	live, err := c.get(ctx, dependent)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(live.OwnerReferences), func(ref metav1.OwnerReference) bool { return ref.UID == owner })
	if len(rest) == len(live.OwnerReferences) {
		return nil
	}
	return c.setOwners(ctx, dependent, live, rest)
}

func (c *Controller) setOwners(ctx context.Context, id identity, live *metav1.PartialObjectMetadata, refs []metav1.OwnerReference) error {
	if refs == nil {
		refs = []metav1.OwnerReference{}
	}
	_, err := c.patch(ctx, id, live, map[string]any{"ownerReferences": refs})
	return err
}

func (c *Controller) unblock(ctx context.Context, id identity, live *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
	refs := slices.Clone(live.OwnerReferences)
	no := false
	for i := range refs {
		if blocks(refs[i]) {
			refs[i].BlockOwnerDeletion = &no
		}
	}
	return c.patch(ctx, id, live, map[string]any{"ownerReferences": refs})
}

func (c *Controller) dropFinalizer(ctx context.Context, id identity, live *metav1.PartialObjectMetadata, finalizer string) error {
	rest := slices.DeleteFunc(slices.Clone(live.Finalizers), func(f string) bool { return f == finalizer })
	if len(rest) == len(live.Finalizers) {
		return nil
	}
	if rest == nil {
		rest = []string{}
	}
	_, err := c.patch(ctx, id, live, map[string]any{"finalizers": rest})
	return err
}

// patch changes an object's metadata if it is still as it was read. A merge patch works for custom resources too.
func (c *Controller) patch(ctx context.Context, id identity, live *metav1.PartialObjectMetadata, fields map[string]any) (*metav1.PartialObjectMetadata, error) {
	client, _, err := c.resource(id.APIVersion, id.Kind, id.Namespace)
	if err != nil {
		return nil, err
	}
	fields["uid"], fields["resourceVersion"] = live.UID, live.ResourceVersion
	body, err := json.Marshal(map[string]any{"metadata": fields})
	if err != nil {
		return nil, err
	}
	patched, err := client.Patch(ctx, id.Name, types.MergePatchType, body, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return live, nil
	}
	return patched, err
}

// delete deletes an object if it is still as it was when it was judged.
func (c *Controller) delete(ctx context.Context, id identity, live *metav1.PartialObjectMetadata, policy metav1.DeletionPropagation) error {
	client, _, err := c.resource(id.APIVersion, id.Kind, id.Namespace)
	if err != nil {
		return err
	}
	err = client.Delete(ctx, id.Name, metav1.DeleteOptions{
		Preconditions:     &metav1.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion},
		PropagationPolicy: &policy,
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
