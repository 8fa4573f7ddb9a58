package volume

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// ValidatePersistentSource checks what a persistent volume consists of. at is the
// path of the spec. hasAffinity says whether the volume is tied to nodes, as a local
// one must be.
func ValidatePersistentSource(found *problem.List, at *field.Path, volumeName string, s *corev1.PersistentVolumeSource, hasAffinity bool) {
	choose(found, at, []member{
		{"hostPath", s.HostPath != nil, "", func(f *problem.List, at *field.Path) { hostPath(f, at, s.HostPath) }},
		gcePersistentDisk(s.GCEPersistentDisk),
		awsElasticBlockStore(s.AWSElasticBlockStore),
		{"glusterfs", s.Glusterfs != nil, "", func(f *problem.List, at *field.Path) {
			f.NonEmpty(at.Child("endpoints"), s.Glusterfs.EndpointsName)
			f.NonEmpty(at.Child("path"), s.Glusterfs.Path)
			namespaceAt := at.Child("endpointsNamespace")
			if ns := s.Glusterfs.EndpointsNamespace; ns != nil && *ns == "" {
				f.Invalid(namespaceAt, "", "if the endpointnamespace is set, it must be a valid namespace name")
			} else if ns != nil {
				f.Messages(namespaceAt, *ns, apivalidation.ValidateNamespaceName(*ns, false))
			}
		}},
		flocker(s.Flocker),
		nfs(s.NFS),
		{"rbd", s.RBD != nil, "", func(f *problem.List, at *field.Path) { rbd(f, at, s.RBD.CephMonitors, s.RBD.RBDImage) }},
		quobyte(s.Quobyte),
		{"cephFS", s.CephFS != nil, "cephfs", func(f *problem.List, at *field.Path) { cephFS(f, at, s.CephFS.Monitors) }},
		{"iscsi", s.ISCSI != nil, "", func(f *problem.List, at *field.Path) { persistentISCSI(f, at, volumeName, s.ISCSI) }},
		{"cinder", s.Cinder != nil, "", func(f *problem.List, at *field.Path) {
			f.NonEmpty(at.Child("volumeID"), s.Cinder.VolumeID)
			clusterSecret(f, at, s.Cinder.SecretRef)
		}},
		fibreChannel(s.FC),
		{"flexVolume", s.FlexVolume != nil, "", func(f *problem.List, at *field.Path) {
			flexVolume(f, at, s.FlexVolume.Driver, s.FlexVolume.Options)
		}},
		{"azureFile", s.AzureFile != nil, "", func(f *problem.List, at *field.Path) {
			azureFile(f, at, s.AzureFile.SecretName, s.AzureFile.ShareName)
			if ns := s.AzureFile.SecretNamespace; ns != nil {
				f.NonEmpty(at.Child("secretNamespace"), *ns)
			}
		}},
		vsphere(s.VsphereVolume),
		photon(s.PhotonPersistentDisk),
		portworx(s.PortworxVolume),
		azureDisk(s.AzureDisk),
		{"scaleIO", s.ScaleIO != nil, "", func(f *problem.List, at *field.Path) {
			scaleIO(f, at, s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName)
		}},
		{"local", s.Local != nil, "", func(f *problem.List, localAt *field.Path) {
			f.NonEmpty(localAt.Child("path"), s.Local.Path)
			f.Add(ValidateNoBacksteps(s.Local.Path, localAt.Child("path"))...)
			if !hasAffinity {
				f.Required(at.Child("nodeAffinity"), "Local volume requires node affinity")
			}
		}},
		{"storageos", s.StorageOS != nil, "", func(f *problem.List, at *field.Path) {
			storageOS(f, at, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace)
			if ref := s.StorageOS.SecretRef; ref != nil {
				clusterSecret(f, at, &corev1.SecretReference{Name: ref.Name, Namespace: ref.Namespace})
			}
		}},
		{"csi", s.CSI != nil, "", func(f *problem.List, at *field.Path) { persistentCSI(f, at, s.CSI) }},
	})
}

func persistentISCSI(f *problem.List, at *field.Path, volumeName string, v *corev1.ISCSIPersistentVolumeSource) {
	if v.InitiatorName != nil && len(volumeName)+1+len(v.TargetPortal) > 64 {
		f.Invalid(at.Child("targetportal"), v.TargetPortal, initiatorTooLong)
	}
	iscsi{
		portal: v.TargetPortal, iqn: v.IQN, lun: v.Lun, chap: v.DiscoveryCHAPAuth || v.SessionCHAPAuth,
		hasSecret: v.SecretRef != nil, initiator: v.InitiatorName, otherForm: "must be valid format",
	}.check(f, at)
	if v.SecretRef != nil {
		f.NonEmpty(at.Child("secretRef", "name"), v.SecretRef.Name)
	}
}

func persistentCSI(f *problem.List, at *field.Path, v *corev1.CSIPersistentVolumeSource) {
	f.Add(ValidateDriverName(v.Driver, at.Child("driver"))...)
	f.NonEmpty(at.Child("volumeHandle"), v.VolumeHandle)
	for _, secret := range []struct {
		name string
		ref  *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", v.ControllerPublishSecretRef}, {"controllerExpandSecretRef", v.ControllerExpandSecretRef},
		{"nodePublishSecretRef", v.NodePublishSecretRef}, {"nodeExpandSecretRef", v.NodeExpandSecretRef},
	} {
		if secret.ref == nil {
			continue
		}
		nameAt, namespaceAt := at.Child(secret.name, "name"), at.Child(secret.name, "namespace")
		if secret.ref.Name == "" {
			f.Required(nameAt, "")
		} else {
			f.Messages(nameAt, secret.ref.Name, validation.IsDNS1123Subdomain(secret.ref.Name))
		}
		if secret.ref.Namespace == "" {
			f.Required(namespaceAt, "")
		} else {
			f.Add(validateLabel(secret.ref.Namespace, namespaceAt)...)
		}
	}
}

// ModesText writes access modes in short, "RWO,ROX".
func ModesText(modes []corev1.PersistentVolumeAccessMode) string {
	text := ""
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		for _, has := range modes {
			if has == m.mode {
				if text != "" {
					text += ","
				}
				text += m.short
				break
			}
		}
	}
	return text
}
