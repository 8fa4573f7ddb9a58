// Package volumebinding is the VolumeBinding plugin: a pod goes where its volumes can be reached, and claims that bind
// late get their volumes together with the pod's node: one that exists or one that a provisioner makes for that node.
// https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode
package volumebinding

import (
	"context"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clientset "k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/ephemeral"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/plugins/utilization"
	"github.com/plumbline/plumbline/components/scheduler/podclaims"
)

// Name of the plugin.
const Name = "VolumeBinding"

// Reasons given for a rejected node.
const (
	NoVolumeReason  = "node(s) didn't find available persistent volumes to bind"
	ElsewhereReason = "node(s) didn't match PersistentVolume's node affinity"
	NoSpaceReason   = "node(s) did not have enough free storage"
	LostReason      = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
)

// UnboundReason is given for a pod with claims that others must bind first.
const UnboundReason = "pod has unbound immediate PersistentVolumeClaims"

const stateKey fwk.StateKey = Name

// VolumeBinding filters and scores by a pod's volumes, and binds them.
type VolumeBinding struct {
	client     clientset.Interface
	pods       corelisters.PodLister
	nodes      corelisters.NodeLister
	classes    storagelisters.StorageClassLister
	drivers    storagelisters.CSIDriverLister
	capacities storagelisters.CSIStorageCapacityLister
	byClass    cache.Indexer

	claims  *assumed[*v1.PersistentVolumeClaim]
	volumes *assumed[*v1.PersistentVolume]
	changes changes

	timeout time.Duration
	shape   []configv1.UtilizationShapePoint
}

var (
	_ fwk.PreFilterPlugin   = &VolumeBinding{}
	_ fwk.FilterPlugin      = &VolumeBinding{}
	_ fwk.PreScorePlugin    = &VolumeBinding{}
	_ fwk.ScorePlugin       = &VolumeBinding{}
	_ fwk.ReservePlugin     = &VolumeBinding{}
	_ fwk.PreBindPlugin     = &VolumeBinding{}
	_ fwk.EnqueueExtensions = &VolumeBinding{}
)

// Validate checks the plugin's arguments.
func Validate(path *field.Path, args *configv1.VolumeBindingArgs) error {
	var errs field.ErrorList
	if *args.BindTimeoutSeconds < 0 {
		errs = append(errs, field.Invalid(path.Child("bindTimeoutSeconds"), *args.BindTimeoutSeconds, "invalid BindTimeoutSeconds, should not be a negative value"))
	}
	return append(errs, utilization.Validate(path.Child("shape"), args.Shape)...).ToAggregate()
}

// New makes the plugin.
func New(_ context.Context, obj runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	args, ok := obj.(*configv1.VolumeBindingArgs)
	if !ok {
		return nil, fmt.Errorf("want args to be of type VolumeBindingArgs, got %T", obj)
	}
	core, storage := handle.SharedInformerFactory().Core().V1(), handle.SharedInformerFactory().Storage().V1()
	claims, volumes := core.PersistentVolumeClaims(), core.PersistentVolumes()
	b := &VolumeBinding{
		client:     handle.ClientSet(),
		pods:       core.Pods().Lister(),
		nodes:      core.Nodes().Lister(),
		classes:    storage.StorageClasses().Lister(),
		drivers:    storage.CSIDrivers().Lister(),
		capacities: storage.CSIStorageCapacities().Lister(),
		byClass:    volumes.Informer().GetIndexer(),
		claims: newAssumed(func(key cache.ObjectName) (*v1.PersistentVolumeClaim, error) {
			return claims.Lister().PersistentVolumeClaims(key.Namespace).Get(key.Name)
		}),
		volumes: newAssumed(func(key cache.ObjectName) (*v1.PersistentVolume, error) { return volumes.Lister().Get(key.Name) }),
		timeout: time.Duration(*args.BindTimeoutSeconds) * time.Second,
		shape:   args.Shape,
	}
	if err := indexByClass(volumes.Informer()); err != nil {
		return nil, err
	}
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), volumes.Informer()} {
		if _, err := informer.AddEventHandler(b.changes.handler()); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Name returns the plugin's name.
func (*VolumeBinding) Name() string { return Name }

// state is what the plugin knows during one cycle. The pointer stays; Filter fills it in for many nodes at a time.
type state struct {
	claims podClaims

	mu     sync.Mutex
	byNode map[string]*plan
	// chooses says that on some node a volume that exists would be bound.
	chooses bool
	// settled says that nothing needs binding.
	settled bool
}

// Clone returns the value itself: what it says of a node holds with and without nominated pods.
func (s *state) Clone() fwk.StateData { return s }

func stateOf(cycle fwk.CycleState) (*state, error) {
	data, err := cycle.Read(stateKey)
	if err != nil {
		return nil, err
	}
	return data.(*state), nil
}

// PreFilter skips pods without claims, and rejects those with claims that must be bound, or made, by others first.
func (b *VolumeBinding) PreFilter(_ context.Context, cycle fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	references := podclaims.Of(pod)
	if len(references) == 0 {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	for _, reference := range references {
		if err := b.usable(pod, reference); err != nil {
			return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, err.Error())
		}
	}
	claims, err := b.sort(pod, references)
	if err != nil {
		return nil, fwk.AsStatus(err)
	}
	if claims.awaited {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, UnboundReason)
	}
	cycle.Write(stateKey, &state{claims: *claims, byNode: map[string]*plan{}})
	return nil, nil
}

// usable says why a pod cannot have a claim.
func (b *VolumeBinding) usable(pod *v1.Pod, reference podclaims.Reference) error {
	claim, err := b.claims.actual(cache.NewObjectName(pod.Namespace, reference.Name))
	switch {
	case reference.Ephemeral && apierrors.IsNotFound(err):
		return fmt.Errorf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", reference.Name)
	case err != nil:
		return err
	case claim.Status.Phase == v1.ClaimLost:
		return fmt.Errorf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", claim.Name, claim.Spec.VolumeName)
	case claim.DeletionTimestamp != nil:
		return fmt.Errorf("persistentvolumeclaim %q is being deleted", claim.Name)
	case reference.Ephemeral:
		return ephemeral.VolumeIsForPod(pod, claim)
	}
	return nil
}

// PreFilterExtensions is nil: other pods do not matter.
func (*VolumeBinding) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter rejects nodes from which a bound volume cannot be reached, or where a claim would get none.
func (b *VolumeBinding) Filter(_ context.Context, cycle fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	s, err := stateOf(cycle)
	if err != nil {
		return fwk.AsStatus(err)
	}
	found, reasons, err := b.find(&s.claims, node.Node())
	if err != nil {
		return fwk.AsStatus(err)
	}
	if len(reasons) > 0 {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reasons...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byNode[node.Node().Name] = found
	s.chooses = s.chooses || len(found.bindings) > 0
	return nil
}

// Reserve takes the chosen node's volumes out of what later pods may have.
func (b *VolumeBinding) Reserve(_ context.Context, cycle fwk.CycleState, _ *v1.Pod, node string) *fwk.Status {
	s, err := stateOf(cycle)
	if err != nil {
		return nil // a pod without claims
	}
	chosen := s.byNode[node]
	if s.settled = chosen == nil || chosen.empty(); s.settled {
		return nil
	}
	return fwk.AsStatus(b.assume(chosen, node))
}

// Unreserve gives them back.
func (b *VolumeBinding) Unreserve(_ context.Context, cycle fwk.CycleState, _ *v1.Pod, node string) {
	if s, err := stateOf(cycle); err == nil && s.byNode[node] != nil {
		b.forget(s.byNode[node])
	}
}

// PreBindPreFlight says whether anything needs binding.
func (*VolumeBinding) PreBindPreFlight(_ context.Context, cycle fwk.CycleState, _ *v1.Pod, _ string) (*fwk.PreBindPreFlightResult, *fwk.Status) {
	result := &fwk.PreBindPreFlightResult{AllowParallel: true}
	if s, err := stateOf(cycle); err != nil || s.settled {
		return result, fwk.NewStatus(fwk.Skip)
	}
	return result, nil
}

// PreBind writes the decision down and waits until the claims are bound.
func (b *VolumeBinding) PreBind(ctx context.Context, cycle fwk.CycleState, pod *v1.Pod, node string) *fwk.Status {
	s, err := stateOf(cycle)
	if err != nil || s.settled {
		return nil
	}
	chosen := s.byNode[node]
	if chosen == nil {
		return fwk.AsStatus(fmt.Errorf("no pod volume found for node %q", node))
	}
	if err := b.write(ctx, chosen); err != nil {
		return fwk.AsStatus(err)
	}
	return fwk.AsStatus(b.await(ctx, pod, chosen))
}
