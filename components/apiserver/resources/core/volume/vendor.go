package volume

import (
	"net"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

// The sources in this file are used by pods and persistent volumes alike. Most name
// a storage product; all but NFS, iSCSI and Fibre Channel are served by CSI drivers today.

const initiatorTooLong = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."

var initiatorForms = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

// qualifiedName checks an iSCSI name by the form that its first three letters announce.
func qualifiedName(f *problem.List, at *field.Path, name, otherForm string) {
	form := initiatorForms[name[:min(3, len(name))]]
	switch {
	case form == nil:
		f.Invalid(at, name, otherForm)
	case !form.MatchString(name):
		f.Invalid(at, name, "must be valid format")
	}
}

// iscsi has what the pod's and the persistent volume's iSCSI source have in common.
type iscsi struct {
	portal, iqn string
	lun         int32
	chap        bool
	hasSecret   bool
	initiator   *string
	otherForm   string
}

func (i iscsi) check(f *problem.List, at *field.Path) {
	f.NonEmpty(at.Child("targetPortal"), i.portal)
	if i.iqn == "" {
		f.Required(at.Child("iqn"), "")
	} else {
		qualifiedName(f, at.Child("iqn"), i.iqn, i.otherForm)
	}
	f.Within(at.Child("lun"), int64(i.lun), 0, 255, validation.InclusiveRangeError(0, 255))
	if i.chap && !i.hasSecret {
		f.Required(at.Child("secretRef"), "")
	}
	if i.initiator != nil {
		qualifiedName(f, at.Child("initiatorname"), *i.initiator, i.otherForm)
	}
}

func podISCSI(f *problem.List, at *field.Path, v *corev1.ISCSIVolumeSource) {
	iscsi{
		portal: v.TargetPortal, iqn: v.IQN, lun: v.Lun, chap: v.DiscoveryCHAPAuth || v.SessionCHAPAuth,
		hasSecret: v.SecretRef != nil, initiator: v.InitiatorName, otherForm: "must be valid format starting with iqn, eui, or naa",
	}.check(f, at)
}

func gcePersistentDisk(v *corev1.GCEPersistentDiskVolumeSource) member {
	return member{"gcePersistentDisk", v != nil, "persistentDisk", func(f *problem.List, at *field.Path) {
		f.NonEmpty(at.Child("pdName"), v.PDName)
		f.Within(at.Child("partition"), int64(v.Partition), 0, 255, validation.InclusiveRangeError(1, 255))
	}}
}

func awsElasticBlockStore(v *corev1.AWSElasticBlockStoreVolumeSource) member {
	return member{"awsElasticBlockStore", v != nil, "", func(f *problem.List, at *field.Path) {
		f.NonEmpty(at.Child("volumeID"), v.VolumeID)
		f.Within(at.Child("partition"), int64(v.Partition), 0, 255, validation.InclusiveRangeError(1, 255))
	}}
}

func nfs(v *corev1.NFSVolumeSource) member {
	return member{"nfs", v != nil, "", func(f *problem.List, at *field.Path) {
		f.NonEmpty(at.Child("server"), v.Server)
		f.NonEmpty(at.Child("path"), v.Path)
		if !path.IsAbs(v.Path) {
			f.Invalid(at.Child("path"), v.Path, "must be an absolute path")
		}
	}}
}

func flocker(v *corev1.FlockerVolumeSource) member {
	return member{"flocker", v != nil, "", func(f *problem.List, at *field.Path) {
		switch byName, byUUID := v.DatasetName != "", v.DatasetUUID != ""; {
		case !byName && !byUUID:
			f.Required(at, "one of datasetName and datasetUUID is required")
		case byName && byUUID:
			f.Invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously")
		}
		if strings.Contains(v.DatasetName, "/") {
			f.Invalid(at.Child("datasetName"), v.DatasetName, "must not contain '/'")
		}
	}}
}

func quobyte(v *corev1.QuobyteVolumeSource) member {
	const registryForm = "must be a host:port pair or multiple pairs separated by commas"
	return member{"quobyte", v != nil, "", func(f *problem.List, at *field.Path) {
		switch registryAt := at.Child("registry"); {
		case v.Registry == "":
			f.Required(registryAt, registryForm)
		case len(v.Tenant) > 64:
			f.Required(at.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters")
		default:
			for pair := range strings.SplitSeq(v.Registry, ",") {
				if _, _, err := net.SplitHostPort(pair); err != nil {
					f.Invalid(registryAt, v.Registry, registryForm)
				}
			}
		}
		f.NonEmpty(at.Child("volume"), v.Volume)
	}}
}

func fibreChannel(v *corev1.FCVolumeSource) member {
	return member{"fc", v != nil, "", func(f *problem.List, at *field.Path) {
		wwns := at.Child("targetWWNs")
		switch {
		case len(v.TargetWWNs)+len(v.WWIDs) == 0:
			f.Required(wwns, "must specify either targetWWNs or wwids, but not both")
		case len(v.TargetWWNs) > 0 && len(v.WWIDs) > 0:
			f.Invalid(wwns, v.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
		}
		if len(v.TargetWWNs) == 0 {
			return
		}
		if v.Lun == nil {
			f.Required(at.Child("lun"), "lun is required if targetWWNs is specified")
			return
		}
		f.Within(at.Child("lun"), int64(*v.Lun), 0, 255, validation.InclusiveRangeError(0, 255))
	}}
}

func vsphere(v *corev1.VsphereVirtualDiskVolumeSource) member {
	return member{"vsphereVolume", v != nil, "", func(f *problem.List, at *field.Path) {
		f.NonEmpty(at.Child("volumePath"), v.VolumePath)
	}}
}

func photon(v *corev1.PhotonPersistentDiskVolumeSource) member {
	return member{"photonPersistentDisk", v != nil, "", func(f *problem.List, at *field.Path) { f.NonEmpty(at.Child("pdID"), v.PdID) }}
}

func portworx(v *corev1.PortworxVolumeSource) member {
	return member{"portworxVolume", v != nil, "", func(f *problem.List, at *field.Path) {
		f.NonEmpty(at.Child("volumeID"), v.VolumeID)
	}}
}

func azureDisk(v *corev1.AzureDiskVolumeSource) member {
	return member{"azureDisk", v != nil, "", func(f *problem.List, at *field.Path) {
		f.NonEmpty(at.Child("diskName"), v.DiskName)
		f.NonEmpty(at.Child("diskURI"), v.DataDiskURI)
		if v.CachingMode != nil {
			problem.OneOf(f, at.Child("cachingMode"), *v.CachingMode, corev1.AzureDataDiskCachingNone,
				corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)
		}
		if v.Kind == nil {
			return
		}
		problem.OneOf(f, at.Child("kind"), *v.Kind, corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)
		start, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
		if *v.Kind == corev1.AzureManagedDisk {
			start, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
		}
		if !strings.HasPrefix(v.DataDiskURI, start) {
			f.Add(field.NotSupported(at.Child("diskURI"), v.DataDiskURI, []string{form}))
		}
	}}
}

func rbd(f *problem.List, at *field.Path, monitors []string, image string) {
	cephFS(f, at, monitors)
	f.NonEmpty(at.Child("image"), image)
}

func cephFS(f *problem.List, at *field.Path, monitors []string) {
	if len(monitors) == 0 {
		f.Required(at.Child("monitors"), "")
	}
}

func flexVolume(f *problem.List, at *field.Path, driver string, options map[string]string) {
	f.NonEmpty(at.Child("driver"), driver)
	for key := range options {
		domain, _, _ := strings.Cut("."+strings.ToLower(key), "/")
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			f.Invalid(at.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved")
		}
	}
}

func azureFile(f *problem.List, at *field.Path, secret, share string) {
	f.NonEmpty(at.Child("secretName"), secret)
	f.NonEmpty(at.Child("shareName"), share)
}

func storageOS(f *problem.List, at *field.Path, name, namespace string) {
	if name == "" {
		f.Required(at.Child("volumeName"), "")
	} else {
		f.Add(validateLabel(name, at.Child("volumeName"))...)
	}
	if namespace != "" {
		f.Add(validateLabel(namespace, at.Child("volumeNamespace"))...)
	}
}

func scaleIO(f *problem.List, at *field.Path, gateway, system, name string) {
	f.NonEmpty(at.Child("gateway"), gateway)
	f.NonEmpty(at.Child("system"), system)
	f.NonEmpty(at.Child("volumeName"), name)
}

// ValidateDriverName checks a CSI driver's name, which is a DNS subdomain in any case
// of at most 63 characters.
func ValidateDriverName(name string, at *field.Path) field.ErrorList {
	var found problem.List
	if name == "" {
		found.Required(at, "")
		return found.Errors
	}
	if len(name) > 63 {
		found.Add(field.TooLong(at, "", 63))
	}
	found.Messages(at, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))
	return found.Errors
}
