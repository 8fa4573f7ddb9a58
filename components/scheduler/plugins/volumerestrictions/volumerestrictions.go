// Package volumerestrictions is the VolumeRestrictions plugin: a claim of access mode ReadWriteOncePod belongs to one
// pod of the cluster, and a disk named in a pod's spec to one pod of a node unless all of them only read it.
package volumerestrictions

import (
	"context"
	"slices"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
)

// Name of the plugin.
const Name = "VolumeRestrictions"

// Reasons given for a rejected node.
const (
	DiskReason    = "node(s) had no available disk"
	OncePodReason = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
)

const stateKey fwk.StateKey = "PreFilter" + Name

// VolumeRestrictions filters by who else uses a pod's volumes.
type VolumeRestrictions struct {
	claims   corelisters.PersistentVolumeClaimLister
	snapshot fwk.SharedLister
}

var (
	_ fwk.PreFilterPlugin     = &VolumeRestrictions{}
	_ fwk.PreFilterExtensions = &VolumeRestrictions{}
	_ fwk.FilterPlugin        = &VolumeRestrictions{}
	_ fwk.EnqueueExtensions   = &VolumeRestrictions{}
)

// New makes the plugin.
func New(_ context.Context, _ runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	return &VolumeRestrictions{
		claims:   handle.SharedInformerFactory().Core().V1().PersistentVolumeClaims().Lister(),
		snapshot: handle.SnapshotSharedLister(),
	}, nil
}

// Name returns the plugin's name.
func (*VolumeRestrictions) Name() string { return Name }

// prepared is what PreFilter finds out.
type prepared struct {
	// exclusive are the claims of the pod that it must not share.
	exclusive []string
	// users counts how often scheduled pods use them.
	users int
}

// Clone copies the count; the names do not change.
func (p *prepared) Clone() fwk.StateData {
	clone := *p
	return &clone
}

// PreFilter looks for users of the claims that the pod must not share.
func (r *VolumeRestrictions) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	exclusive, err := r.exclusive(pod)
	if apierrors.IsNotFound(err) {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, err.Error())
	}
	if err != nil {
		return nil, fwk.AsStatus(err)
	}
	p := &prepared{exclusive: exclusive}
	for _, name := range exclusive {
		if r.snapshot.StorageInfos().IsPVCUsedByPods(pod.Namespace + "/" + name) {
			p.users++
		}
	}
	if p.users == 0 && !slices.ContainsFunc(pod.Spec.Volumes, namesDisk) {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	state.Write(stateKey, p)
	return nil, nil
}

func (r *VolumeRestrictions) exclusive(pod *v1.Pod) ([]string, error) {
	var names []string
	for i := range pod.Spec.Volumes {
		source := pod.Spec.Volumes[i].PersistentVolumeClaim
		if source == nil {
			continue
		}
		claim, err := r.claims.PersistentVolumeClaims(pod.Namespace).Get(source.ClaimName)
		if err != nil {
			return nil, err
		}
		if slices.Contains(claim.Spec.AccessModes, v1.ReadWriteOncePod) && !slices.Contains(names, claim.Name) {
			names = append(names, claim.Name)
		}
	}
	return names, nil
}

// PreFilterExtensions counts pods that come and go.
func (r *VolumeRestrictions) PreFilterExtensions() fwk.PreFilterExtensions { return r }

// AddPod counts one more pod.
func (*VolumeRestrictions) AddPod(_ context.Context, state fwk.CycleState, pod *v1.Pod, added fwk.PodInfo, _ fwk.NodeInfo) *fwk.Status {
	return count(state, pod, added, 1)
}

// RemovePod counts one pod less.
func (*VolumeRestrictions) RemovePod(_ context.Context, state fwk.CycleState, pod *v1.Pod, removed fwk.PodInfo, _ fwk.NodeInfo) *fwk.Status {
	return count(state, pod, removed, -1)
}

func count(state fwk.CycleState, pod *v1.Pod, other fwk.PodInfo, step int) *fwk.Status {
	data, err := state.Read(stateKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	p := data.(*prepared)
	if other.GetPod().Namespace != pod.Namespace {
		return nil
	}
	for i := range other.GetPod().Spec.Volumes {
		if source := other.GetPod().Spec.Volumes[i].PersistentVolumeClaim; source != nil && slices.Contains(p.exclusive, source.ClaimName) {
			p.users += step
		}
	}
	return nil
}

// Filter rejects nodes whose pods use the same disks, and every node while a claim is another pod's.
func (*VolumeRestrictions) Filter(_ context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	for _, other := range node.GetPods() {
		if shareDisk(pod, other.GetPod()) {
			return fwk.NewStatus(fwk.Unschedulable, DiskReason)
		}
	}
	data, err := state.Read(stateKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	if data.(*prepared).users > 0 {
		return fwk.NewStatus(fwk.Unschedulable, OncePodReason)
	}
	return nil
}

// namesDisk says whether a volume is a disk that a node cannot give to two pods.
func namesDisk(volume v1.Volume) bool {
	return volume.GCEPersistentDisk != nil || volume.AWSElasticBlockStore != nil || volume.RBD != nil || volume.ISCSI != nil
}

func shareDisk(pod, other *v1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if !namesDisk(pod.Spec.Volumes[i]) {
			continue
		}
		for j := range other.Spec.Volumes {
			if sameDisk(&pod.Spec.Volumes[i], &other.Spec.Volumes[j]) {
				return true
			}
		}
	}
	return false
}

// sameDisk says whether two volumes are one disk that at least one of them writes to. One of AWS cannot be shared at all.
func sameDisk(a, b *v1.Volume) bool {
	switch {
	case a.GCEPersistentDisk != nil && b.GCEPersistentDisk != nil:
		x, y := a.GCEPersistentDisk, b.GCEPersistentDisk
		return x.PDName == y.PDName && (!x.ReadOnly || !y.ReadOnly)
	case a.AWSElasticBlockStore != nil && b.AWSElasticBlockStore != nil:
		return a.AWSElasticBlockStore.VolumeID == b.AWSElasticBlockStore.VolumeID
	case a.ISCSI != nil && b.ISCSI != nil:
		return a.ISCSI.IQN == b.ISCSI.IQN && (!a.ISCSI.ReadOnly || !b.ISCSI.ReadOnly)
	case a.RBD != nil && b.RBD != nil:
		x, y := a.RBD, b.RBD
		common := slices.ContainsFunc(x.CephMonitors, func(monitor string) bool { return slices.Contains(y.CephMonitors, monitor) })
		return common && x.RBDPool == y.RBDPool && x.RBDImage == y.RBDImage && (!x.ReadOnly || !y.ReadOnly)
	}
	return false
}

// EventsToRegister waits for a user of the volume to go, a node to come, or a claim to be made.
func (*VolumeRestrictions) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.AssignedPod, fwk.Delete), QueueingHintFn: podDeleted},
		{Event: clusterevent.Event(fwk.Node, fwk.Add)},
		{Event: clusterevent.Event(fwk.PersistentVolumeClaim, fwk.Add), QueueingHintFn: claimAdded},
	}, nil
}

func podDeleted(_ klog.Logger, pod *v1.Pod, older, _ any) (fwk.QueueingHint, error) {
	gone, _, err := clusterevent.Objects[*v1.Pod](older, nil)
	if err != nil {
		return fwk.Queue, err
	}
	if gone.Namespace == pod.Namespace && (shareDisk(pod, gone) || shareClaim(pod, gone)) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

func shareClaim(pod, other *v1.Pod) bool {
	return slices.ContainsFunc(other.Spec.Volumes, func(volume v1.Volume) bool {
		return volume.PersistentVolumeClaim != nil && mounts(pod, volume.PersistentVolumeClaim.ClaimName)
	})
}

func mounts(pod *v1.Pod, claim string) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(volume v1.Volume) bool {
		return volume.PersistentVolumeClaim != nil && volume.PersistentVolumeClaim.ClaimName == claim
	})
}

func claimAdded(_ klog.Logger, pod *v1.Pod, _, newer any) (fwk.QueueingHint, error) {
	_, claim, err := clusterevent.Objects[*v1.PersistentVolumeClaim](nil, newer)
	if err != nil || claim.Namespace == pod.Namespace && mounts(pod, claim.Name) {
		return fwk.Queue, err
	}
	return fwk.QueueSkip, nil
}
