package statefulset

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/controllers/podcontrol"
)

// ordinalOf is the number at the end of the pod's name, if the rest of it is the set's.
func ordinalOf(set *appsv1.StatefulSet, pod *corev1.Pod) (int, bool) {
	text, ok := strings.CutPrefix(pod.Name, set.Name+"-")
	if !ok {
		return 0, false
	}
	ordinal, err := strconv.Atoi(text)
	return ordinal, err == nil && ordinal >= 0 && text == strconv.Itoa(ordinal)
}

func first(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals == nil {
		return 0
	}
	return int(set.Spec.Ordinals.Start)
}

func size(set *appsv1.StatefulSet) int { return int(ptr.Deref(set.Spec.Replicas, 1)) }

func revisionOf(pod *corev1.Pod) string { return pod.Labels[appsv1.StatefulSetRevisionLabel] }

func claimName(set *appsv1.StatefulSet, template *corev1.PersistentVolumeClaim, ordinal int) string {
	return fmt.Sprintf("%s-%s-%d", template.Name, set.Name, ordinal)
}

// podFor makes the pod of one ordinal. https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#pod-identity
func podFor(set *appsv1.StatefulSet, template *corev1.PodTemplateSpec, revision string, ordinal int) *corev1.Pod {
	pod := podcontrol.FromTemplate(template, set, metav1.NewControllerRef(set, kind))
	pod.GenerateName = ""
	pod.Name = fmt.Sprintf("%s-%d", set.Name, ordinal)
	identify(set, pod, ordinal)
	pod.Labels[appsv1.StatefulSetRevisionLabel] = revision
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, set.Spec.ServiceName
	pod.Spec.Volumes = volumes(set, pod.Spec.Volumes, ordinal)
	return pod
}

// identify sets the labels that a pod of the set is known by, and returns whether any was missing.
func identify(set *appsv1.StatefulSet, pod *corev1.Pod, ordinal int) bool {
	wanted := map[string]string{appsv1.StatefulSetPodNameLabel: pod.Name, appsv1.PodIndexLabel: strconv.Itoa(ordinal)}
	changed := false
	for name, value := range wanted {
		if pod.Labels[name] != value {
			if pod.Labels == nil {
				pod.Labels = map[string]string{}
			}
			pod.Labels[name] = value
			changed = true
		}
	}
	return changed
}

// volumes adds a volume for each claim template, in place of one of that name in the pod template.
func volumes(set *appsv1.StatefulSet, template []corev1.Volume, ordinal int) []corev1.Volume {
	var all []corev1.Volume
	for i := range set.Spec.VolumeClaimTemplates {
		claim := &set.Spec.VolumeClaimTemplates[i]
		all = append(all, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, claim, ordinal)},
		}})
	}
	for _, volume := range template {
		if !slices.ContainsFunc(all, func(v corev1.Volume) bool { return v.Name == volume.Name }) {
			all = append(all, volume)
		}
	}
	return all
}

// claimFor makes the claim of one ordinal from its template.
func claimFor(set *appsv1.StatefulSet, template *corev1.PersistentVolumeClaim, ordinal int) *corev1.PersistentVolumeClaim {
	claim := template.DeepCopy()
	claim.Name, claim.Namespace = claimName(set, template, ordinal), set.Namespace
	if claim.Labels == nil {
		claim.Labels = map[string]string{}
	}
	if set.Spec.Selector != nil {
		maps.Copy(claim.Labels, set.Spec.Selector.MatchLabels)
	}
	claim.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	return claim
}

// claimOwners is whose deletion is to delete a claim: the set's, or that of a pod that is being scaled away, by the
// retention policy. It returns the references with that owner in place of the set's or the pod's, and whether they changed.
// https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention
func claimOwners(set *appsv1.StatefulSet, pod *corev1.Pod, claim *corev1.PersistentVolumeClaim, leaving bool) ([]metav1.OwnerReference, bool) {
	deletes := func(policy appsv1.PersistentVolumeClaimRetentionPolicyType) bool {
		return policy == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	policy := ptr.Deref(set.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	var wanted *metav1.OwnerReference
	switch {
	case deletes(policy.WhenScaled) && leaving:
		wanted = metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))
	case deletes(policy.WhenDeleted):
		wanted = metav1.NewControllerRef(set, kind)
	}
	var rest []metav1.OwnerReference
	has := false
	for _, ref := range claim.OwnerReferences {
		ours := (ref.Kind == kind.Kind && ref.Name == set.Name) || (ref.Kind == "Pod" && ref.Name == pod.Name)
		switch {
		case wanted != nil && ref.UID == wanted.UID:
			has = true
			rest = append(rest, ref)
		case !ours:
			if ptr.Deref(ref.Controller, false) {
				return claim.OwnerReferences, false // Somebody else manages it.
			}
			rest = append(rest, ref)
		}
	}
	if wanted != nil && !has {
		rest = append(rest, *wanted)
	}
	return rest, len(rest) != len(claim.OwnerReferences) || (wanted != nil && !has)
}
