// Package dynamicresources is the DynamicResources plugin: a pod fits a node on which its resource claims are available
// or can be allocated. Allocation is promised in Reserve and written in PreBind. Extended resources that device classes
// stand for are allocated by a claim that the plugin makes itself.
// https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
package dynamicresources

import (
	"context"
	"fmt"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/cel"
	claimrules "k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/dynamic-resource-allocation/structured"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Name of the plugin.
const Name = "DynamicResources"

const (
	stateKey fwk.StateKey = Name
	// expressions is how many compiled selectors are kept from one cycle to the next.
	expressions = 32
)

// features are those of upstream's feature gates that are on by default.
var features = structured.Features{
	AdminAccess:            true,
	ConsumableCapacity:     true,
	DeviceBindingAndStatus: true,
	DeviceTaints:           true,
	PartitionableDevices:   true,
	PrioritizedList:        true,
}

// manager is a SharedDRAManager that tells when claims change.
type manager interface {
	fwk.SharedDRAManager
	// Changed returns a channel that is closed with the next change of any claim.
	Changed() <-chan struct{}
}

// DynamicResources allocates claims.
type DynamicResources struct {
	handle         fwk.Handle
	client         clientset.Interface
	dra            manager
	selectors      func() *cel.Cache
	filterTimeout  time.Duration
	bindingTimeout time.Duration
}

var (
	_ fwk.PreEnqueuePlugin  = &DynamicResources{}
	_ fwk.PreFilterPlugin   = &DynamicResources{}
	_ fwk.FilterPlugin      = &DynamicResources{}
	_ fwk.PostFilterPlugin  = &DynamicResources{}
	_ fwk.PreScorePlugin    = &DynamicResources{}
	_ fwk.ScorePlugin       = &DynamicResources{}
	_ fwk.ReservePlugin     = &DynamicResources{}
	_ fwk.PreBindPlugin     = &DynamicResources{}
	_ fwk.EnqueueExtensions = &DynamicResources{}
	_ fwk.SignPlugin        = &DynamicResources{}
)

// New makes the plugin.
func New(_ context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	typed, ok := args.(*configv1.DynamicResourcesArgs)
	if !ok {
		return nil, fmt.Errorf("got args of type %T, want *DynamicResourcesArgs", args)
	}
	if err := Validate(nil, typed); err != nil {
		return nil, err
	}
	dra, ok := handle.SharedDRAManager().(manager)
	if !ok {
		return nil, fmt.Errorf("the scheduler's manager of dynamic resources, a %T, does not tell of changes", handle.SharedDRAManager())
	}
	return &DynamicResources{
		handle: handle, client: handle.ClientSet(), dra: dra,
		// Its compiler takes time and memory that a cluster without claims need not spend.
		selectors: sync.OnceValue(func() *cel.Cache {
			return cel.NewCache(expressions, cel.Features{EnableConsumableCapacity: features.ConsumableCapacity})
		}),
		filterTimeout:  duration(typed.FilterTimeout, 0),
		bindingTimeout: duration(typed.BindingTimeout, configv1.DynamicResourcesBindingTimeoutDefault),
	}, nil
}

func duration(given *metav1.Duration, otherwise time.Duration) time.Duration {
	if given == nil {
		return otherwise
	}
	return given.Duration
}

// Validate checks the plugin's arguments.
func Validate(path *field.Path, args *configv1.DynamicResourcesArgs) error {
	var errs field.ErrorList
	if args.FilterTimeout != nil && args.FilterTimeout.Duration < 0 {
		errs = append(errs, field.Invalid(path.Child("filterTimeout"), args.FilterTimeout, "must be zero or positive"))
	}
	if args.BindingTimeout != nil && args.BindingTimeout.Duration < time.Second {
		errs = append(errs, field.Invalid(path.Child("bindingTimeout"), args.BindingTimeout, "must be at least 1 second"))
	}
	return errs.ToAggregate()
}

// Name returns the plugin's name.
func (*DynamicResources) Name() string { return Name }

// SignPod has no signature for pods with claims: two of them rarely want the same.
func (*DynamicResources) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if len(pod.Spec.ResourceClaims) > 0 {
		return nil, fwk.NewStatus(fwk.Unschedulable, "pods with dra resource claims are not signable")
	}
	return nil, nil
}

// PreEnqueue holds a pod back until its claims exist.
func (p *DynamicResources) PreEnqueue(_ context.Context, pod *v1.Pod) *fwk.Status {
	if _, err := p.claimsOf(pod); err != nil {
		return rejected(err.Error())
	}
	return nil
}

// claimsOf returns the pod's claims in the order of its spec, without those that it was decided it does without. An
// error is the reason why the pod has to wait.
func (p *DynamicResources) claimsOf(pod *v1.Pod) ([]*resourcev1.ResourceClaim, error) {
	if len(pod.Spec.ResourceClaims) == 0 {
		return nil, nil
	}
	claims := make([]*resourcev1.ResourceClaim, 0, len(pod.Spec.ResourceClaims))
	for i := range pod.Spec.ResourceClaims {
		name, mustOwn, err := claimrules.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil {
			return nil, err
		}
		if name == nil {
			continue
		}
		claim, err := p.dra.ResourceClaims().Get(pod.Namespace, *name)
		if err != nil {
			return nil, err
		}
		if claim.DeletionTimestamp != nil {
			return nil, fmt.Errorf("resourceclaim %q is being deleted", claim.Name)
		}
		if mustOwn {
			if err := claimrules.IsForPod(pod, claim, false); err != nil {
				return nil, err
			}
		}
		claims = append(claims, claim)
	}
	return claims, nil
}

// rejected is the verdict that no eviction of pods can change.
func rejected(reason string) *fwk.Status {
	return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason)
}
