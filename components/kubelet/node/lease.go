package node

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// renewLease renews the node's Lease, the cheap part of its heartbeat, four times as
// often as it runs out. See https://kubernetes.io/docs/concepts/architecture/leases/.
func (k *Keeper) renewLease(ctx context.Context) {
	interval := time.Duration(k.c.LeaseSeconds) * time.Second / 4
	var lease *coordinationv1.Lease
	for {
		next, err := k.renewOnce(ctx, lease)
		pause := interval
		if err != nil {
			if ctx.Err() == nil {
				klog.FromContext(ctx).V(1).Info("Renew the node's lease", "err", err)
			}
			pause = min(interval, time.Second)
			next = nil
		}
		lease = next
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (k *Keeper) renewOnce(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	leases := k.c.Client.CoordinationV1().Leases(v1.NamespaceNodeLease)
	now := metav1.NowMicro()
	if lease == nil {
		found, err := leases.Get(ctx, k.c.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return leases.Create(ctx, k.newLease(now), metav1.CreateOptions{})
		}
		if err != nil {
			return nil, err
		}
		lease = found
	}
	next := lease.DeepCopy()
	next.Spec = k.newLease(now).Spec
	next.OwnerReferences = k.newLease(now).OwnerReferences
	return leases.Update(ctx, next, metav1.UpdateOptions{})
}

func (k *Keeper) newLease(now metav1.MicroTime) *coordinationv1.Lease {
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: k.c.Name, Namespace: v1.NamespaceNodeLease},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &k.c.Name, LeaseDurationSeconds: &k.c.LeaseSeconds, RenewTime: &now,
		},
	}
	if node := k.Node(); node != nil {
		lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
	}
	return lease
}
