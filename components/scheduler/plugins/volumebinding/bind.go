package volumebinding

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	volumehelpers "k8s.io/component-helpers/storage/volume"
)

// assume makes a plan's changes, for this scheduler only; the plan then holds the changed objects.
func (b *VolumeBinding) assume(p *plan, node string) error {
	for i := range p.bindings {
		volume, _, err := volumehelpers.GetBindVolumeToClaim(p.bindings[i].volume, p.bindings[i].claim)
		if err == nil {
			err = b.volumes.assume(volume)
		}
		if err != nil {
			b.forget(&plan{bindings: p.bindings[:i]})
			return err
		}
		p.bindings[i].volume = volume
	}
	for i := range p.provisions {
		claim := p.provisions[i].claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volumehelpers.AnnSelectedNode, node)
		if err := b.claims.assume(claim); err != nil {
			b.forget(&plan{bindings: p.bindings, provisions: p.provisions[:i]})
			return err
		}
		p.provisions[i].claim = claim
	}
	return nil
}

// forget takes the changes back. What has been written already stays, and shows once the watch delivers it.
func (b *VolumeBinding) forget(p *plan) {
	for i := range p.bindings {
		b.volumes.forget(p.bindings[i].volume)
	}
	for i := range p.provisions {
		b.claims.forget(p.provisions[i].claim)
	}
}

// write tells the API server. The volume controller takes it from there, and the provisioner of a claim that has a node.
func (b *VolumeBinding) write(ctx context.Context, p *plan) error {
	for i := range p.bindings {
		volume, err := b.client.CoreV1().PersistentVolumes().Update(ctx, p.bindings[i].volume, metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		p.bindings[i].volume = volume
	}
	for i := range p.provisions {
		claim := p.provisions[i].claim
		claim, err := b.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		p.provisions[i].claim = claim
	}
	return nil
}

// await returns once all claims of a plan are bound, with an error once one cannot be any more.
func (b *VolumeBinding) await(ctx context.Context, pod *v1.Pod, p *plan) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	// Claims and volumes are waited for by watch; that the pod or its node is gone can wait.
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		changed := b.changes.wait()
		done, err := b.bound(pod, p)
		if err != nil {
			return fmt.Errorf("binding volumes: %w", err)
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("binding volumes: %w", context.Cause(ctx))
		case <-changed:
		case <-ticker.C:
		}
	}
}

// bound asks whether all is as planned. It looks at what the watch delivered, not at what is assumed.
func (b *VolumeBinding) bound(pod *v1.Pod, p *plan) (bool, error) {
	node, err := b.nodes.Get(pod.Spec.NodeName)
	if err != nil {
		return false, fmt.Errorf("failed to get node %q: %w", pod.Spec.NodeName, err)
	}
	if _, err := b.pods.Pods(pod.Namespace).Get(pod.Name); apierrors.IsNotFound(err) {
		return false, fmt.Errorf("pod does not exist any more: %w", err)
	}
	all := true
	for i := range p.bindings {
		done, err := b.isBound(&p.bindings[i], node)
		if err != nil {
			return false, err
		}
		all = all && done
	}
	for i := range p.provisions {
		done, err := b.isProvisioned(p.provisions[i].claim, node)
		if err != nil {
			return false, err
		}
		all = all && done
	}
	return all, nil
}

func (b *VolumeBinding) isBound(want *binding, node *v1.Node) (bool, error) {
	volume, err := b.volumes.actual(cache.MetaObjectToName(want.volume))
	if err != nil {
		return false, fmt.Errorf("failed to check binding: %w", err)
	}
	claim, err := b.claims.actual(cache.MetaObjectToName(want.claim))
	if err != nil {
		return false, fmt.Errorf("failed to check binding: %w", err)
	}
	if versionOf(volume) < versionOf(want.volume) {
		return false, nil
	}
	if err := volumehelpers.CheckNodeAffinity(volume, node.Labels); err != nil {
		return false, fmt.Errorf("pv %q node affinity doesn't match node %q: %w", volume.Name, node.Name, err)
	}
	if volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID == "" {
		return false, fmt.Errorf("ClaimRef got reset for pv %q", volume.Name)
	}
	return complete(claim), nil
}

func (b *VolumeBinding) isProvisioned(want *v1.PersistentVolumeClaim, node *v1.Node) (bool, error) {
	claim, err := b.claims.actual(cache.MetaObjectToName(want))
	if err != nil {
		return false, fmt.Errorf("failed to check provisioning pvc: %w", err)
	}
	if versionOf(claim) < versionOf(want) {
		return false, nil
	}
	if claim.Annotations[volumehelpers.AnnSelectedNode] != node.Name {
		// The provisioner's way of saying that it cannot.
		return false, fmt.Errorf("provisioning failed for PVC %q", claim.Name)
	}
	if claim.Spec.VolumeName != "" {
		volume, err := b.volumes.actual(cache.ObjectName{Name: claim.Spec.VolumeName})
		if apierrors.IsNotFound(err) {
			return false, nil // yet to be delivered
		}
		if err != nil {
			return false, fmt.Errorf("failed to get pv %q from cache: %w", claim.Spec.VolumeName, err)
		}
		if err := volumehelpers.CheckNodeAffinity(volume, node.Labels); err != nil {
			return false, fmt.Errorf("pv %q node affinity doesn't match node %q: %w", volume.Name, node.Name, err)
		}
	}
	return complete(claim), nil
}
