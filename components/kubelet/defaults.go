package kubelet

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	"github.com/plumbline/plumbline/components/kubelet/userns"
)

// fill puts value where nothing was said.
func fill[T comparable](where *T, value T) {
	var zero T
	if *where == zero {
		*where = value
	}
}

func fillPtr[T any](where **T, value T) {
	if *where == nil {
		*where = &value
	}
}

func fillDuration(where *metav1.Duration, value time.Duration) {
	fill(&where.Duration, value)
}

// SetDefaults fills in what a KubeletConfiguration leaves open with the values
// documented at https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/.
func SetDefaults(kc *kubeletconfig.KubeletConfiguration) {
	// The server and who may use it.
	fillPtr(&kc.EnableServer, true)
	fill(&kc.Address, "0.0.0.0")
	fill(&kc.Port, 10250)
	fillPtr(&kc.HealthzPort, 10248)
	fill(&kc.HealthzBindAddress, "127.0.0.1")
	fillPtr(&kc.EnableDebuggingHandlers, true)
	fillPtr(&kc.EnableSystemLogHandler, true)
	fillPtr(&kc.EnableProfilingHandler, true)
	fillPtr(&kc.EnableDebugFlagsHandler, true)
	fillDuration(&kc.StreamingConnectionIdleTimeout, 4*time.Hour)
	authn, authz := &kc.Authentication, &kc.Authorization
	fillPtr(&authn.Anonymous.Enabled, false)
	fillPtr(&authn.Webhook.Enabled, true)
	fillDuration(&authn.Webhook.CacheTTL, 2*time.Minute)
	fill(&authz.Mode, kubeletconfig.KubeletAuthorizationModeWebhook)
	fillDuration(&authz.Webhook.CacheAuthorizedTTL, 5*time.Minute)
	fillDuration(&authz.Webhook.CacheUnauthorizedTTL, 30*time.Second)

	// The node and its heartbeat.
	fillPtr(&kc.RegisterNode, true)
	if kc.NodeStatusReportFrequency.Duration == 0 {
		fillDuration(&kc.NodeStatusReportFrequency, max(kc.NodeStatusUpdateFrequency.Duration, 0))
	}
	fillDuration(&kc.NodeStatusReportFrequency, 5*time.Minute)
	fillDuration(&kc.NodeStatusUpdateFrequency, 10*time.Second)
	fill(&kc.NodeLeaseDurationSeconds, 40)
	fillPtr(&kc.NodeStatusMaxImages, 50)
	fill(&kc.MaxPods, 110)
	fillPtr(&kc.EventRecordQPS, 50)
	fill(&kc.EventBurst, 100)
	fillPtr(&kc.KubeAPIQPS, 50)
	fill(&kc.KubeAPIBurst, 100)
	fill(&kc.ContentType, "application/vnd.kubernetes.protobuf")

	// Where pods come from, and how they run.
	fillDuration(&kc.SyncFrequency, time.Minute)
	fillDuration(&kc.FileCheckFrequency, 20*time.Second)
	fillDuration(&kc.HTTPCheckFrequency, 20*time.Second)
	fill(&kc.PodLogsDir, "/var/log/pods")
	fill(&kc.ContainerRuntimeEndpoint, "unix:///run/containerd/containerd.sock")
	fillDuration(&kc.RuntimeRequestTimeout, 2*time.Minute)
	fillPtr(&kc.ResolverConfig, "/etc/resolv.conf")
	fill(&kc.HairpinMode, kubeletconfig.PromiscuousBridge)
	fillPtr(&kc.SeccompDefault, false)
	fillPtr(&kc.CrashLoopBackOff.MaxContainerRestartPeriod, metav1.Duration{Duration: 5 * time.Minute})
	fill(&kc.ContainerLogMaxSize, "10Mi")
	fillPtr(&kc.ContainerLogMaxFiles, 5)
	fillPtr(&kc.ContainerLogMaxWorkers, 1)
	fillPtr(&kc.ContainerLogMonitorInterval, metav1.Duration{Duration: 10 * time.Second})
	fill(&kc.ConfigMapAndSecretChangeDetectionStrategy, kubeletconfig.WatchChangeDetectionStrategy)
	fill(&kc.VolumePluginDir, "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/")
	fillDuration(&kc.VolumeStatsAggPeriod, time.Minute)
	fillPtr(&kc.EnableControllerAttachDetach, true)

	// Resources.
	fillPtr(&kc.CgroupsPerQOS, true)
	fill(&kc.CgroupDriver, "cgroupfs")
	fillPtr(&kc.FailCgroupV1, true)
	fillPtr(&kc.CPUCFSQuota, true)
	fillPtr(&kc.CPUCFSQuotaPeriod, metav1.Duration{Duration: 100 * time.Millisecond})
	fillPtr(&kc.PodPidsLimit, -1)
	if *kc.PodPidsLimit < 0 {
		*kc.PodPidsLimit = -1
	}
	if kc.EnforceNodeAllocatable == nil {
		kc.EnforceNodeAllocatable = []string{"pods"}
	}
	if kc.UserNamespaces == nil {
		kc.UserNamespaces = &kubeletconfig.UserNamespaces{}
	}
	fillPtr(&kc.UserNamespaces.IDsPerPod, userns.IDsStep)
	fillPtr(&kc.OOMScoreAdj, -999)
	fillPtr(&kc.FailSwapOn, true)
	fill(&kc.MaxOpenFiles, 1000000)
	fillPtr(&kc.LocalStorageCapacityIsolation, true)
	fill(&kc.CPUManagerPolicy, "none")
	fillDuration(&kc.CPUManagerReconcilePeriod, 10*time.Second)
	fill(&kc.MemoryManagerPolicy, kubeletconfig.NoneMemoryManagerPolicy)
	fill(&kc.MemoryReservationPolicy, kubeletconfig.NoneMemoryReservationPolicy)
	fill(&kc.TopologyManagerPolicy, kubeletconfig.NoneTopologyManagerPolicy)
	fill(&kc.TopologyManagerScope, kubeletconfig.ContainerTopologyManagerScope)
	fillPtr(&kc.MakeIPTablesUtilChains, true)
	fillPtr(&kc.IPTablesMasqueradeBit, 14)
	fillPtr(&kc.IPTablesDropBit, 15)

	// Images.
	fillPtr(&kc.RegistryPullQPS, 5)
	fill(&kc.RegistryBurst, 10)
	fillPtr(&kc.SerializeImagePulls, kc.MaxParallelImagePulls == nil || *kc.MaxParallelImagePulls < 2)
	fillDuration(&kc.ImageMinimumGCAge, 2*time.Minute)
	fillPtr(&kc.ImageGCHighThresholdPercent, 85)
	fillPtr(&kc.ImageGCLowThresholdPercent, 80)
	fill(&kc.ImagePullCredentialsVerificationPolicy, kubeletconfig.NeverVerifyPreloadedImages)

	// Eviction.
	fillDuration(&kc.EvictionPressureTransitionPeriod, 5*time.Minute)
	fillPtr(&kc.MergeDefaultEvictionSettings, false)
	if kc.EvictionHard == nil {
		kc.EvictionHard = map[string]string{
			"memory.available":   "100Mi",
			"nodefs.available":   "10%",
			"nodefs.inodesFree":  "5%",
			"imagefs.available":  "15%",
			"imagefs.inodesFree": "5%",
		}
	}
}
