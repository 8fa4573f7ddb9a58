package persistentvolume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"
)

func (c *Controller) syncVolume(ctx context.Context, volume *corev1.PersistentVolume) error {
	ref := volume.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		available, err := c.setVolumePhase(ctx, volume, corev1.VolumeAvailable)
		if err == nil {
			c.offer(available)
		}
		return err
	}
	claim, err := c.holder(ctx, volume)
	if err != nil {
		return err
	}
	switch {
	case claim == nil:
		return c.release(ctx, volume)
	case claim.Spec.VolumeName == volume.Name:
		_, err := c.setVolumePhase(ctx, volume, corev1.VolumeBound)
		return err
	case claim.Spec.VolumeName == "":
		if volumehelpers.CheckVolumeModeMismatches(&claim.Spec, &volume.Spec) {
			c.env.Recorder.Eventf(volume, corev1.EventTypeWarning, "VolumeMismatch", "Cannot bind PersistentVolume to requested PersistentVolumeClaim %q due to incompatible volumeMode.", claim.Name)
			c.env.Recorder.Eventf(claim, corev1.EventTypeWarning, "VolumeMismatch", "Cannot bind PersistentVolume %q to requested PersistentVolumeClaim due to incompatible volumeMode.", volume.Name)
			return nil
		}
		// Promised by a provisioner, a user or the scheduler: the claim's turn completes it.
		c.wakeClaim(claim)
		return nil
	}
	// The claim got another volume.
	if _, provisioned := volume.Annotations[volumehelpers.AnnDynamicallyProvisioned]; provisioned && volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		return c.release(ctx, volume)
	}
	return c.unbind(ctx, volume)
}

// holder is the claim that a volume is bound to, nil if it is gone. Since the data may be deleted for its absence, the
// API server is asked before it counts as gone.
func (c *Controller) holder(ctx context.Context, volume *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	ref := volume.Spec.ClaimRef
	if claim, known := c.claims.get(keyOf(ref)); known && claim.UID == ref.UID {
		return claim, nil
	}
	if volume.Status.Phase == corev1.VolumeReleased || volume.Status.Phase == corev1.VolumeFailed {
		return nil, nil
	}
	claim, err := c.env.Client.CoreV1().PersistentVolumeClaims(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil || claim.UID != ref.UID {
		return nil, err
	}
	return claim, nil
}

// release does with a volume whose claim is gone what its reclaim policy says.
func (c *Controller) release(ctx context.Context, volume *corev1.PersistentVolume) error {
	if volume.Status.Phase != corev1.VolumeReleased && volume.Status.Phase != corev1.VolumeFailed {
		released, err := c.setVolumePhase(ctx, volume, corev1.VolumeReleased)
		if err != nil {
			return err
		}
		volume = released
	}
	switch volume.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimRetain:
		return nil
	case corev1.PersistentVolumeReclaimRecycle:
		return c.fail(ctx, volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
	case corev1.PersistentVolumeReclaimDelete:
		return c.deleteVolume(ctx, volume)
	}
	return c.fail(ctx, volume, "VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy")
}

// deleteVolume deletes the data of a released volume and then the volume. What somebody else's driver keeps is that
// driver's provisioner's to delete.
func (c *Controller) deleteVolume(ctx context.Context, volume *corev1.PersistentVolume) error {
	if volume.DeletionTimestamp != nil || elsewhere(volume) {
		return nil
	}
	if err := deleteData(volume); err != nil {
		return errors.Join(c.fail(ctx, volume, "VolumeFailedDelete", err.Error()), err)
	}
	klog.FromContext(ctx).V(2).Info("Released volume deleted", "volumeName", volume.Name)
	err := c.env.Client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(volume.UID))})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// elsewhere tells whether the volume's data is a driver's.
func elsewhere(volume *corev1.PersistentVolume) bool {
	if by := volume.Annotations[volumehelpers.AnnDynamicallyProvisioned]; by != "" && !strings.HasPrefix(by, "kubernetes.io/") {
		return true
	}
	return volume.Annotations[volumehelpers.AnnMigratedTo] != "" || volume.Spec.CSI != nil
}

// scratch is the only place in which the data of a hostPath volume is deleted: such volumes are for tests on a single
// machine, and no claim should be able to delete anything else of it.
const scratch = "/tmp/"

func deleteData(volume *corev1.PersistentVolume) error {
	if volume.Spec.HostPath == nil {
		return fmt.Errorf("error getting deleter volume plugin for volume %q: no volume plugin matched", volume.Name)
	}
	path := filepath.Clean(volume.Spec.HostPath.Path)
	if !strings.HasPrefix(path, scratch) {
		return fmt.Errorf("host_path deleter only supports /tmp/.+ but received provided %s", volume.Spec.HostPath.Path)
	}
	return os.RemoveAll(path)
}
