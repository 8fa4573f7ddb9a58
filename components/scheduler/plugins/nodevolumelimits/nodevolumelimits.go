// Package nodevolumelimits is the NodeVolumeLimits plugin: a node takes only as many volumes of a CSI driver as the
// driver says in the node's CSINode.
// https://kubernetes.io/docs/concepts/storage/storage-limits/
package nodevolumelimits

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/podclaims"
)

// Name of the plugin.
const Name = "NodeVolumeLimits"

// Reason given for a rejected node.
const Reason = "node(s) exceed max volume count"

const (
	stateKey fwk.StateKey = "PreFilter" + Name
	// byNode is the index of attachments by node.
	byNode = "nodeVolumeLimitsByNode"
)

// NodeVolumeLimits filters by how many volumes a node can have attached.
type NodeVolumeLimits struct {
	nodes       storagelisters.CSINodeLister
	drivers     storagelisters.CSIDriverLister
	volumes     corelisters.PersistentVolumeLister
	claims      corelisters.PersistentVolumeClaimLister
	classes     storagelisters.StorageClassLister
	attachments cache.Indexer
}

var (
	_ fwk.PreFilterPlugin   = &NodeVolumeLimits{}
	_ fwk.FilterPlugin      = &NodeVolumeLimits{}
	_ fwk.EnqueueExtensions = &NodeVolumeLimits{}
)

// New makes the plugin.
func New(_ context.Context, _ runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	core, storage := handle.SharedInformerFactory().Core().V1(), handle.SharedInformerFactory().Storage().V1()
	attachments := storage.VolumeAttachments().Informer()
	if _, there := attachments.GetIndexer().GetIndexers()[byNode]; !there {
		if err := attachments.AddIndexers(cache.Indexers{byNode: nodeOf}); err != nil {
			return nil, err
		}
	}
	return &NodeVolumeLimits{
		nodes:       storage.CSINodes().Lister(),
		drivers:     storage.CSIDrivers().Lister(),
		volumes:     core.PersistentVolumes().Lister(),
		claims:      core.PersistentVolumeClaims().Lister(),
		classes:     storage.StorageClasses().Lister(),
		attachments: attachments.GetIndexer(),
	}, nil
}

func nodeOf(obj any) ([]string, error) {
	if attachment, ok := obj.(*storagev1.VolumeAttachment); ok {
		return []string{attachment.Spec.NodeName}, nil
	}
	return nil, nil
}

// Name returns the plugin's name.
func (*NodeVolumeLimits) Name() string { return Name }

// disk is a volume as its driver knows it. One that is yet to be provisioned goes by its claim.
type disk struct{ driver, handle string }

type disks map[disk]struct{}

// wanted are the pod's own volumes, or why they are not known.
type wanted struct {
	disks disks
	err   error
}

// Clone returns the value itself: it does not change.
func (w *wanted) Clone() fwk.StateData { return w }

// PreFilter collects the pod's volumes. That one cannot be found is left to Filter to say, which comes after all plugins
// that can say more of it.
func (l *NodeVolumeLimits) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	if len(podclaims.Of(pod)) == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	w := &wanted{disks: disks{}}
	if w.err = l.collect(pod, true, w.disks); w.err == nil && len(w.disks) == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	state.Write(stateKey, w)
	return nil, nil
}

// PreFilterExtensions is nil: Filter reads the node's pods itself.
func (*NodeVolumeLimits) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter rejects nodes that a driver needs to be on and is not, and those with no room for the pod's volumes.
func (l *NodeVolumeLimits) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	data, err := state.Read(stateKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	w := data.(*wanted)
	if apierrors.IsNotFound(w.err) {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, w.err.Error())
	} else if w.err != nil {
		return fwk.AsStatus(w.err)
	}
	csiNode, err := l.nodes.Get(node.Node().Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return fwk.AsStatus(err)
	}
	if missing, err := l.missingDriver(w.disks, csiNode); err != nil {
		return fwk.AsStatus(err)
	} else if missing != "" {
		return fwk.NewStatus(fwk.Unschedulable, missing+" CSI driver is not installed on the node")
	}
	limits := limitsOf(csiNode)
	if len(limits) == 0 {
		return nil
	}
	attached := disks{}
	for _, other := range node.GetPods() {
		if err := l.collect(other.GetPod(), false, attached); err != nil {
			return fwk.AsStatus(err)
		}
	}
	if err := l.collectAttachments(node.Node().Name, attached); err != nil {
		return fwk.AsStatus(err)
	}
	for driver, limit := range limits {
		used, more := tally(attached, w.disks, driver)
		if more > 0 && used+more > int(limit) {
			return fwk.NewStatus(fwk.Unschedulable, Reason)
		}
	}
	return nil
}

// tally counts a driver's volumes that are attached, and those of the wanted that would be new.
func tally(attached, wanted disks, driver string) (used, more int) {
	for d := range attached {
		if d.driver == driver {
			used++
		}
	}
	for d := range wanted {
		if _, there := attached[d]; !there && d.driver == driver {
			more++
		}
	}
	return used, more
}

// collect adds the pod's volumes. Of a pod that runs already, what cannot be found does not count.
func (l *NodeVolumeLimits) collect(pod *v1.Pod, waiting bool, into disks) error {
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		var name string
		switch {
		case volume.PersistentVolumeClaim != nil:
			name = volume.PersistentVolumeClaim.ClaimName
		case volume.Ephemeral != nil:
			name = ephemeral.VolumeClaimName(pod, volume)
		default:
			continue
		}
		claim, err := l.claims.PersistentVolumeClaims(pod.Namespace).Get(name)
		if err != nil {
			if waiting {
				return fmt.Errorf("looking up PVC %s/%s: %w", pod.Namespace, name, err)
			}
			continue
		}
		if volume.Ephemeral != nil {
			if err := ephemeral.VolumeIsForPod(pod, claim); err != nil {
				return err
			}
		}
		if d, found := l.diskOf(claim); found {
			into[d] = struct{}{}
		}
	}
	return nil
}

func (l *NodeVolumeLimits) diskOf(claim *v1.PersistentVolumeClaim) (disk, bool) {
	if claim.Spec.VolumeName != "" {
		if volume, err := l.volumes.Get(claim.Spec.VolumeName); err == nil {
			if volume.Spec.CSI == nil {
				return disk{}, false
			}
			return disk{volume.Spec.CSI.Driver, volume.Spec.CSI.VolumeHandle}, true
		}
	}
	class, err := l.classes.Get(volumehelpers.GetPersistentVolumeClaimClass(claim))
	if err != nil {
		return disk{}, false
	}
	// No driver calls a volume by such a name.
	return disk{class.Provisioner, "claim " + claim.Namespace + "/" + claim.Name}, true
}

func (l *NodeVolumeLimits) collectAttachments(node string, into disks) error {
	objects, err := l.attachments.ByIndex(byNode, node)
	if err != nil {
		return err
	}
	for _, obj := range objects {
		attachment, ok := obj.(*storagev1.VolumeAttachment)
		if !ok || attachment.Spec.Source.PersistentVolumeName == nil {
			continue
		}
		volume, err := l.volumes.Get(*attachment.Spec.Source.PersistentVolumeName)
		if err == nil && volume.Spec.CSI != nil {
			into[disk{attachment.Spec.Attacher, volume.Spec.CSI.VolumeHandle}] = struct{}{}
		}
	}
	return nil
}

// missingDriver names a driver that does not want its pods on nodes it is not on, and is not on this one.
func (l *NodeVolumeLimits) missingDriver(wanted disks, node *storagev1.CSINode) (string, error) {
	for d := range wanted {
		driver, err := l.drivers.Get(d.driver)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("error getting CSIDriver for provider %s: %w", d.driver, err)
		}
		if strict := driver.Spec.PreventPodSchedulingIfMissing; strict != nil && *strict && !installed(node, d.driver) {
			return d.driver, nil
		}
	}
	return "", nil
}

func installed(node *storagev1.CSINode, driver string) bool {
	if node == nil {
		return false
	}
	for i := range node.Spec.Drivers {
		if node.Spec.Drivers[i].Name == driver {
			return true
		}
	}
	return false
}

func limitsOf(node *storagev1.CSINode) map[string]int32 {
	limits := map[string]int32{}
	if node == nil {
		return limits
	}
	for i := range node.Spec.Drivers {
		if driver := &node.Spec.Drivers[i]; driver.Allocatable != nil && driver.Allocatable.Count != nil {
			limits[driver.Name] = *driver.Allocatable.Count
		}
	}
	return limits
}
