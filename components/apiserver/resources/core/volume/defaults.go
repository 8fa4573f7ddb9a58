// Package volume has the rules for volumes: the sources that pods and persistent
// volumes share, and the spec of a claim.
package volume

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// defaultMode are the permissions of projected files: rw-r--r--.
const defaultMode int32 = 0o644

// DefaultSource completes a pod's volume. A volume that names no source is an emptyDir.
// (An image volume's pull policy is the pod's to say.)
func DefaultSource(v *corev1.VolumeSource) {
	if ptr.AllPtrFieldsNil(v) {
		v.EmptyDir = new(corev1.EmptyDirVolumeSource)
	}
	if v.HostPath != nil && v.HostPath.Type == nil {
		v.HostPath.Type = ptr.To(corev1.HostPathUnset)
	}
	if v.Secret != nil {
		orPointTo(&v.Secret.DefaultMode, defaultMode)
	}
	if v.ConfigMap != nil {
		orPointTo(&v.ConfigMap.DefaultMode, defaultMode)
	}
	if v.DownwardAPI != nil {
		orPointTo(&v.DownwardAPI.DefaultMode, defaultMode)
		defaultDownwardFiles(v.DownwardAPI.Items)
	}
	if p := v.Projected; p != nil {
		orPointTo(&p.DefaultMode, defaultMode)
		for _, s := range p.Sources {
			if s.DownwardAPI != nil {
				defaultDownwardFiles(s.DownwardAPI.Items)
			}
			if s.ServiceAccountToken != nil {
				orPointTo(&s.ServiceAccountToken.ExpirationSeconds, 3600)
			}
		}
	}
	if e := v.Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
		DefaultClaimSpec(&e.VolumeClaimTemplate.Spec)
	}
	if v.ISCSI != nil {
		orElse(&v.ISCSI.ISCSIInterface, "default")
	}
	if v.RBD != nil {
		defaultRBD(&v.RBD.RBDPool, &v.RBD.RadosUser, &v.RBD.Keyring)
	}
	if v.ScaleIO != nil {
		orElse(&v.ScaleIO.StorageMode, "ThinProvisioned")
		orElse(&v.ScaleIO.FSType, "xfs")
	}
	defaultAzureDisk(v.AzureDisk)
}

// DefaultPersistentSource completes what a persistent volume consists of.
func DefaultPersistentSource(v *corev1.PersistentVolumeSource) {
	if v.HostPath != nil && v.HostPath.Type == nil {
		v.HostPath.Type = ptr.To(corev1.HostPathUnset)
	}
	if v.ISCSI != nil {
		orElse(&v.ISCSI.ISCSIInterface, "default")
	}
	if v.RBD != nil {
		defaultRBD(&v.RBD.RBDPool, &v.RBD.RadosUser, &v.RBD.Keyring)
	}
	if v.ScaleIO != nil {
		orElse(&v.ScaleIO.StorageMode, "ThinProvisioned")
		orElse(&v.ScaleIO.FSType, "xfs")
	}
	defaultAzureDisk(v.AzureDisk)
}

// DefaultClaimSpec completes a claim's spec, also where it is a template
// (ephemeral volumes, StatefulSets).
func DefaultClaimSpec(s *corev1.PersistentVolumeClaimSpec) {
	orPointTo(&s.VolumeMode, corev1.PersistentVolumeFilesystem)
	RoundUp(s.Resources.Limits)
	RoundUp(s.Resources.Requests)
}

// DefaultClaim completes a whole claim.
func DefaultClaim(c *corev1.PersistentVolumeClaim) {
	orElse(&c.Status.Phase, corev1.ClaimPending)
	DefaultClaimSpec(&c.Spec)
	RoundUp(c.Status.Capacity)
	RoundUp(c.Status.AllocatedResources)
}

// RoundUp brings quantities to whole thousandths, the finest the API keeps.
func RoundUp(l corev1.ResourceList) {
	for name, quantity := range l {
		quantity.RoundUp(resource.Milli)
		l[name] = quantity
	}
}

func defaultDownwardFiles(files []corev1.DownwardAPIVolumeFile) {
	for _, f := range files {
		if f.FieldRef != nil {
			orElse(&f.FieldRef.APIVersion, "v1")
		}
	}
}

func defaultRBD(pool, user, keyring *string) {
	orElse(pool, "rbd")
	orElse(user, "admin")
	orElse(keyring, "/etc/ceph/keyring")
}

func defaultAzureDisk(d *corev1.AzureDiskVolumeSource) {
	if d == nil {
		return
	}
	orPointTo(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	orPointTo(&d.FSType, "ext4")
	orPointTo(&d.ReadOnly, false)
	orPointTo(&d.Kind, corev1.AzureSharedBlobDisk)
}

// orElse sets a field that has its zero value.
func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// orPointTo sets an optional field that is absent.
func orPointTo[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
