package volume

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// Options say where volumes stand and what is tolerated because it was stored earlier.
type Options struct {
	// PodName is the name of the pod, where it is known: ephemeral claims are named after it.
	PodName string
	// AnyTokenPath tolerates token paths that leave the volume.
	AnyTokenPath bool
	// NoImageReference tolerates image volumes without a reference.
	NoImageReference bool
}

// member is one kind of source: whether it is set, and its rules.
type member struct {
	name string
	set  bool
	// at is where its fields' problems are shown, if that is not name. (Upstream
	// says persistentDisk and cephfs there.)
	at    string
	check func(found *problem.List, at *field.Path)
}

// choose checks that exactly one member is set, and that one by its own rules.
func choose(found *problem.List, at *field.Path, members []member) {
	one := problem.Choice{Problems: found, What: "volume"}
	for _, m := range members {
		if one.Offer(m.set, at.Child(m.name)) && m.check != nil {
			inner := m.name
			if m.at != "" {
				inner = m.at
			}
			m.check(found, at.Child(inner))
		}
	}
	if one.None() {
		found.Required(at, "must specify a volume type")
	}
}

// Validate checks a pod's volumes. The sources of those that are right are returned
// by name, for the mounts that refer to them.
func Validate(volumes []corev1.Volume, at *field.Path, o Options) (map[string]*corev1.VolumeSource, field.ErrorList) {
	var found problem.List
	good := map[string]*corev1.VolumeSource{}
	made := map[string]bool{}
	for _, v := range volumes {
		if o.PodName != "" && v.Ephemeral != nil {
			made[o.PodName+"-"+v.Name] = true
		}
	}
	for i := range volumes {
		v, itemAt := &volumes[i], at.Index(i)
		var own problem.List
		validateSource(&own, v, itemAt, o)
		if v.Name == "" {
			own.Required(itemAt.Child("name"), "")
		} else {
			own.Add(validateLabel(v.Name, itemAt.Child("name"))...)
		}
		if good[v.Name] != nil {
			own.Duplicate(itemAt.Child("name"), v.Name)
		}
		if own.Errors == nil {
			good[v.Name] = &v.VolumeSource
		}
		found.Add(own.Errors...)
		if c := v.PersistentVolumeClaim; c != nil && made[c.ClaimName] {
			found.Invalid(itemAt.Child("persistentVolumeClaim", "claimName"), c.ClaimName,
				"must not reference a PVC that gets created for an ephemeral volume")
		}
	}
	return good, found.Errors
}

func validateSource(found *problem.List, v *corev1.Volume, at *field.Path, o Options) {
	s := &v.VolumeSource
	choose(found, at, []member{
		{"emptyDir", s.EmptyDir != nil, "", func(f *problem.List, at *field.Path) {
			if limit := s.EmptyDir.SizeLimit; limit != nil && limit.Sign() < 0 {
				f.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")
			}
		}},
		{"hostPath", s.HostPath != nil, "", func(f *problem.List, at *field.Path) { hostPath(f, at, s.HostPath) }},
		{"gitRepo", s.GitRepo != nil, "", func(f *problem.List, at *field.Path) {
			f.NonEmpty(at.Child("repository"), s.GitRepo.Repository)
			f.Add(ValidateDescending(s.GitRepo.Directory, at.Child("directory"))...)
		}},
		gcePersistentDisk(s.GCEPersistentDisk),
		awsElasticBlockStore(s.AWSElasticBlockStore),
		{"secret", s.Secret != nil, "", func(f *problem.List, at *field.Path) {
			f.NonEmpty(at.Child("secretName"), s.Secret.SecretName)
			validateMode(f, s.Secret.DefaultMode, at.Child("defaultMode"))
			keysToPaths(f, at.Child("items"), s.Secret.Items)
		}},
		nfs(s.NFS),
		{"iscsi", s.ISCSI != nil, "", func(f *problem.List, at *field.Path) { podISCSI(f, at, s.ISCSI) }},
		{"glusterfs", s.Glusterfs != nil, "", func(f *problem.List, at *field.Path) {
			f.NonEmpty(at.Child("endpoints"), s.Glusterfs.EndpointsName)
			f.NonEmpty(at.Child("path"), s.Glusterfs.Path)
		}},
		flocker(s.Flocker),
		{"persistentVolumeClaim", s.PersistentVolumeClaim != nil, "", func(f *problem.List, at *field.Path) {
			f.NonEmpty(at.Child("claimName"), s.PersistentVolumeClaim.ClaimName)
		}},
		{"rbd", s.RBD != nil, "", func(f *problem.List, at *field.Path) { rbd(f, at, s.RBD.CephMonitors, s.RBD.RBDImage) }},
		{"cinder", s.Cinder != nil, "", func(f *problem.List, at *field.Path) {
			f.NonEmpty(at.Child("volumeID"), s.Cinder.VolumeID)
			localSecret(f, at, s.Cinder.SecretRef)
		}},
		{"cephFS", s.CephFS != nil, "cephfs", func(f *problem.List, at *field.Path) { cephFS(f, at, s.CephFS.Monitors) }},
		quobyte(s.Quobyte),
		{"downwardAPI", s.DownwardAPI != nil, "", func(f *problem.List, at *field.Path) {
			validateMode(f, s.DownwardAPI.DefaultMode, at.Child("defaultMode"))
			for i := range s.DownwardAPI.Items {
				downwardFile(f, at, &s.DownwardAPI.Items[i])
			}
		}},
		fibreChannel(s.FC),
		{"flexVolume", s.FlexVolume != nil, "", func(f *problem.List, at *field.Path) {
			flexVolume(f, at, s.FlexVolume.Driver, s.FlexVolume.Options)
		}},
		{"configMap", s.ConfigMap != nil, "", func(f *problem.List, at *field.Path) {
			f.NonEmpty(at.Child("name"), s.ConfigMap.Name)
			validateMode(f, s.ConfigMap.DefaultMode, at.Child("defaultMode"))
			keysToPaths(f, at.Child("items"), s.ConfigMap.Items)
		}},
		{"azureFile", s.AzureFile != nil, "", func(f *problem.List, at *field.Path) {
			azureFile(f, at, s.AzureFile.SecretName, s.AzureFile.ShareName)
		}},
		vsphere(s.VsphereVolume),
		photon(s.PhotonPersistentDisk),
		portworx(s.PortworxVolume),
		azureDisk(s.AzureDisk),
		{"storageos", s.StorageOS != nil, "", func(f *problem.List, at *field.Path) {
			storageOS(f, at, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace)
			localSecret(f, at, s.StorageOS.SecretRef)
		}},
		{"projected", s.Projected != nil, "", func(f *problem.List, at *field.Path) { projected(f, at, s.Projected, o) }},
		{"scaleIO", s.ScaleIO != nil, "", func(f *problem.List, at *field.Path) {
			scaleIO(f, at, s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName)
		}},
		{"csi", s.CSI != nil, "", func(f *problem.List, at *field.Path) { inlineCSI(f, at, s.CSI) }},
		{"ephemeral", s.Ephemeral != nil, "", func(f *problem.List, sourceAt *field.Path) {
			ephemeral(f, sourceAt, s.Ephemeral)
			if o.PodName == "" || v.Name == "" {
				return
			}
			claim := o.PodName + "-" + v.Name
			for _, m := range apivalidation.NameIsDNSSubdomain(claim, false) {
				f.Invalid(at.Child("name"), v.Name, fmt.Sprintf("PVC name %q: %v", claim, m))
			}
		}},
		{"image", s.Image != nil, "", func(f *problem.List, at *field.Path) {
			if !o.NoImageReference {
				f.NonEmpty(at.Child("reference"), s.Image.Reference)
			}
			ValidatePullPolicy(f, at.Child("pullPolicy"), s.Image.PullPolicy)
		}},
	})
	if i := s.ISCSI; i != nil && i.InitiatorName != nil && len(v.Name)+1+len(i.TargetPortal) > 64 {
		found.Invalid(at.Child("name"), v.Name, initiatorTooLong)
	}
}

// ValidatePullPolicy checks when an image is pulled.
func ValidatePullPolicy(found *problem.List, at *field.Path, p corev1.PullPolicy) {
	if p == "" {
		found.Required(at, "")
		return
	}
	problem.OneOf(found, at, p, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

func validateLabel(value string, at *field.Path) field.ErrorList {
	var found problem.List
	for _, m := range validation.IsDNS1123Label(value) {
		found.Add(field.Invalid(at, value, m).WithOrigin("format=k8s-short-name"))
	}
	return found.Errors
}

func hostPath(f *problem.List, at *field.Path, h *corev1.HostPathVolumeSource) {
	if h.Path == "" {
		f.Required(at.Child("path"), "")
		return
	}
	f.Add(ValidateNoBacksteps(h.Path, at.Child("path"))...)
	if h.Type != nil {
		problem.OneOf(f, at.Child("type"), *h.Type, corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev,
			corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)
	}
}

func keysToPaths(f *problem.List, at *field.Path, items []corev1.KeyToPath) {
	for i, item := range items {
		itemAt := at.Index(i)
		f.NonEmpty(itemAt.Child("key"), item.Key)
		f.NonEmpty(itemAt.Child("path"), item.Path)
		f.Add(ValidateFileInVolume(item.Path, itemAt.Child("path"))...)
		validateMode(f, item.Mode, itemAt.Child("mode"))
	}
}

func downwardFile(f *problem.List, at *field.Path, file *corev1.DownwardAPIVolumeFile) {
	f.NonEmpty(at.Child("path"), file.Path)
	f.Add(ValidateFileInVolume(file.Path, at.Child("path"))...)
	switch {
	case file.FieldRef != nil:
		f.Add(ValidateFieldRef(file.FieldRef, inVolume(), at.Child("fieldRef"))...)
		if file.ResourceFieldRef != nil {
			f.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
		}
	case file.ResourceFieldRef != nil:
		f.Add(ValidateResourceRef(file.ResourceFieldRef, true, at.Child("resourceFieldRef"))...)
	default:
		f.Required(at, "one of fieldRef and resourceFieldRef is required")
	}
	validateMode(f, file.Mode, at.Child("mode"))
}

func inlineCSI(f *problem.List, at *field.Path, c *corev1.CSIVolumeSource) {
	f.Add(ValidateDriverName(c.Driver, at.Child("driver"))...)
	if ref := c.NodePublishSecretRef; ref != nil {
		if ref.Name == "" {
			f.Required(at.Child("nodePublishSecretRef", "name"), "")
		} else {
			f.Messages(at.Child("name"), ref.Name, apivalidation.NameIsDNSSubdomain(ref.Name, false))
		}
	}
}

func ephemeral(f *problem.List, at *field.Path, e *corev1.EphemeralVolumeSource) {
	templateAt := at.Child("volumeClaimTemplate")
	t := e.VolumeClaimTemplate
	if t == nil {
		f.Required(templateAt, "")
		return
	}
	f.Add(ValidateTemplateMeta(&t.ObjectMeta, templateAt.Child("metadata"))...)
	f.Add(ValidateClaimSpec(&t.Spec, templateAt.Child("spec"), ClaimOptions{})...)
}

func localSecret(f *problem.List, at *field.Path, ref *corev1.LocalObjectReference) {
	if ref != nil {
		f.NonEmpty(at.Child("secretRef", "name"), ref.Name)
	}
}

func clusterSecret(f *problem.List, at *field.Path, ref *corev1.SecretReference) {
	if ref != nil {
		f.NonEmpty(at.Child("secretRef", "name"), ref.Name)
		f.NonEmpty(at.Child("secretRef", "namespace"), ref.Namespace)
	}
}
