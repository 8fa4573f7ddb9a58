package persistentvolume

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/controller"
	"github.com/plumbline/plumbline/components/controllers/podstate"
)

func (c *Controller) syncClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	switch {
	case !unbound(claim):
		return c.keep(ctx, claim)
	case claim.Spec.VolumeName != "":
		return c.bindNamed(ctx, claim)
	}
	return c.findVolume(ctx, claim)
}

// keep looks after a claim that has been bound: it is bound still, or lost.
func (c *Controller) keep(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName == "" {
		return c.lose(ctx, claim, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	}
	volume, known := c.volumes.get(controller.Key{Name: claim.Spec.VolumeName})
	switch {
	case !known:
		// Lost is for good, so the cache's word is not enough.
		if _, err := c.env.Client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return cmp.Or(err, fmt.Errorf("volume %q is yet to be seen", claim.Spec.VolumeName))
		}
		return c.lose(ctx, claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case volume.Spec.ClaimRef != nil && volume.Spec.ClaimRef.UID != claim.UID:
		return c.lose(ctx, claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
	}
	return c.bind(ctx, volume, claim)
}

func (c *Controller) lose(ctx context.Context, claim *corev1.PersistentVolumeClaim, reason, message string) error {
	if claim.Status.Phase == corev1.ClaimLost {
		return nil
	}
	if err := c.setClaimStatus(ctx, claim, corev1.ClaimLost, nil); err != nil {
		return err
	}
	c.env.Recorder.Event(claim, corev1.EventTypeWarning, reason, message)
	return nil
}

// bindNamed binds a claim that asks for one volume by name, if that is to be had.
func (c *Controller) bindNamed(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	volume, known := c.volumes.get(controller.Key{Name: claim.Spec.VolumeName})
	switch {
	case !known:
	case volume.Spec.ClaimRef == nil:
		mismatch := unfit(volume, claim)
		if mismatch == "" {
			return c.bind(ctx, volume, claim)
		}
		c.env.Recorder.Eventf(claim, corev1.EventTypeWarning, "VolumeMismatch", "Cannot bind to requested volume %q: %s", volume.Name, mismatch)
	case volumehelpers.IsVolumeBoundToClaim(volume, claim):
		return c.bind(ctx, volume, claim)
	default:
		c.env.Recorder.Eventf(claim, corev1.EventTypeWarning, "FailedBinding", "volume %q already bound to a different claim.", volume.Name)
	}
	return c.setClaimStatus(ctx, claim, corev1.ClaimPending, nil)
}

// unfit says why a claim cannot have the volume that it asks for, nothing if it can.
func unfit(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) string {
	capacity, request := volume.Spec.Capacity[corev1.ResourceStorage], claim.Spec.Resources.Requests[corev1.ResourceStorage]
	switch {
	case volume.DeletionTimestamp != nil:
		return fmt.Sprintf("the volume is marked for deletion %q", volume.Name)
	case capacity.Value() < request.Value():
		return "requested PV is too small"
	case volumehelpers.GetPersistentVolumeClass(volume) != volumehelpers.GetPersistentVolumeClaimClass(claim):
		return "storageClassName does not match"
	case ptr.Deref(volume.Spec.VolumeAttributesClassName, "") != ptr.Deref(claim.Spec.VolumeAttributesClassName, ""):
		return "volumeAttributesClassName does not match"
	case volumehelpers.CheckVolumeModeMismatches(&claim.Spec, &volume.Spec):
		return "incompatible volumeMode"
	case !volumehelpers.CheckAccessModes(claim, volume):
		return "incompatible accessMode"
	}
	return ""
}

// findVolume binds a claim to the volume that fits it best. Without one it says what the claim waits for: a class, a
// provisioner or, if its class binds late, a pod.
func (c *Controller) findVolume(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	late, err := volumehelpers.IsDelayBindingMode(claim, c.classes)
	if err != nil {
		return err
	}
	volume, err := c.bestMatch(claim, late)
	if err != nil {
		return err
	}
	if volume != nil {
		return c.bind(ctx, volume, claim)
	}
	if given, err := c.giveDefaultClass(ctx, claim); given || err != nil {
		return err
	}
	switch {
	case late && !volumehelpers.IsDelayBindingProvisioning(claim):
		if err := c.sayWhoIsAwaited(claim); err != nil {
			return err
		}
	case volumehelpers.GetPersistentVolumeClaimClass(claim) != "":
		return c.provision(ctx, claim)
	default:
		c.env.Recorder.Event(claim, corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	}
	return c.setClaimStatus(ctx, claim, corev1.ClaimPending, nil)
}

// bestMatch finds the volume for a claim: with as few access modes as will do and, among those, the smallest. A claim
// whose class binds late gets only what is reserved for it.
func (c *Controller) bestMatch(claim *corev1.PersistentVolumeClaim, late bool) (*corev1.PersistentVolume, error) {
	able := c.volumes.list(func(v *corev1.PersistentVolume) bool { return volumehelpers.CheckAccessModes(claim, v) })
	byModes := map[int][]*corev1.PersistentVolume{}
	for _, volume := range able {
		modes := slices.Clone(volume.Spec.AccessModes)
		slices.Sort(modes)
		count := len(slices.Compact(modes))
		byModes[count] = append(byModes[count], volume)
	}
	for count := 0; len(byModes) > 0; count++ {
		volume, err := volumehelpers.FindMatchingVolume(claim, byModes[count], nil, nil, late, true)
		if volume != nil || err != nil {
			return volume, err
		}
		delete(byModes, count)
	}
	return nil, nil
}

// giveDefaultClass sets the default class on a claim that was made before there was one.
func (c *Controller) giveDefaultClass(ctx context.Context, claim *corev1.PersistentVolumeClaim) (bool, error) {
	if volumehelpers.PersistentVolumeClaimHasClass(claim) {
		return false, nil
	}
	class, err := c.defaultClass()
	if class == nil || err != nil {
		return false, err
	}
	changed := claim.DeepCopy()
	changed.Spec.StorageClassName = &class.Name
	_, err = c.updateClaim(ctx, changed)
	return err == nil, err
}

// defaultClass is the class marked as the default, the newest if several are.
func (c *Controller) defaultClass() (*storagev1.StorageClass, error) {
	all, err := c.classes.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	marked := slices.DeleteFunc(all, func(class *storagev1.StorageClass) bool {
		return class.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" &&
			class.Annotations["storageclass.beta.kubernetes.io/is-default-class"] != "true"
	})
	if len(marked) == 0 {
		return nil, nil
	}
	return slices.MinFunc(marked, func(a, b *storagev1.StorageClass) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	}), nil
}

func (c *Controller) sayWhoIsAwaited(claim *corev1.PersistentVolumeClaim) error {
	pods, err := c.unplacedUsers(claim)
	if err != nil {
		return err
	}
	switch len(pods) {
	case 0:
		c.env.Recorder.Event(claim, corev1.EventTypeNormal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	case 1:
		c.env.Recorder.Eventf(claim, corev1.EventTypeNormal, "WaitForPodScheduled", "waiting for pod %s to be scheduled", pods[0])
	default:
		c.env.Recorder.Eventf(claim, corev1.EventTypeNormal, "WaitForPodScheduled", "waiting for pods %s to be scheduled", strings.Join(pods, ","))
	}
	return nil
}

// unplacedUsers are the names of the pods that use the claim and have no node yet.
func (c *Controller) unplacedUsers(claim *corev1.PersistentVolumeClaim) ([]string, error) {
	pods, err := c.pods.Pods(claim.Namespace).List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, pod := range pods {
		if pod.Spec.NodeName == "" && !podstate.Ended(pod) && slices.Contains(podstate.Claims(pod), claim.Name) {
			names = append(names, pod.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// provision leaves a claim to the provisioner that its class names.
func (c *Controller) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if !c.config.DynamicProvisioning {
		return nil
	}
	class, err := c.classes.Get(volumehelpers.GetPersistentVolumeClaimClass(claim))
	if err == nil && strings.HasPrefix(class.Provisioner, "kubernetes.io/") {
		err = fmt.Errorf("no volume plugin matched name: %s", class.Provisioner)
	}
	if err != nil {
		// Not to be tried again before the class changes.
		c.env.Recorder.Event(claim, corev1.EventTypeWarning, "ProvisioningFailed", err.Error())
		return nil
	}
	if claim.Annotations[volumehelpers.AnnStorageProvisioner] != class.Provisioner {
		changed := claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&changed.ObjectMeta, volumehelpers.AnnStorageProvisioner, class.Provisioner)
		metav1.SetMetaDataAnnotation(&changed.ObjectMeta, volumehelpers.AnnBetaStorageProvisioner, class.Provisioner)
		if claim, err = c.updateClaim(ctx, changed); err != nil {
			return err
		}
	}
	c.env.Recorder.Eventf(claim, corev1.EventTypeNormal, "ExternalProvisioning",
		"Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. "+
			"If volume creation is delayed, please verify that the provisioner is running and correctly registered.", class.Provisioner)
	return nil
}
