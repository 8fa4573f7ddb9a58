// Package podclaims follows a pod's volumes to the persistent volume claims behind them.
package podclaims

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"
)

// Reference is a volume of a pod that is a claim's.
type Reference struct {
	// Name of the claim, in the pod's namespace.
	Name string
	// Ephemeral says that the claim is made for the pod and lives as long as it does.
	Ephemeral bool
}

// Of lists a pod's claims, in the order of its volumes.
func Of(pod *v1.Pod) []Reference {
	var list []Reference
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.PersistentVolumeClaim != nil {
			list = append(list, Reference{Name: volume.PersistentVolumeClaim.ClaimName})
		} else if volume.Ephemeral != nil {
			list = append(list, Reference{Name: ephemeral.VolumeClaimName(pod, volume), Ephemeral: true})
		}
	}
	return list
}

// Uses says whether the claim is one of the pod's.
func Uses(pod *v1.Pod, claim *v1.PersistentVolumeClaim) bool {
	if pod.Namespace != claim.Namespace {
		return false
	}
	for _, reference := range Of(pod) {
		if reference.Name == claim.Name {
			return true
		}
	}
	return false
}
