package noderesources

import (
	"context"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	helper "k8s.io/component-helpers/resource"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/equivalence"
	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

// FitName is the name of the Fit plugin.
const FitName = "NodeResourcesFit"

const (
	fitFilterKey fwk.StateKey = "PreFilter" + FitName
	fitScoreKey  fwk.StateKey = "PreScore" + FitName
)

// Fit filters by requested resources and scores by the configured strategy.
type Fit struct {
	ignored       sets.Set[string]
	ignoredGroups sets.Set[string]
	// classes stand for extended resources that are devices; nil without dynamic resources.
	classes fwk.DeviceClassResolver
	scorer  scorer
}

var (
	_ fwk.PreFilterPlugin   = &Fit{}
	_ fwk.FilterPlugin      = &Fit{}
	_ fwk.PreScorePlugin    = &Fit{}
	_ fwk.ScorePlugin       = &Fit{}
	_ fwk.EnqueueExtensions = &Fit{}
)

// NewFit makes the plugin from *NodeResourcesFitArgs.
func NewFit(_ context.Context, obj runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	args, ok := obj.(*configv1.NodeResourcesFitArgs)
	if !ok {
		return nil, fmt.Errorf("want args to be of type NodeResourcesFitArgs, got %T", obj)
	}
	if err := ValidateFitArgs(nil, args); err != nil {
		return nil, err
	}
	strategy := args.ScoringStrategy
	how, shape := ratingOf(strategy)
	var classes fwk.DeviceClassResolver
	if handle != nil {
		classes = handle.SharedDRAManager().DeviceClassResolver()
	}
	return &Fit{
		ignored:       sets.New(args.IgnoredResources...),
		ignoredGroups: sets.New(args.IgnoredResourceGroups...),
		classes:       classes,
		scorer: scorer{
			resources: strategy.Resources,
			rating:    how,
			shape:     shape,
			requests:  helper.PodResourcesOptions{SkipPodLevelResources: true, NonMissingContainerRequests: assumedRequests()},
			node:      fwk.NodeInfo.GetNonZeroRequested,
		},
	}, nil
}

// Name returns the plugin's name.
func (*Fit) Name() string { return FitName }

// Covers says that the pod requests no extended resource: whether that is devices is not for a node alone to say.
func (*Fit) Covers(pod *v1.Pod) bool {
	plain := func(list v1.ResourceList) bool {
		for name := range list {
			if nodeinfo.IsExtended(name) {
				return false
			}
		}
		return true
	}
	for i := range pod.Spec.Containers {
		if !plain(pod.Spec.Containers[i].Resources.Requests) {
			return false
		}
	}
	for i := range pod.Spec.InitContainers {
		if !plain(pod.Spec.InitContainers[i].Resources.Requests) {
			return false
		}
	}
	return plain(pod.Spec.Overhead)
}

// Scale says that scores are in range.
func (*Fit) Scale() equivalence.Scale { return equivalence.AsIs }

type wanted struct{ nodeinfo.Resource }

// Clone returns the value itself: it does not change.
func (w *wanted) Clone() fwk.StateData { return w }

func requestsOf(pod *v1.Pod) *wanted {
	return &wanted{*nodeinfo.NewResource(helper.PodRequests(pod, helper.PodResourcesOptions{}))}
}

// PreFilter sums up the pod's requests.
func (*Fit) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	state.Write(fitFilterKey, requestsOf(pod))
	return nil, nil
}

// PreFilterExtensions is nil: Filter reads the node's sums itself.
func (*Fit) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter rejects nodes with too little left of anything the pod requests.
func (f *Fit) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	data, err := state.Read(fitFilterKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	reasons, hopeless := f.lacking(data.(*wanted), node)
	if len(reasons) == 0 {
		return nil
	}
	code := fwk.Unschedulable
	if hopeless {
		// No eviction makes a node larger.
		code = fwk.UnschedulableAndUnresolvable
	}
	return fwk.NewStatus(code, reasons...)
}

// lacking names what the node has too little of; hopeless means that even the empty node has.
func (f *Fit) lacking(pod *wanted, node fwk.NodeInfo) (reasons []string, hopeless bool) {
	offer, used := node.GetAllocatable(), node.GetRequested()
	if len(node.GetPods()) >= offer.GetAllowedPodNumber() {
		reasons = append(reasons, "Too many pods")
	}
	check := func(name string, request, allocatable, requested int64) {
		if request > 0 && request > allocatable-requested {
			reasons = append(reasons, "Insufficient "+name)
			hopeless = hopeless || request > allocatable
		}
	}
	check("cpu", pod.MilliCPU, offer.GetMilliCPU(), used.GetMilliCPU())
	check("memory", pod.Memory, offer.GetMemory(), used.GetMemory())
	check("ephemeral-storage", pod.EphemeralStorage, offer.GetEphemeralStorage(), used.GetEphemeralStorage())
	if len(pod.Scalar) == 0 {
		return reasons, hopeless
	}
	first := len(reasons)
	for name, request := range pod.Scalar {
		if !f.ignores(name) && !f.allocates(name, offer) {
			check(string(name), request, offer.GetScalarResources()[name], used.GetScalarResources()[name])
		}
	}
	slices.Sort(reasons[first:])
	return reasons, hopeless
}

// ignores says whether an extended resource is left to somebody else, e.g. an extender.
func (f *Fit) ignores(name v1.ResourceName) bool {
	if len(f.ignored) == 0 && len(f.ignoredGroups) == 0 || !nodeinfo.IsExtended(name) {
		return false
	}
	group, _, _ := strings.Cut(string(name), "/")
	return f.ignored.Has(string(name)) || f.ignoredGroups.Has(group)
}

// allocates says whether the node's share of an extended resource is devices, which DynamicResources counts.
func (f *Fit) allocates(name v1.ResourceName, offer fwk.Resource) bool {
	return f.classes != nil && offer.GetScalarResources()[name] == 0 && f.classes.GetDeviceClass(name) != nil
}

// PreScore sums up the pod's requests as the strategy counts them.
func (f *Fit) PreScore(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	state.Write(fitScoreKey, f.scorer.amountsOf(pod))
	return nil
}

// Score rates the node as if it ran the pod.
func (f *Fit) Score(_ context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	if data, err := state.Read(fitScoreKey); err == nil {
		return f.scorer.score(data.(amounts), node), nil
	}
	return f.scorer.score(f.scorer.amountsOf(pod), node), nil
}

// ScoreExtensions is nil: scores are in range.
func (*Fit) ScoreExtensions() fwk.ScoreExtensions { return nil }

// EventsToRegister waits for room: a pod gone or shrunk, a node come or grown, the pod itself shrunk.
func (f *Fit) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.AssignedPod, fwk.Delete), QueueingHintFn: podGone},
		{Event: clusterevent.Event(fwk.Node, fwk.Add|fwk.UpdateNodeAllocatable), QueueingHintFn: f.nodeChanged},
		{Event: clusterevent.Event(fwk.AssignedPod, fwk.UpdatePodScaleDown), QueueingHintFn: podShrunk},
		{Event: clusterevent.Event(fwk.TargetPod, fwk.UpdatePodScaleDown)},
		{Event: clusterevent.Event(fwk.DeviceClass, fwk.Add|fwk.Update), QueueingHintFn: classChanged},
	}, nil
}

// classChanged tells whether a class has come to stand for a resource that the pod requests.
func classChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*resourcev1.DeviceClass](older, newer)
	if err != nil || is == nil {
		return fwk.Queue, err
	}
	names := []string{ptr.Deref(is.Spec.ExtendedResourceName, "")}
	if was == nil {
		names = append(names, resourcev1.ResourceDeviceClassPrefix+is.Name)
	} else if ptr.Deref(was.Spec.ExtendedResourceName, "") == names[0] {
		return fwk.QueueSkip, nil
	}
	requests := helper.PodRequests(pod, helper.PodResourcesOptions{})
	for _, name := range names {
		if _, found := requests[v1.ResourceName(name)]; found {
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}

func podGone(_ klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	gone, _, err := clusterevent.Objects[*v1.Pod](older, newer)
	if err == nil && gone.Spec.NodeName == "" && gone.Status.NominatedNodeName == "" {
		return fwk.QueueSkip, nil
	}
	return fwk.Queue, err
}

func podShrunk(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Pod](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	if is.Spec.NodeName == "" {
		return fwk.QueueSkip, nil
	}
	opts := helper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}
	before, after := helper.PodRequests(was, opts), helper.PodRequests(is, opts)
	for name, request := range helper.PodRequests(pod, opts) {
		old, now := before[name], after[name]
		if !request.IsZero() && old.Cmp(now) > 0 {
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}

func (f *Fit) nodeChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Node](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	need := requestsOf(pod)
	if reasons, _ := (&Fit{classes: f.classes}).lacking(need, nodeinfo.NewNodeInfo(is)); len(reasons) > 0 {
		return fwk.QueueSkip, nil
	}
	if was == nil || grew(need, nodeinfo.NewResource(was.Status.Allocatable), nodeinfo.NewResource(is.Status.Allocatable)) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

// grew says whether there is more of anything that the pod needs.
func grew(need *wanted, before, after *nodeinfo.Resource) bool {
	more := after.AllowedPodNumber > before.AllowedPodNumber ||
		need.MilliCPU > 0 && after.MilliCPU > before.MilliCPU ||
		need.Memory > 0 && after.Memory > before.Memory ||
		need.EphemeralStorage > 0 && after.EphemeralStorage > before.EphemeralStorage
	for name, amount := range need.Scalar {
		more = more || amount > 0 && after.Scalar[name] > before.Scalar[name]
	}
	return more
}
