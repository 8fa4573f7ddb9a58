package resourceclaim

import (
	"context"
	"fmt"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// syncClaim ends the reservations of pods that are over. Without any left, the claim's devices are freed, its
// finalizer is lifted and, if it was made for a pod that is over, it is deleted.
func (c *Controller) syncClaim(ctx context.Context, key controller.Key) error {
	claim, err := c.claims.ResourceClaims(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var consumers []resourcev1.ResourceClaimConsumerReference
	for _, consumer := range claim.Status.ReservedFor {
		ended, err := c.consumerOver(ctx, claim.Namespace, consumer)
		if err != nil {
			return err
		}
		if !ended {
			consumers = append(consumers, consumer)
		}
	}
	protected := slices.Contains(claim.Finalizers, resourcev1.Finalizer)
	switch {
	case len(consumers) < len(claim.Status.ReservedFor):
		// Only the end of use frees devices: a driver need not reserve what it allocates.
		claim, err = c.release(ctx, claim, consumers, protected && len(consumers) == 0)
	case protected && claim.DeletionTimestamp != nil && len(consumers) == 0:
		claim, err = c.release(ctx, claim, consumers, true)
	}
	if err != nil || len(consumers) > 0 {
		return err
	}
	return c.deleteUnused(ctx, claim)
}

// consumerOver tells for certain that a reservation is void. Of what is not a pod that cannot be told.
func (c *Controller) consumerOver(ctx context.Context, namespace string, consumer resourcev1.ResourceClaimConsumerReference) (bool, error) {
	if consumer.APIGroup != "" || consumer.Resource != "pods" {
		return false, nil
	}
	if _, deleted := c.gone.Get(consumer.UID); deleted {
		return true, nil
	}
	pod, err := c.pods.Pods(namespace).Get(consumer.Name)
	if apierrors.IsNotFound(err) {
		// The scheduler may have seen a pod that has not arrived here.
		live, err := c.env.Client.CoreV1().Pods(namespace).Get(ctx, consumer.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return err == nil && live.UID != consumer.UID, err
	}
	if err != nil {
		return false, err
	}
	return pod.UID != consumer.UID || over(pod), nil
}

// release writes the reservations that remain; if free is set, it takes away allocation and finalizer too. These are
// updates, so that they fail if anything has changed meanwhile.
func (c *Controller) release(ctx context.Context, claim *resourcev1.ResourceClaim, consumers []resourcev1.ResourceClaimConsumerReference, free bool) (*resourcev1.ResourceClaim, error) {
	client := c.env.Client.ResourceV1().ResourceClaims(claim.Namespace)
	changed := claim.DeepCopy()
	changed.Status.ReservedFor = consumers
	if free {
		changed.Status.Allocation = nil
	}
	var err error
	if len(consumers) != len(claim.Status.ReservedFor) || (changed.Status.Allocation == nil) != (claim.Status.Allocation == nil) {
		if changed, err = client.UpdateStatus(ctx, changed, metav1.UpdateOptions{}); err != nil {
			return nil, fmt.Errorf("removing consumers of claim %s: %w", klog.KObj(claim), err)
		}
	}
	if !free || changed.Status.Allocation != nil {
		return changed, nil
	}
	changed.Finalizers = slices.DeleteFunc(changed.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
	if changed, err = client.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("removing the finalizer of claim %s: %w", klog.KObj(claim), err)
	}
	return changed, nil
}

// deleteUnused deletes an unreserved claim whose pod has ended or has been replaced; that pod may stay for long. The
// garbage collector sees to pods that are gone.
func (c *Controller) deleteUnused(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	owner := owningPod(claim)
	if owner == nil || claim.DeletionTimestamp != nil {
		return nil
	}
	pod, err := c.pods.Pods(claim.Namespace).Get(owner.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if pod.UID == owner.UID && !over(pod) {
		return nil
	}
	err = c.env.Client.ResourceV1().ResourceClaims(claim.Namespace).Delete(ctx, claim.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(claim.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete unused generated claim %s: %w", klog.KObj(claim), err)
	}
	return nil
}
