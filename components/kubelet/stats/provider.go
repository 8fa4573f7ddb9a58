package stats

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Provider measures the node and its pods. Safe for concurrent use.
type Provider struct {
	// NodeName is the node's name, for the summary.
	NodeName string
	Machine  Machine
	// Runtime and Images are the container runtime.
	Runtime internalapi.RuntimeService
	Images  internalapi.ImageManagerService
	// RootDir is where the kubelet keeps pods' volumes, LogDir where pods' logs are.
	RootDir string
	LogDir  string
	// Pods returns the pods that the node runs.
	Pods func() []*corev1.Pod

	mu       sync.Mutex
	lastCPU  cpuSample
	imageDir string
	started  metav1.Time
}

// cpuSample is the machine's processor time at an instant.
type cpuSample struct {
	at   time.Time
	used uint64
	rate uint64 // in nanoseconds a second, over the time since the sample before
}

// rateWindow is the least time between the two samples that a rate is made of.
const rateWindow = time.Second

// Node measures the node alone; it reads a handful of files and asks nobody.
func (p *Provider) Node(ctx context.Context) (statsapi.NodeStats, error) {
	node := statsapi.NodeStats{NodeName: p.NodeName}
	var errs []error
	var err error
	if node.Memory, err = p.Machine.Memory(); err != nil {
		errs = append(errs, err)
	}
	if node.CPU, err = p.cpu(); err != nil {
		errs = append(errs, err)
	}
	if node.Rlimit, err = p.Machine.Processes(); err != nil {
		errs = append(errs, err)
	}
	if node.Network, err = p.Machine.Network(); err != nil {
		errs = append(errs, err)
	}
	if node.Fs, err = Filesystem(p.RootDir); err != nil {
		errs = append(errs, err)
	}
	if images, err := p.imageFilesystem(ctx); err != nil {
		errs = append(errs, err)
	} else {
		node.Runtime = &statsapi.RuntimeStats{ImageFs: images, ContainerFs: images}
	}
	p.mu.Lock()
	if p.started.IsZero() {
		p.started = metav1.NewTime(time.Now())
	}
	node.StartTime = p.started
	p.mu.Unlock()
	return node, errors.Join(errs...)
}

func (p *Provider) cpu() (*statsapi.CPUStats, error) {
	used, err := p.Machine.cpuTime()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if passed := now.Sub(p.lastCPU.at); passed >= rateWindow {
		rate := uint64(0)
		if !p.lastCPU.at.IsZero() {
			rate = uint64(float64(used-min(used, p.lastCPU.used)) / passed.Seconds())
		}
		p.lastCPU = cpuSample{at: now, used: used, rate: rate}
	}
	rate := p.lastCPU.rate
	return &statsapi.CPUStats{Time: metav1.NewTime(now), UsageNanoCores: &rate, UsageCoreNanoSeconds: &used}, nil
}

// imageFilesystem measures where the runtime keeps images and containers. Where that
// is does not change, so the runtime is asked once.
func (p *Provider) imageFilesystem(ctx context.Context) (*statsapi.FsStats, error) {
	p.mu.Lock()
	dir := p.imageDir
	p.mu.Unlock()
	if dir == "" {
		info, err := p.Images.ImageFsInfo(ctx)
		if err != nil {
			return nil, err
		}
		for _, fs := range info.ImageFilesystems {
			if fs.FsId != nil {
				dir = fs.FsId.Mountpoint
				break
			}
		}
		if dir == "" {
			return nil, errors.New("the container runtime names no file system for its images")
		}
		p.mu.Lock()
		p.imageDir = dir
		p.mu.Unlock()
	}
	return Filesystem(dir)
}

// Summary measures the node and all pods.
func (p *Provider) Summary(ctx context.Context) (*statsapi.Summary, error) {
	node, err := p.Node(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := p.PodStats(ctx)
	if err != nil {
		return nil, err
	}
	return &statsapi.Summary{Node: node, Pods: pods}, nil
}

// PodStats measures all pods.
func (p *Provider) PodStats(ctx context.Context) ([]statsapi.PodStats, error) {
	sandboxes, err := p.Runtime.ListPodSandboxStats(ctx, &runtimeapi.PodSandboxStatsFilter{})
	if err != nil {
		return nil, err
	}
	// Of a pod that was started anew there may be several sandboxes; the youngest is it.
	youngest := map[types.UID]*runtimeapi.PodSandboxStats{}
	for _, sandbox := range sandboxes {
		if sandbox.Attributes == nil || sandbox.Attributes.Metadata == nil || sandbox.Linux == nil {
			continue
		}
		uid := types.UID(sandbox.Attributes.Metadata.Uid)
		if old := youngest[uid]; old == nil || old.Attributes.Metadata.Attempt < sandbox.Attributes.Metadata.Attempt {
			youngest[uid] = sandbox
		}
	}
	var all []statsapi.PodStats
	for _, pod := range p.Pods() {
		all = append(all, p.podStats(pod, youngest[uidAtRuntime(pod)]))
	}
	return all, nil
}

// hashAnnotation holds a static pod's own UID; its mirror in the API has another.
const hashAnnotation = "kubernetes.io/config.hash"

func uidAtRuntime(pod *corev1.Pod) types.UID {
	if own := pod.Annotations[hashAnnotation]; own != "" {
		return types.UID(own)
	}
	return pod.UID
}

func (p *Provider) podStats(pod *corev1.Pod, sandbox *runtimeapi.PodSandboxStats) statsapi.PodStats {
	stats := statsapi.PodStats{
		PodRef:     statsapi.PodReference{Name: pod.Name, Namespace: pod.Namespace, UID: string(pod.UID)},
		Containers: []statsapi.ContainerStats{},
	}
	if pod.Status.StartTime != nil {
		stats.StartTime = *pod.Status.StartTime
	}
	storage := &folder{}
	p.volumes(pod, &stats, storage)
	uid := uidAtRuntime(pod)
	logs := filepath.Join(p.LogDir, pod.Namespace+"_"+pod.Name+"_"+string(uid))
	_ = storage.add(logs)
	if sandbox != nil {
		linux := sandbox.Linux
		stats.CPU, stats.Memory = cpuOf(linux.Cpu), memoryOf(linux.Memory)
		stats.Network = networkOf(linux.Network)
		if linux.Process != nil && linux.Process.ProcessCount != nil {
			stats.ProcessStats = &statsapi.ProcessStats{ProcessCount: &linux.Process.ProcessCount.Value}
		}
		for _, container := range linux.Containers {
			c := containerOf(container, logs)
			if c.Rootfs != nil && c.Rootfs.UsedBytes != nil {
				storage.bytes += *c.Rootfs.UsedBytes
				if c.Rootfs.InodesUsed != nil {
					storage.inodes += *c.Rootfs.InodesUsed
				}
			}
			stats.Containers = append(stats.Containers, c)
		}
	}
	used := storage.stats()
	stats.EphemeralStorage = &used
	return stats
}

// volumes measures the pod's own volumes, and adds to storage those that are on the
// node's disk and go with the pod.
func (p *Provider) volumes(pod *corev1.Pod, stats *statsapi.PodStats, storage *folder) {
	dirs := map[string]bool{ // by plugin directory: does the content count as the pod's?
		"kubernetes.io~empty-dir": true, "kubernetes.io~configmap": true, "kubernetes.io~downward-api": true,
		"kubernetes.io~secret": false, "kubernetes.io~projected": false,
	}
	for _, volume := range pod.Spec.Volumes {
		for plugin, counts := range dirs {
			path := filepath.Join(p.RootDir, "pods", string(uidAtRuntime(pod)), "volumes", plugin, volume.Name)
			content := &folder{}
			if err := content.add(path); err != nil || content.inodes == 0 {
				continue
			}
			used := content.stats()
			if fs, err := Filesystem(path); err == nil {
				used.AvailableBytes, used.CapacityBytes = fs.AvailableBytes, fs.CapacityBytes
				used.Inodes, used.InodesFree = fs.Inodes, fs.InodesFree
			}
			stats.VolumeStats = append(stats.VolumeStats, statsapi.VolumeStats{Name: volume.Name, FsStats: used})
			if counts && (volume.EmptyDir == nil || volume.EmptyDir.Medium == corev1.StorageMediumDefault) {
				storage.bytes += content.bytes
				storage.inodes += content.inodes
			}
		}
	}
}

func containerOf(container *runtimeapi.ContainerStats, logs string) statsapi.ContainerStats {
	stats := statsapi.ContainerStats{CPU: cpuOf(container.Cpu), Memory: memoryOf(container.Memory)}
	if a := container.Attributes; a != nil && a.Metadata != nil {
		stats.Name = a.Metadata.Name
	}
	if layer := container.WritableLayer; layer != nil {
		stats.Rootfs = &statsapi.FsStats{Time: at(layer.Timestamp), UsedBytes: number(layer.UsedBytes), InodesUsed: number(layer.InodesUsed)}
	}
	content := &folder{}
	if err := content.add(filepath.Join(logs, stats.Name)); err == nil {
		used := content.stats()
		stats.Logs = &used
	}
	return stats
}

func at(nanoseconds int64) metav1.Time { return metav1.NewTime(time.Unix(0, nanoseconds)) }

func number(value *runtimeapi.UInt64Value) *uint64 {
	if value == nil {
		return nil
	}
	return &value.Value
}

func cpuOf(usage *runtimeapi.CpuUsage) *statsapi.CPUStats {
	if usage == nil {
		return nil
	}
	return &statsapi.CPUStats{
		Time: at(usage.Timestamp), UsageNanoCores: number(usage.UsageNanoCores), UsageCoreNanoSeconds: number(usage.UsageCoreNanoSeconds),
	}
}

func memoryOf(usage *runtimeapi.MemoryUsage) *statsapi.MemoryStats {
	if usage == nil {
		return nil
	}
	return &statsapi.MemoryStats{
		Time: at(usage.Timestamp), AvailableBytes: number(usage.AvailableBytes), UsageBytes: number(usage.UsageBytes),
		WorkingSetBytes: number(usage.WorkingSetBytes), RSSBytes: number(usage.RssBytes),
		PageFaults: number(usage.PageFaults), MajorPageFaults: number(usage.MajorPageFaults),
	}
}

func networkOf(usage *runtimeapi.NetworkUsage) *statsapi.NetworkStats {
	if usage == nil {
		return nil
	}
	link := func(i *runtimeapi.NetworkInterfaceUsage) statsapi.InterfaceStats {
		return statsapi.InterfaceStats{
			Name: i.Name, RxBytes: number(i.RxBytes), RxErrors: number(i.RxErrors), TxBytes: number(i.TxBytes), TxErrors: number(i.TxErrors),
		}
	}
	stats := &statsapi.NetworkStats{Time: at(usage.Timestamp)}
	if usage.DefaultInterface != nil {
		stats.InterfaceStats = link(usage.DefaultInterface)
		stats.Interfaces = append(stats.Interfaces, stats.InterfaceStats)
	}
	for _, i := range usage.Interfaces {
		stats.Interfaces = append(stats.Interfaces, link(i))
	}
	return stats
}
