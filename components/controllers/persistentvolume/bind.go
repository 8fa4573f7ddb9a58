package persistentvolume

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

// bind ties volume and claim together, the volume first: whoever holds the volume decides whose it is. What is in place
// already is not written again, so an interrupted binding is completed by the next turn.
func (c *Controller) bind(ctx context.Context, volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) error {
	tied, changed, err := volumehelpers.GetBindVolumeToClaim(volume, claim)
	if err != nil {
		return err
	}
	if changed {
		if volume, err = c.updateVolume(ctx, tied); err != nil {
			return err
		}
	}
	if volume, err = c.setVolumePhase(ctx, volume, corev1.VolumeBound); err != nil {
		return err
	}
	if unbound(claim) || claim.Spec.VolumeName != volume.Name {
		bound := claim.DeepCopy()
		if bound.Spec.VolumeName != volume.Name {
			bound.Spec.VolumeName = volume.Name
			metav1.SetMetaDataAnnotation(&bound.ObjectMeta, volumehelpers.AnnBoundByController, "yes")
		}
		metav1.SetMetaDataAnnotation(&bound.ObjectMeta, volumehelpers.AnnBindCompleted, "yes")
		if claim, err = c.updateClaim(ctx, bound); err != nil {
			return err
		}
		klog.FromContext(ctx).V(2).Info("Claim bound to volume", "PVC", klog.KObj(claim), "volumeName", volume.Name)
	}
	return c.setClaimStatus(ctx, claim, corev1.ClaimBound, volume)
}

// unbind takes back a binding that the claim has no use for. What a user reserved stays reserved.
func (c *Controller) unbind(ctx context.Context, volume *corev1.PersistentVolume) error {
	freed := volume.DeepCopy()
	if _, ours := volume.Annotations[volumehelpers.AnnBoundByController]; ours {
		freed.Spec.ClaimRef = nil
		delete(freed.Annotations, volumehelpers.AnnBoundByController)
	} else {
		freed.Spec.ClaimRef.UID = ""
	}
	freed, err := c.updateVolume(ctx, freed)
	if err != nil {
		return err
	}
	_, err = c.setVolumePhase(ctx, freed, corev1.VolumeAvailable)
	return err
}

func (c *Controller) updateVolume(ctx context.Context, volume *corev1.PersistentVolume) (*corev1.PersistentVolume, error) {
	updated, err := c.env.Client.CoreV1().PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{})
	if err == nil {
		c.volumes.wrote(updated)
	}
	return updated, err
}

func (c *Controller) updateClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolumeClaim, error) {
	updated, err := c.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
	if err == nil {
		c.claims.wrote(updated)
	}
	return updated, err
}

func (c *Controller) setVolumePhase(ctx context.Context, volume *corev1.PersistentVolume, phase corev1.PersistentVolumePhase) (*corev1.PersistentVolume, error) {
	if volume.Status.Phase == phase {
		return volume, nil
	}
	changed := volume.DeepCopy()
	changed.Status.Phase, changed.Status.Message = phase, ""
	return c.updateVolumeStatus(ctx, changed)
}

// fail marks a volume as failed, once, and says why.
func (c *Controller) fail(ctx context.Context, volume *corev1.PersistentVolume, reason, message string) error {
	if volume.Status.Phase == corev1.VolumeFailed {
		return nil
	}
	changed := volume.DeepCopy()
	changed.Status.Phase, changed.Status.Message = corev1.VolumeFailed, message
	if _, err := c.updateVolumeStatus(ctx, changed); err != nil {
		return err
	}
	c.env.Recorder.Event(volume, corev1.EventTypeWarning, reason, message)
	return nil
}

func (c *Controller) updateVolumeStatus(ctx context.Context, volume *corev1.PersistentVolume) (*corev1.PersistentVolume, error) {
	updated, err := c.env.Client.CoreV1().PersistentVolumes().UpdateStatus(ctx, volume, metav1.UpdateOptions{})
	if err == nil {
		c.volumes.wrote(updated)
	}
	return updated, err
}

// setClaimStatus writes a claim's phase and, if it is bound, what the volume gives it.
func (c *Controller) setClaimStatus(ctx context.Context, claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, volume *corev1.PersistentVolume) error {
	status, err := statusOf(claim, phase, volume)
	if err != nil {
		return err
	}
	if same(&claim.Status, status) {
		return nil
	}
	changed := claim.DeepCopy()
	changed.Status = *status
	updated, err := c.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	if err == nil {
		c.claims.wrote(updated)
	}
	return err
}

// statusOf is a claim's status in a phase. Capacity and attributes are the volume's at the moment of binding; later
// they are whoever resizes or modifies the volume's to change.
func statusOf(claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, volume *corev1.PersistentVolume) (*corev1.PersistentVolumeClaimStatus, error) {
	status := claim.Status.DeepCopy()
	status.Phase = phase
	if volume == nil {
		status.AccessModes, status.Capacity, status.CurrentVolumeAttributesClassName = nil, nil, nil
		return status, nil
	}
	status.AccessModes = volume.Spec.AccessModes
	if claim.Status.Phase != phase {
		if _, sized := volume.Spec.Capacity[corev1.ResourceStorage]; !sized {
			return nil, fmt.Errorf("PersistentVolume %q is without a storage capacity", volume.Name)
		}
		status.Capacity = volume.Spec.Capacity
	}
	if claim.Status.Phase == corev1.ClaimPending && phase == corev1.ClaimBound {
		status.CurrentVolumeAttributesClassName = volume.Spec.VolumeAttributesClassName
	}
	return status, nil
}

// same compares what setClaimStatus sets.
func same(a, b *corev1.PersistentVolumeClaimStatus) bool {
	equal := func(x, y corev1.ResourceList) bool {
		return maps.EqualFunc(x, y, func(p, q resource.Quantity) bool { return p.Cmp(q) == 0 })
	}
	return a.Phase == b.Phase && slices.Equal(a.AccessModes, b.AccessModes) && equal(a.Capacity, b.Capacity) &&
		ptr.Equal(a.CurrentVolumeAttributesClassName, b.CurrentVolumeAttributesClassName)
}
