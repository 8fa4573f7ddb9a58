package kubelet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	goruntime "runtime"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	"github.com/plumbline/plumbline/components/kubelet/admission"
	"github.com/plumbline/plumbline/components/kubelet/allocation"
	"github.com/plumbline/plumbline/components/kubelet/cgroup"
	"github.com/plumbline/plumbline/components/kubelet/containerlog"
	"github.com/plumbline/plumbline/components/kubelet/cri"
	"github.com/plumbline/plumbline/components/kubelet/environment"
	"github.com/plumbline/plumbline/components/kubelet/events"
	"github.com/plumbline/plumbline/components/kubelet/image"
	"github.com/plumbline/plumbline/components/kubelet/node"
	"github.com/plumbline/plumbline/components/kubelet/objectcache"
	"github.com/plumbline/plumbline/components/kubelet/podcertificate"
	"github.com/plumbline/plumbline/components/kubelet/podnetwork"
	"github.com/plumbline/plumbline/components/kubelet/podsource"
	"github.com/plumbline/plumbline/components/kubelet/probe"
	"github.com/plumbline/plumbline/components/kubelet/runtime"
	"github.com/plumbline/plumbline/components/kubelet/stats"
	"github.com/plumbline/plumbline/components/kubelet/status"
	"github.com/plumbline/plumbline/components/kubelet/token"
	"github.com/plumbline/plumbline/components/kubelet/trustbundle"
	"github.com/plumbline/plumbline/components/kubelet/userns"
	"github.com/plumbline/plumbline/components/kubelet/volume"
	"github.com/plumbline/plumbline/components/kubelet/worker"
)

// kubelet is the rooms of a running kubelet, put together.
type kubelet struct {
	config      *Config
	kc          *kubeletconfig.KubeletConfiguration
	client      kubernetes.Interface
	hierarchy   *cgroup.Hierarchy
	capacity    v1.ResourceList
	allocatable v1.ResourceList
	cri         *cri.Services
	events      *events.Recorder
	keeper      *node.Keeper
	pressure    *pressure
	pods        *worker.Manager
	observer    *runtime.Observer
	services    *services
	stats       *stats.Provider
	group       sync.WaitGroup
	failed      chan error
}

// Run runs a kubelet until ctx ends. The containers it started go on.
func Run(ctx context.Context, config *Config) error {
	if err := config.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k := &kubelet{config: config, kc: &config.KubeletConfiguration, failed: make(chan error, 16)}
	if err := k.measure(); err != nil {
		return err
	}
	if err := k.connect(ctx); err != nil {
		return err
	}
	// The node is registered, and the server answers, while the runtime still starts.
	k.registerNode(ctx)
	k.background(ctx, k.serveHealth)

	var err error
	k.cri, err = cri.Connect(ctx, cri.Options{
		Endpoint: k.kc.ContainerRuntimeEndpoint, ImageEndpoint: k.kc.ImageServiceEndpoint,
		RequestTimeout: k.kc.RuntimeRequestTimeout.Duration,
	})
	if err != nil {
		return stopped(ctx, err)
	}
	if k.keeper != nil {
		k.spawn(func() { k.keeper.WatchRuntime(ctx, k.cri.Runtime, k.cri.Images) })
	}
	if err := k.assemble(ctx); err != nil {
		return stopped(ctx, err)
	}
	select {
	case <-ctx.Done():
		err = nil
	case err = <-k.failed:
	}
	cancel()
	k.group.Wait()
	return err
}

// stopped forgives an error that only came of being told to stop.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (k *kubelet) spawn(run func()) { k.group.Go(run) }

// background runs something whose failure ends the kubelet.
func (k *kubelet) background(ctx context.Context, run func(context.Context) error) {
	k.spawn(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			k.failed <- err
		}
	})
}

// measure learns what the machine is and has.
func (k *kubelet) measure() error {
	var err error
	if k.hierarchy, err = cgroup.Discover(); err != nil {
		return err
	}
	if !k.hierarchy.Unified && *k.kc.FailCgroupV1 {
		return errors.New("kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is in maintenance mode: set failCgroupV1 to false to use it all the same")
	}
	if err := makeRoot(k.config.RootDir); err != nil {
		return err
	}
	if k.capacity, err = node.Capacity(k.hierarchy, k.config.RootDir, int64(k.kc.MaxPods)); err != nil {
		return err
	}
	reservation, err := reservationOf(k.kc, k.capacity)
	if err != nil {
		return err
	}
	k.allocatable = node.Allocatable(k.capacity, reservation)
	if len(k.config.NodeIPs) == 0 {
		ip, err := node.FindIP()
		if err != nil {
			return err
		}
		k.config.NodeIPs = []net.IP{ip}
	}
	return nil
}

// connect makes the client of the API server, if there is one.
func (k *kubelet) connect(ctx context.Context) error {
	if k.config.Kubeconfig == "" {
		k.events = events.New(ctx, nil, k.config.NodeName)
		return nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", k.config.Kubeconfig)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	config.QPS = -1
	config.ContentType = k.kc.ContentType
	config.AcceptContentTypes = k.kc.ContentType + ",application/json"
	config.UserAgent = "kubelet/" + node.Version() + " (" + goruntime.GOOS + "/" + goruntime.GOARCH + ")"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	k.client = client
	k.events = events.New(ctx, client, k.config.NodeName)
	return nil
}

// registerNode begins to keep the Node object.
func (k *kubelet) registerNode(ctx context.Context) {
	k.pressure = &pressure{}
	k.services = &services{known: make(chan struct{})}
	if k.client == nil {
		k.services.set(nil)
		return
	}
	k.keeper = node.New(node.Config{
		Name: k.config.NodeName, Client: k.client, IPs: k.config.NodeIPs,
		Labels: k.config.NodeLabels, Taints: k.config.Taints,
		ProviderID: k.kc.ProviderID, Register: *k.kc.RegisterNode, Port: k.kc.Port,
		Capacity: k.capacity, Allocatable: k.allocatable, MaxImages: int(*k.kc.NodeStatusMaxImages),
		UpdateEvery: k.kc.NodeStatusUpdateFrequency.Duration, ReportEvery: k.kc.NodeStatusReportFrequency.Duration,
		LeaseSeconds: k.kc.NodeLeaseDurationSeconds,
		Pressure:     k.pressure.is,
		Event:        k.events.Node,
	})
	k.spawn(func() { k.keeper.Run(ctx) })
	k.onceRegistered(ctx, func() { watchNode(ctx, k.client, k.config.NodeName, k.keeper) })
	k.onceRegistered(ctx, func() { watchServices(ctx, k.client, k.services) })
}

// onceRegistered runs something when the API server is known to answer: a watch that
// fails because it does not answer yet would pause for most of a second.
func (k *kubelet) onceRegistered(ctx context.Context, run func()) {
	k.spawn(func() {
		select {
		case <-k.keeper.Registered():
			run()
		case <-ctx.Done():
		}
	})
}

// assemble puts the rooms together and lets them run.
func (k *kubelet) assemble(ctx context.Context) error {
	version, err := k.cri.Runtime.Version(ctx, "")
	if err != nil {
		return fmt.Errorf("ask the container runtime for its version: %w", err)
	}
	groups := cgroup.NewPods(cgroup.PodsConfig{
		Hierarchy: k.hierarchy, Root: k.kc.CgroupRoot, PerQOS: *k.kc.CgroupsPerQOS,
		CFSQuota: *k.kc.CPUCFSQuota, CFSPeriodMicros: k.kc.CPUCFSQuotaPeriod.Microseconds(), PIDsPerPod: *k.kc.PodPidsLimit,
	})
	if err := groups.Init(k.podLimits()); err != nil {
		return fmt.Errorf("make the pods' cgroups below %s: %w", groups.Top(), err)
	}
	wake := func(uid types.UID) { k.pods.Wake(uid) }
	refresh := func(uid types.UID) { k.pods.Refresh(uid) }
	k.observer = runtime.NewObserver(k.cri.Runtime, wake)

	var objects *objectcache.Cache
	var mirrors *podsource.Mirrors
	apiPod := func(pod *v1.Pod) *v1.Pod { return pod }
	volumes := volume.Config{
		Root: k.config.RootDir, Addresses: k.addressesOf,
		Allocatable: k.offered, Due: refresh,
	}
	var statuses *status.Manager
	if k.client != nil {
		objects = objectcache.New(k.client, func(_ objectcache.Ref, pods []types.UID) {
			for _, uid := range pods {
				refresh(uid)
			}
		})
		mirrors = podsource.NewMirrors(k.client, k.keeper.Node, func(static types.UID) {
			// What was to be told before the mirror was there has reached nobody.
			statuses.Resend(static)
			wake(static)
		})
		apiPod = func(pod *v1.Pod) *v1.Pod {
			if podsource.IsStatic(pod) {
				return mirrors.Of(pod)
			}
			return pod
		}
		volumes.Client, volumes.Objects, volumes.Tokens = k.client, objects, token.NewSource(k.client)
		volumes.Bundles = trustbundle.New(ctx, k.client, refresh)
		volumes.Certificates = podcertificate.New(ctx, podcertificate.Config{
			Client: k.client, Node: k.keeper.Node, Changed: refresh,
			Event: func(pod *v1.Pod, eventType, reason, message string) {
				k.events.Container(pod, "", eventType, reason, message)
			},
		})
	}
	statuses = status.NewManager(ctx, k.client, apiPod)
	volumeManager := volume.New(volumes)
	users, err := userns.New(userns.Config{Pods: filepath.Join(k.config.RootDir, "pods"), IDsPerPod: uint32(*k.kc.UserNamespaces.IDsPerPod), MaxPods: int(k.kc.MaxPods)})
	if err != nil {
		return err
	}
	config := worker.Config{
		Runtime: k.cri.Runtime, Observer: k.observer, Builder: k.builder(), Cgroups: groups,
		Images:  image.New(image.Config{Service: k.cri.Images, Record: k.events.Container, Parallel: k.parallelPulls()}),
		Volumes: volumeManager, Ledger: &allocation.Ledger{PodDir: volumeManager.PodDir}, Users: users,
		Probes: probe.New(probe.Config{
			Exec: k.cri.Runtime, Changed: wake,
			Unhealthy: func(t probe.Target, message string) {
				k.events.Container(t.Pod, t.Container.Name, v1.EventTypeWarning, "Unhealthy", message)
			},
			Warned: func(t probe.Target, message string) {
				k.events.Container(t.Pod, t.Container.Name, v1.EventTypeWarning, "ProbeWarning", message)
			},
		}),
		Status: statuses,
		DNS:    k.dns(), ClusterDomain: k.kc.ClusterDomain,
		Client: k.client, Objects: objects, Mirrors: mirrors,
		Event:          k.events.Container,
		Working:        k.events.Working,
		Services:       k.services.list,
		HostIPs:        func() []net.IP { return k.config.NodeIPs },
		Allocatable:    k.offered,
		Sources:        k.sources(),
		RuntimeName:    version.RuntimeName,
		LongestBackOff: k.kc.CrashLoopBackOff.MaxContainerRestartPeriod.Duration,
	}
	if k.keeper != nil {
		config.NetworkReady = k.keeper.NetworkReady
		config.RecursiveReadOnly = k.keeper.RecursiveReadOnly
		config.UserNamespaces = k.keeper.UserNamespaces
	}
	gate := &admission.Gate{
		Node: k.currentNode, Allocatable: config.Allocatable,
		UnsafeSysctls: k.kc.AllowedUnsafeSysctls, UnderPressure: k.pressure.admit,
	}
	config.Admit, config.Resize = gate.Admit, gate.Resize
	k.pods = worker.NewManager(ctx, config)

	k.background(ctx, k.observer.Run)
	k.spawn(func() { k.pods.Run(ctx) })
	if mirrors != nil {
		k.spawn(func() { mirrors.Run(ctx) })
	}
	k.startSources(ctx)
	if err := k.startStats(ctx); err != nil {
		return err
	}
	k.background(ctx, k.serve)
	return nil
}

func (k *kubelet) builder() *runtime.Builder {
	memory := k.capacity[v1.ResourceMemory]
	return &runtime.Builder{
		LogsDir: k.kc.PodLogsDir, SeccompDir: filepath.Join(k.config.RootDir, "seccomp"), SeccompDefault: *k.kc.SeccompDefault,
		SandboxProfile: sandboxProfile(k.config.RootDir),
		CFSQuota:       *k.kc.CPUCFSQuota, CFSPeriodMicros: k.kc.CPUCFSQuotaPeriod.Microseconds(),
		MemoryCapacity: memory.Value(), Unified: k.hierarchy.Unified,
		SingleProcessOOMKill: k.kc.SingleProcessOOMKill != nil && *k.kc.SingleProcessOOMKill,
	}
}

func (k *kubelet) dns() *podnetwork.DNS {
	dns := &podnetwork.DNS{
		Domain: k.kc.ClusterDomain, HostConfig: *k.kc.ResolverConfig,
		Warn: func(pod *v1.Pod, reason, message string) {
			k.events.Container(pod, "", v1.EventTypeWarning, reason, message)
		},
	}
	for _, text := range k.kc.ClusterDNS {
		dns.Servers = append(dns.Servers, net.ParseIP(text))
	}
	return dns
}

// podLimits hold all pods together to what the node can allocate, where that is enforced.
func (k *kubelet) podLimits() cgroup.Limits {
	for _, what := range k.kc.EnforceNodeAllocatable {
		if what == "pods" {
			memory, cpu := k.capacity[v1.ResourceMemory], k.allocatable[v1.ResourceCPU]
			// Reservations hold the pods back, the eviction threshold does not: the
			// kubelet must see memory run short before the kernel kills.
			reserved, err := reservationOf(k.kc, k.capacity)
			if err == nil {
				reserved.Eviction = nil
				enforced := node.Allocatable(k.capacity, reserved)
				memory = enforced[v1.ResourceMemory]
			}
			return cgroup.Limits{Memory: memory.Value(), CPUShares: uint64(max(cpu.MilliValue()*1024/1000, 2))}
		}
	}
	return cgroup.Limits{}
}

func (k *kubelet) parallelPulls() int {
	switch {
	case *k.kc.SerializeImagePulls:
		return 1
	case k.kc.MaxParallelImagePulls != nil:
		return int(*k.kc.MaxParallelImagePulls)
	}
	return 0
}

func (k *kubelet) currentNode() *v1.Node {
	if k.keeper == nil {
		return nil
	}
	return k.keeper.Node()
}

// offered is what the node has for pods: its own, and the extended resources that somebody
// else has given it.
func (k *kubelet) offered() v1.ResourceList {
	all := maps.Clone(k.allocatable)
	if n := k.currentNode(); n != nil {
		maps.Copy(all, node.Extended(n.Status.Capacity))
	}
	return all
}

func (k *kubelet) addressesOf(pod *v1.Pod) environment.Addresses {
	var out environment.Addresses
	for _, ip := range k.config.NodeIPs {
		out.Host = append(out.Host, ip.String())
	}
	if pod.Spec.HostNetwork {
		out.Pod = out.Host
	} else if sandbox := k.observer.Get(pod.UID).Sandbox(); sandbox != nil {
		out.Pod = sandbox.IPs()
	}
	return out
}

func (k *kubelet) sources() []string {
	var out []string
	if k.client != nil {
		out = append(out, podsource.API)
	}
	if k.kc.StaticPodPath != "" {
		out = append(out, podsource.File)
	}
	if k.kc.StaticPodURL != "" {
		out = append(out, podsource.HTTP)
	}
	return out
}

func (k *kubelet) startSources(ctx context.Context) {
	name := k.config.NodeName
	if k.client != nil {
		k.onceRegistered(ctx, func() { podsource.FromAPI(ctx, k.client, name, k.pods) })
	}
	if path := k.kc.StaticPodPath; path != "" {
		k.background(ctx, func(ctx context.Context) error {
			return podsource.FromFiles(ctx, path, name, k.kc.FileCheckFrequency.Duration, k.pods)
		})
	}
	if url := k.kc.StaticPodURL; url != "" {
		k.spawn(func() {
			podsource.FromURL(ctx, url, http.Header(k.kc.StaticPodURLHeader), name, k.kc.HTTPCheckFrequency.Duration, k.pods)
		})
	}
}

// startStats measures the node and its pods, and relieves the node when it runs
// short of something.
func (k *kubelet) startStats(ctx context.Context) error {
	k.stats = &stats.Provider{
		NodeName: k.config.NodeName, Runtime: k.cri.Runtime, Images: k.cri.Images,
		RootDir: k.config.RootDir, LogDir: k.kc.PodLogsDir, Pods: k.pods.Pods,
	}
	collector := image.NewCollector(image.CollectorConfig{
		Images: k.cri.Images, Runtime: k.cri.Runtime,
		High: int(*k.kc.ImageGCHighThresholdPercent), Low: int(*k.kc.ImageGCLowThresholdPercent),
		MinAge: k.kc.ImageMinimumGCAge.Duration, MaxAge: k.kc.ImageMaximumGCAge.Duration,
		Disk: k.imageDisk, Mounted: k.mountedImages,
		Warn: func(reason, message string) { k.events.Node(v1.EventTypeWarning, reason, message) },
	})
	k.spawn(func() { collector.Run(ctx) })

	size, err := resource.ParseQuantity(k.kc.ContainerLogMaxSize)
	if err != nil {
		return fmt.Errorf("containerLogMaxSize: %q: %w", k.kc.ContainerLogMaxSize, err)
	}
	rotator := &containerlog.Rotator{
		MaxSize: size.Value(), MaxFiles: int(*k.kc.ContainerLogMaxFiles), Every: k.kc.ContainerLogMonitorInterval.Duration,
		Pods: k.observer.List, Reopen: k.cri.Runtime.ReopenContainerLog,
	}
	k.spawn(func() { rotator.Run(ctx) })
	return k.startEviction(ctx, collector)
}

// mountedImages are those that pods have as volumes.
func (k *kubelet) mountedImages() []string {
	var out []string
	for _, pod := range k.pods.Active() {
		for _, v := range pod.Spec.Volumes {
			if v.Image != nil {
				out = append(out, v.Image.Reference)
			}
		}
	}
	return out
}

// imageDisk measures the file system that the images are on.
func (k *kubelet) imageDisk(ctx context.Context) (used, capacity uint64, err error) {
	figures, err := k.stats.Node(ctx)
	if err != nil {
		return 0, 0, err
	}
	fs := figures.Fs
	if figures.Runtime != nil && figures.Runtime.ImageFs != nil {
		fs = figures.Runtime.ImageFs
	}
	if fs == nil || fs.CapacityBytes == nil || fs.AvailableBytes == nil {
		return 0, 0, errors.New("the image file system was not measured")
	}
	return *fs.CapacityBytes - *fs.AvailableBytes, *fs.CapacityBytes, nil
}
