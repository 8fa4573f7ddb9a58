package volumebinding

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"
	volumehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/plumbline/plumbline/components/scheduler/podclaims"
)

// podClaims are a pod's claims by what is to be done about them.
type podClaims struct {
	bound []*v1.PersistentVolumeClaim
	// late are to be bound together with the pod, the smallest first.
	late []*v1.PersistentVolumeClaim
	// awaited says that a claim is to be bound by others first.
	awaited bool
	// lost says that a bound claim's volume does not exist.
	lost bool
	// volumes are those that the bound claims have.
	volumes []*v1.PersistentVolume
	// free are the volumes that late claims may get, by class.
	free map[string][]*v1.PersistentVolume
}

// plan is what would be done about a pod's late claims on one node.
type plan struct {
	bindings   []binding
	provisions []provision
}

// binding gives a claim a volume that exists.
type binding struct {
	claim  *v1.PersistentVolumeClaim
	volume *v1.PersistentVolume
}

// provision has a volume made for a claim; capacity is what there is to make it from, if known.
type provision struct {
	claim    *v1.PersistentVolumeClaim
	capacity *resource.Quantity
}

func (p *plan) empty() bool { return len(p.bindings) == 0 && len(p.provisions) == 0 }

// complete says whether a claim's binding has been completed.
func complete(claim *v1.PersistentVolumeClaim) bool {
	return claim.Spec.VolumeName != "" && metav1.HasAnnotation(claim.ObjectMeta, volumehelpers.AnnBindCompleted)
}

// sort looks up the pod's claims and what they can have.
func (b *VolumeBinding) sort(pod *v1.Pod, references []podclaims.Reference) (*podClaims, error) {
	sorted := &podClaims{free: map[string][]*v1.PersistentVolume{}}
	for _, reference := range references {
		claim, err := b.claims.get(cache.NewObjectName(pod.Namespace, reference.Name))
		if err != nil {
			return nil, fmt.Errorf("error getting PVC \"%s/%s\": %w", pod.Namespace, reference.Name, err)
		}
		if reference.Ephemeral {
			if err := ephemeral.VolumeIsForPod(pod, claim); err != nil {
				return nil, err
			}
		}
		if complete(claim) {
			sorted.bound = append(sorted.bound, claim)
			continue
		}
		late, err := volumehelpers.IsDelayBindingMode(claim, b.classes)
		if err != nil {
			return nil, err
		}
		if !late || claim.Spec.VolumeName != "" {
			sorted.awaited = true
			continue
		}
		sorted.late = append(sorted.late, claim)
	}
	slices.SortStableFunc(sorted.late, func(x, y *v1.PersistentVolumeClaim) int {
		a, b := x.Spec.Resources.Requests[v1.ResourceStorage], y.Spec.Resources.Requests[v1.ResourceStorage]
		return a.Cmp(b)
	})
	return sorted, errors.Join(b.boundVolumes(sorted), b.freeVolumes(sorted))
}

func (b *VolumeBinding) boundVolumes(sorted *podClaims) error {
	for _, claim := range sorted.bound {
		volume, err := b.volumes.get(cache.ObjectName{Name: claim.Spec.VolumeName})
		if apierrors.IsNotFound(err) {
			sorted.lost = true
			return nil
		}
		if err != nil {
			return err
		}
		sorted.volumes = append(sorted.volumes, volume)
	}
	return nil
}

// freeVolumes lists, once for all nodes, the volumes that nobody has or that wait for one of the claims.
func (b *VolumeBinding) freeVolumes(sorted *podClaims) error {
	for _, claim := range sorted.late {
		class := volumehelpers.GetPersistentVolumeClaimClass(claim)
		if _, listed := sorted.free[class]; listed {
			continue
		}
		objects, err := b.byClass.ByIndex(classIndex, class)
		if err != nil {
			return err
		}
		list := make([]*v1.PersistentVolume, 0, len(objects))
		for _, obj := range objects {
			volume, ok := obj.(*v1.PersistentVolume)
			if !ok {
				continue
			}
			volume = b.volumes.overlay(volume)
			reserved := func(claim *v1.PersistentVolumeClaim) bool { return volumehelpers.IsVolumeBoundToClaim(volume, claim) }
			if volume.Spec.ClaimRef == nil || slices.ContainsFunc(sorted.late, reserved) {
				list = append(list, volume)
			}
		}
		slices.SortFunc(list, func(x, y *v1.PersistentVolume) int { return cmp.Compare(x.Name, y.Name) })
		sorted.free[class] = list
	}
	return nil
}

// find decides what the pod's claims would get on a node, or says why that node will not do.
func (b *VolumeBinding) find(claims *podClaims, node *v1.Node) (*plan, []string, error) {
	var reasons []string
	if slices.ContainsFunc(claims.volumes, func(v *v1.PersistentVolume) bool { return volumehelpers.CheckNodeAffinity(v, node.Labels) != nil }) {
		reasons = append(reasons, ElsewhereReason)
	}
	found, reason, err := b.findLate(claims, node)
	if err != nil {
		return nil, nil, err
	}
	if reason != "" {
		reasons = append(reasons, reason)
	}
	if claims.lost && !slices.Contains(reasons, ElsewhereReason) {
		reasons = append(reasons, LostReason)
	}
	return found, reasons, nil
}

func (b *VolumeBinding) findLate(claims *podClaims, node *v1.Node) (*plan, string, error) {
	found := &plan{}
	for _, claim := range claims.late {
		if selected, chosen := claim.Annotations[volumehelpers.AnnSelectedNode]; chosen && selected != node.Name {
			return nil, NoVolumeReason, nil
		}
	}
	var toProvision []*v1.PersistentVolumeClaim
	taken := map[string]*v1.PersistentVolume{}
	for _, claim := range claims.late {
		if _, chosen := claim.Annotations[volumehelpers.AnnSelectedNode]; chosen {
			toProvision = append(toProvision, claim)
			continue
		}
		free := claims.free[volumehelpers.GetPersistentVolumeClaimClass(claim)]
		volume, err := volumehelpers.FindMatchingVolume(claim, free, node, taken, true, true)
		if err != nil {
			return nil, "", err
		}
		if volume == nil {
			toProvision = append(toProvision, claim)
			continue
		}
		taken[volume.Name] = volume
		found.bindings = append(found.bindings, binding{claim, volume})
	}
	for _, claim := range toProvision {
		capacity, reason, err := b.provisionable(claim, node)
		if reason != "" || err != nil {
			return nil, reason, err
		}
		found.provisions = append(found.provisions, provision{claim, capacity})
	}
	return found, "", nil
}

// provisionable says whether a volume can be made for a claim on a node, and from how much.
func (b *VolumeBinding) provisionable(claim *v1.PersistentVolumeClaim, node *v1.Node) (*resource.Quantity, string, error) {
	name := volumehelpers.GetPersistentVolumeClaimClass(claim)
	class, err := b.classes.Get(name)
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("failed to find storage class %q", name)
	case class.Provisioner == "" || class.Provisioner == volumehelpers.NotSupportedProvisioner:
		return nil, NoVolumeReason, nil
	case !allowed(class.AllowedTopologies, node.Labels):
		return nil, NoVolumeReason, nil
	}
	return b.capacityFor(claim, class, node)
}

// allowed says whether a node is in one of the topologies; no topologies are all.
func allowed(topologies []v1.TopologySelectorTerm, nodeLabels map[string]string) bool {
	if len(topologies) == 0 {
		return true
	}
	return slices.ContainsFunc(topologies, func(term v1.TopologySelectorTerm) bool {
		return len(term.MatchLabelExpressions) > 0 && !slices.ContainsFunc(term.MatchLabelExpressions, func(want v1.TopologySelectorLabelRequirement) bool {
			value, found := nodeLabels[want.Key]
			return !found || !slices.Contains(want.Values, value)
		})
	})
}

// capacityFor asks whether the driver reports enough storage that the node can reach. Drivers that do not report are
// trusted to have it.
func (b *VolumeBinding) capacityFor(claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass, node *v1.Node) (*resource.Quantity, string, error) {
	size, sized := claim.Spec.Resources.Requests[v1.ResourceStorage]
	if !sized {
		return nil, "", nil
	}
	driver, err := b.drivers.Get(class.Provisioner)
	if apierrors.IsNotFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	if driver.Spec.StorageCapacity == nil || !*driver.Spec.StorageCapacity {
		return nil, "", nil
	}
	reports, err := b.capacities.List(labels.Everything())
	if err != nil {
		return nil, "", err
	}
	for _, report := range reports {
		if report.StorageClassName != class.Name || report.NodeTopology == nil {
			continue
		}
		if limit := largest(report); limit == nil || limit.Value() < size.Value() {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(report.NodeTopology)
		if err == nil && selector.Matches(labels.Set(node.Labels)) {
			return report.Capacity, "", nil
		}
	}
	return nil, NoSpaceReason, nil
}

// largest is the largest volume that can be made, as far as a driver tells.
func largest(report *storagev1.CSIStorageCapacity) *resource.Quantity {
	if report.MaximumVolumeSize != nil {
		return report.MaximumVolumeSize
	}
	return report.Capacity
}
