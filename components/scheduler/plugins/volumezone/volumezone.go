// Package volumezone is the VolumeZone plugin: a pod goes to the zone and region that the labels of its volumes name.
package volumezone

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	volumehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
)

// Name of the plugin.
const Name = "VolumeZone"

// Reason given for a rejected node.
const Reason = "node(s) had no available volume zone"

const (
	stateKey fwk.StateKey = "PreFilter" + Name
	// separator stands between the zones of a volume that is in several.
	separator = "__"
)

// VolumeZone filters by the zones of volumes.
type VolumeZone struct {
	volumes corelisters.PersistentVolumeLister
	claims  corelisters.PersistentVolumeClaimLister
	classes storagelisters.StorageClassLister
}

var (
	_ fwk.PreFilterPlugin   = &VolumeZone{}
	_ fwk.FilterPlugin      = &VolumeZone{}
	_ fwk.EnqueueExtensions = &VolumeZone{}
)

// New makes the plugin.
func New(_ context.Context, _ runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	core := handle.SharedInformerFactory().Core().V1()
	return &VolumeZone{
		volumes: core.PersistentVolumes().Lister(),
		claims:  core.PersistentVolumeClaims().Lister(),
		classes: handle.SharedInformerFactory().Storage().V1().StorageClasses().Lister(),
	}, nil
}

// Name returns the plugin's name.
func (*VolumeZone) Name() string { return Name }

// place is where a volume can be reached: the values that a node's label may have.
type place struct {
	label  string
	values []string
}

type places []place

// Clone returns the value itself: it does not change.
func (p places) Clone() fwk.StateData { return p }

// labels are those that name a zone or region.
func labels() []string {
	return []string{v1.LabelFailureDomainBetaZone, v1.LabelFailureDomainBetaRegion, v1.LabelTopologyZone, v1.LabelTopologyRegion}
}

// successor is the label that took a label's place.
func successor(label string) string {
	switch label {
	case v1.LabelFailureDomainBetaZone:
		return v1.LabelTopologyZone
	case v1.LabelFailureDomainBetaRegion:
		return v1.LabelTopologyRegion
	}
	return label
}

// PreFilter collects the places of the pod's volumes.
func (z *VolumeZone) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	var all places
	for i := range pod.Spec.Volumes {
		source := pod.Spec.Volumes[i].PersistentVolumeClaim
		if source == nil {
			continue
		}
		volume, status := z.volumeOf(pod.Namespace, source.ClaimName)
		if !status.IsSuccess() {
			return nil, status
		}
		if volume != nil {
			all = append(all, placesOf(volume)...)
		}
	}
	if len(all) == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	state.Write(stateKey, all)
	return nil, nil
}

// volumeOf returns the volume behind a claim; nil if it is yet to be chosen together with the node.
func (z *VolumeZone) volumeOf(namespace, name string) (*v1.PersistentVolume, *fwk.Status) {
	hopeless := func(reason string) *fwk.Status { return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason) }
	if name == "" {
		return nil, hopeless("PersistentVolumeClaim had no name")
	}
	claim, err := z.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil {
		return nil, absent(err)
	}
	if claim.Spec.VolumeName != "" {
		volume, err := z.volumes.Get(claim.Spec.VolumeName)
		return volume, absent(err)
	}
	className := volumehelpers.GetPersistentVolumeClaimClass(claim)
	if className == "" {
		return nil, hopeless("PersistentVolumeClaim had no pv name and storageClass name")
	}
	class, err := z.classes.Get(className)
	switch {
	case err != nil:
		return nil, absent(err)
	case class.VolumeBindingMode == nil:
		return nil, hopeless(fmt.Sprintf("VolumeBindingMode not set for StorageClass %q", className))
	case *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer:
		return nil, hopeless("PersistentVolume had no name")
	}
	return nil, nil
}

func absent(err error) *fwk.Status {
	if apierrors.IsNotFound(err) {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, err.Error())
	}
	return fwk.AsStatus(err)
}

func placesOf(volume *v1.PersistentVolume) places {
	var list places
	for _, label := range labels() {
		value, found := volume.Labels[label]
		if !found {
			continue
		}
		values := strings.Split(value, separator)
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
		if !slices.Contains(values, "") {
			list = append(list, place{label: label, values: values})
		}
	}
	return list
}

// PreFilterExtensions is nil: other pods do not matter.
func (*VolumeZone) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter rejects nodes from which a volume cannot be reached. A node without such labels is in a cluster without zones.
func (*VolumeZone) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	data, err := state.Read(stateKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	own := node.Node().Labels
	if !slices.ContainsFunc(labels(), func(label string) bool { _, found := own[label]; return found }) {
		return nil
	}
	for _, p := range data.(places) {
		value, found := own[p.label]
		if !found {
			value, found = own[successor(p.label)]
		}
		if !found || !slices.Contains(p.values, value) {
			return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, Reason)
		}
	}
	return nil
}

// EventsToRegister waits for classes that bind late, nodes in other zones, claims that are made or bound, and volumes
// that are made or move.
func (*VolumeZone) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.StorageClass, fwk.Add), QueueingHintFn: classAdded},
		{Event: clusterevent.Event(fwk.Node, fwk.Add|fwk.UpdateNodeLabel)},
		{Event: clusterevent.Event(fwk.PersistentVolumeClaim, fwk.Add|fwk.Update), QueueingHintFn: claimChanged},
		{Event: clusterevent.Event(fwk.PersistentVolume, fwk.Add|fwk.Update), QueueingHintFn: volumeChanged},
	}, nil
}

func classAdded(_ klog.Logger, _ *v1.Pod, _, newer any) (fwk.QueueingHint, error) {
	_, class, err := clusterevent.Objects[*storagev1.StorageClass](nil, newer)
	if err != nil || class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer {
		return fwk.Queue, err
	}
	return fwk.QueueSkip, nil
}

func claimChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	_, claim, err := clusterevent.Objects[*v1.PersistentVolumeClaim](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	mine := func(volume v1.Volume) bool {
		return volume.PersistentVolumeClaim != nil && volume.PersistentVolumeClaim.ClaimName == claim.Name
	}
	if claim.Namespace == pod.Namespace && slices.ContainsFunc(pod.Spec.Volumes, mine) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

func volumeChanged(_ klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.PersistentVolume](older, newer)
	if err != nil || was == nil || !maps.EqualFunc(placed(was), placed(is), slices.Equal[[]string]) {
		return fwk.Queue, err
	}
	return fwk.QueueSkip, nil
}

func placed(volume *v1.PersistentVolume) map[string][]string {
	byLabel := map[string][]string{}
	for _, p := range placesOf(volume) {
		byLabel[p.label] = p.values
	}
	return byLabel
}
