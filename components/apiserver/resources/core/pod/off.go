package pod

import (
	"github.com/plumbline/plumbline/components/apiserver/features"
	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// OffFeatures are the features that are off by default and bring fields into pod specs. At is
// where an object has the spec: "spec", or "spec.template.spec".
func OffFeatures(at string) []resource.Feature {
	below := func(paths ...string) []string {
		for i, path := range paths {
			paths[i] = at + "." + path
		}
		return paths
	}
	return []resource.Feature{
		{Name: features.GenericWorkload, Fields: below("schedulingGroup")},
		{Name: "EvictionRequestAPI", Fields: below("evictionResponders")},
		{Name: "EmptyDirVolumeMode", Fields: below("volumes.emptyDir.mode")},
		{Name: "AtomicWriteVolumeUserFields", Fields: below(
			"volumes.secret.defaultUser", "volumes.secret.items.user",
			"volumes.configMap.defaultUser", "volumes.configMap.items.user",
			"volumes.downwardAPI.defaultUser", "volumes.downwardAPI.items.user",
			"volumes.projected.defaultUser",
			"volumes.projected.sources.secret.items.user",
			"volumes.projected.sources.configMap.items.user",
			"volumes.projected.sources.downwardAPI.items.user",
			"volumes.projected.sources.serviceAccountToken.user",
			"volumes.projected.sources.clusterTrustBundle.user",
			"volumes.projected.sources.podCertificate.user",
		)},
		{Name: "VolumeBindMountOptions", Fields: below(inContainers("volumeMounts.bindMountOptions")...)},
		{Name: "GRPCContainerProbeTLS", Fields: below(inContainers(
			"livenessProbe.grpc.mode", "readinessProbe.grpc.mode", "startupProbe.grpc.mode")...)},
		{Name: "H2CContainerProbe", Fields: below(inContainers(
			"livenessProbe.httpGet.protocol", "readinessProbe.httpGet.protocol", "startupProbe.httpGet.protocol",
			"lifecycle.postStart.httpGet.protocol", "lifecycle.preStop.httpGet.protocol")...)},
		{Name: "ContainerStopSignals", Fields: below(inContainers("lifecycle.stopSignal")...)},
	}
}

// offInStatus are those that bring fields into a pod's status.
func offInStatus() []resource.Feature {
	return []resource.Feature{
		{Name: "CSIVolumeHealth", Fields: []string{"status.volumeHealth"}},
		{Name: "DRANodeAllocatableResources", Fields: []string{"status.nodeAllocatableResourceClaimStatuses"}},
		{Name: "ImageVolumeWithDigest", Fields: []string{
			"status.containerStatuses.volumeMounts.volumeStatus.image",
			"status.initContainerStatuses.volumeMounts.volumeStatus.image",
			"status.ephemeralContainerStatuses.volumeMounts.volumeStatus.image",
		}},
	}
}

// inContainers are the paths in every kind of container.
func inContainers(paths ...string) []string {
	var all []string
	for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
		for _, path := range paths {
			all = append(all, list+"."+path)
		}
	}
	return all
}
