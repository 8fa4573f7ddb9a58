package hollow

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// renew renews a node's Lease, or makes it. As long as nobody else writes it, that is one
// request, for which its last version is all that is remembered.
func (f *Fleet) renew(ctx context.Context, n *node) error {
	now := time.Now()
	f.mu.Lock()
	wanted := f.lease(n, now)
	f.mu.Unlock()
	first := wanted.ResourceVersion == ""
	leases := f.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	var written *coordinationv1.Lease
	var err error
	if first {
		written, err = leases.Create(ctx, wanted, metav1.CreateOptions{})
	} else {
		written, err = leases.Update(ctx, wanted, metav1.UpdateOptions{})
	}
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err):
		found, getErr := leases.Get(ctx, n.name, metav1.GetOptions{})
		if getErr != nil {
			return getErr
		}
		wanted.ResourceVersion = found.ResourceVersion
		written, err = leases.Update(ctx, wanted, metav1.UpdateOptions{})
	case apierrors.IsNotFound(err) && !first:
		wanted.ResourceVersion = ""
		written, err = leases.Create(ctx, wanted, metav1.CreateOptions{})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		n.version = ""
		return err
	}
	n.version = written.ResourceVersion
	interval := f.spec.Heartbeat.RenewInterval.Duration
	n.renewAt = now.Add(interval)
	if first {
		// The first interval is shorter, by as much as keeps this node apart from others.
		n.renewAt = now.Add(interval - f.phase(n, interval))
	}
	return nil
}

func (f *Fleet) lease(n *node, now time.Time) *coordinationv1.Lease {
	seconds := int32(max(1, f.spec.Heartbeat.LeaseDuration.Seconds()))
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: corev1.NamespaceNodeLease, Name: n.name, ResourceVersion: n.version,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.name, UID: n.uid}},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &n.name, LeaseDurationSeconds: &seconds, RenewTime: ptr.To(metav1.NewMicroTime(now)),
		},
	}
}
