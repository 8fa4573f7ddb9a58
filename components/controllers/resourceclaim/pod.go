package resourceclaim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/cache"
	claimrules "k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/klog/v2"

	"github.com/plumbline/plumbline/components/controllers/controller"
)

// baseLength is what a claim's name may take before the generated end: 63 characters less a hyphen and five more.
const baseLength = 57

// syncPod makes the claims that the pod's templates ask for and reserves allocated ones for a pod that was placed
// without a scheduler.
func (c *Controller) syncPod(ctx context.Context, key controller.Key) error {
	pod, err := c.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || pod.DeletionTimestamp != nil {
		return err
	}
	made := map[string]string{}
	for i := range pod.Spec.ResourceClaims {
		wanted := &pod.Spec.ResourceClaims[i]
		claim, err := c.ensureClaim(ctx, pod, wanted)
		if err != nil {
			c.env.Recorder.Eventf(pod, corev1.EventTypeWarning, "FailedResourceClaimCreation", "PodResourceClaim %s: %v", wanted.Name, err)
			return fmt.Errorf("pod %s, PodResourceClaim %s: %w", key, wanted.Name, err)
		}
		if claim != "" {
			made[wanted.Name] = claim
		}
	}
	if len(made) > 0 {
		if err := c.recordClaims(ctx, pod, made); err != nil {
			return err
		}
	}
	if pod.Spec.NodeName == "" {
		return nil
	}
	return c.reserveClaims(ctx, pod)
}

// ensureClaim returns the name of the claim for one entry of the pod, or "" where the pod's status need not change.
func (c *Controller) ensureClaim(ctx context.Context, pod *corev1.Pod, wanted *corev1.PodResourceClaim) (string, error) {
	recorded, mustOwn, err := claimrules.Name(pod, wanted)
	switch {
	case errors.Is(err, claimrules.ErrClaimNotFound):
	case err != nil:
		return "", fmt.Errorf("checking for claim before creating it: %w", err)
	case recorded == nil:
		// It was decided before that the pod does without.
		return "", nil
	case *recorded != "" && mustOwn:
		// Somebody may have deleted it; then there is to be another.
		if valid, err := c.stillOwned(ctx, pod, *recorded); err != nil || valid {
			return "", err
		}
	}
	if wanted.ResourceClaimTemplateName == nil {
		return "", nil
	}
	orphan, err := c.findClaim(pod, wanted.Name)
	if err != nil {
		return "", err
	}
	if orphan != nil {
		return orphan.Name, nil
	}
	template, err := c.templates.ResourceClaimTemplates(pod.Namespace).Get(*wanted.ResourceClaimTemplateName)
	if err != nil {
		return "", fmt.Errorf("resource claim template %q: %w", *wanted.ResourceClaimTemplateName, err)
	}
	claim, err := c.env.Client.ResourceV1().ResourceClaims(pod.Namespace).Create(ctx, fromTemplate(pod, wanted.Name, template), metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("create ResourceClaim: %w", err)
	}
	c.written.Mutation(claim)
	return claim.Name, nil
}

// stillOwned tells whether the claim that was made for the pod exists and is the pod's. It asks the API server about
// one that it does not know.
func (c *Controller) stillOwned(ctx context.Context, pod *corev1.Pod, name string) (bool, error) {
	known, found, err := c.written.GetByKey(cache.NewObjectName(pod.Namespace, name).String())
	if err != nil && !apierrors.IsNotFound(err) {
		return false, err
	}
	claim, ok := known.(*resourcev1.ResourceClaim)
	if !found || !ok {
		claim, err = c.env.Client.ResourceV1().ResourceClaims(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	if err := claimrules.IsForPod(pod, claim, false); err != nil {
		klog.FromContext(ctx).Error(err, "The claim that was made for the pod is no longer its own; making another", "pod", klog.KObj(pod), "claim", name)
		return false, nil
	}
	return true, nil
}

// findClaim returns a claim that was made for this entry of the pod although the pod's status does not tell.
func (c *Controller) findClaim(pod *corev1.Pod, entry string) (*resourcev1.ResourceClaim, error) {
	owned, err := c.written.ByIndex(claimsByOwner, string(pod.UID))
	if err != nil {
		return nil, err
	}
	for _, object := range owned {
		if claim, ok := object.(*resourcev1.ResourceClaim); ok && claim.Annotations[resourcev1.PodResourceClaimAnnotation] == entry {
			return claim, nil
		}
	}
	return nil, nil
}

func fromTemplate(pod *corev1.Pod, entry string, template *resourcev1.ResourceClaimTemplate) *resourcev1.ResourceClaim {
	annotations := map[string]string{}
	maps.Copy(annotations, template.Spec.Annotations)
	annotations[resourcev1.PodResourceClaimAnnotation] = entry
	yes := true
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: baseName(pod.Name, entry),
			Annotations:  annotations,
			Labels:       template.Spec.Labels,
			OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes},
			},
		},
		Spec: template.Spec.Spec,
	}
}

// baseName begins the generated name. Where both parts do not fit, each keeps its share: the API server would cut off
// the end, and with it the entry's name.
func baseName(pod, entry string) string {
	whole := pod + "-" + entry + "-"
	if len(whole) <= baseLength {
		return whole
	}
	share := func(part string) string { return part[:len(part)*baseLength/len(whole)] }
	return share(pod) + "-" + share(entry)
}

// recordClaims puts the claims' names into the pod's status, beside those that are there.
func (c *Controller) recordClaims(ctx context.Context, pod *corev1.Pod, names map[string]string) error {
	for _, status := range pod.Status.ResourceClaimStatuses {
		if _, renewed := names[status.Name]; !renewed && status.ResourceClaimName != nil {
			names[status.Name] = *status.ResourceClaimName
		}
	}
	status := coreapply.PodStatus()
	for _, entry := range slices.Sorted(maps.Keys(names)) {
		status.WithResourceClaimStatuses(coreapply.PodResourceClaimStatus().WithName(entry).WithResourceClaimName(names[entry]))
	}
	_, err := c.env.Client.CoreV1().Pods(pod.Namespace).ApplyStatus(ctx, coreapply.Pod(pod.Name, pod.Namespace).WithStatus(status),
		metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("update pod %s/%s ResourceClaimStatuses: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// reserveClaims does the scheduler's part for a pod that was created with a node: claims that are allocated already
// are reserved for it. Nobody allocates what is not.
func (c *Controller) reserveClaims(ctx context.Context, pod *corev1.Pod) error {
	if over(pod) {
		return nil
	}
	for name, mustOwn := range claimrules.PodClaims(pod) {
		claim, err := c.claims.ResourceClaims(pod.Namespace).Get(name)
		if apierrors.IsNotFound(err) {
			// The claim's arrival brings the pod back.
			return nil
		}
		if err != nil {
			return fmt.Errorf("retrieve claim: %w", err)
		}
		if mustOwn {
			if err := claimrules.IsForPod(pod, claim, false); err != nil {
				return err
			}
		}
		if claim.Status.Allocation == nil || claimrules.IsReservedForPod(pod, claim, false) {
			continue
		}
		reserved := claim.DeepCopy()
		reserved.Status.ReservedFor = append(reserved.Status.ReservedFor,
			resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
		if _, err := c.env.Client.ResourceV1().ResourceClaims(claim.Namespace).UpdateStatus(ctx, reserved, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("reserve claim %s: %w", klog.KObj(claim), err)
		}
	}
	return nil
}
