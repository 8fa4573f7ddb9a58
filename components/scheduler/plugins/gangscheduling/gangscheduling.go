// Package gangscheduling is the GangScheduling plugin: of a pod group with a gang policy, at least minCount pods are
// bound, or none (KEP-4671). A gang's pods wait outside the queue until minCount exist; each that has found a node keeps
// it until minCount have; and if one of them finds none before that, the others give theirs back.
// https://kubernetes.io/docs/concepts/scheduling-eviction/gang-scheduling/
package gangscheduling

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/podgroup"
)

// Name of the plugin.
const Name = "GangScheduling"

// patience is how long a pod keeps its node for the rest of its gang.
const patience = 5 * time.Minute

// GangScheduling holds the pods of a gang until they can be bound together.
type GangScheduling struct {
	handle fwk.Handle
	groups fwk.PodGroupManager
}

var (
	_ fwk.PreEnqueuePlugin  = &GangScheduling{}
	_ fwk.PostFilterPlugin  = &GangScheduling{}
	_ fwk.PermitPlugin      = &GangScheduling{}
	_ fwk.EnqueueExtensions = &GangScheduling{}
)

// New makes the plugin.
func New(_ context.Context, _ runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	groups := handle.PodGroupManager()
	if groups == nil {
		return nil, errors.New("needs the feature gate GenericWorkload (--feature-gates=GenericWorkload=true)")
	}
	return &GangScheduling{handle: handle, groups: groups}, nil
}

// Name returns the plugin's name.
func (*GangScheduling) Name() string { return Name }

// gangOf returns the group's pods and how many of them are needed; found is false without a gang policy.
func (g *GangScheduling) gangOf(namespace, name string) (state fwk.PodGroupState, needed int, found bool, err error) {
	group, err := g.groups.PodGroups().Get(namespace, name)
	if err != nil || group.Spec.SchedulingPolicy.Gang == nil {
		return nil, 0, false, err
	}
	state, err = g.groups.PodGroupStates().Get(namespace, name)
	return state, int(group.Spec.SchedulingPolicy.Gang.MinCount), err == nil, err
}

// PreEnqueue holds a pod back until its group exists and, in a gang, enough pods of it.
func (g *GangScheduling) PreEnqueue(_ context.Context, pod *v1.Pod) *fwk.Status {
	name := podgroup.NameOf(pod)
	if name == "" {
		return nil
	}
	state, needed, isGang, err := g.gangOf(pod.Namespace, name)
	switch {
	case err != nil:
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf("waiting for pods's pod group %q to appear in scheduling queue", name))
	case isGang && state.AllPodsCount() < needed:
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "waiting for minCount pods from a gang to appear in scheduling queue")
	}
	return nil
}

// Permit lets a pod wait until enough of its gang have a node; the one that completes them lets all go.
func (g *GangScheduling) Permit(ctx context.Context, _ fwk.CycleState, pod *v1.Pod, _ string) (*fwk.Status, time.Duration) {
	name := podgroup.NameOf(pod)
	if name == "" {
		return nil, 0
	}
	state, needed, isGang, err := g.gangOf(pod.Namespace, name)
	switch {
	case err != nil:
		return fwk.AsStatus(fmt.Errorf("failed to get podGroup %s/%s: %w", pod.Namespace, name, err)), 0
	case !isGang:
		return nil, 0
	case state.ScheduledPodsCount() < needed:
		// The others may have been waiting for this one.
		g.handle.Activate(klog.FromContext(ctx), state.UnscheduledPods())
		return fwk.NewStatus(fwk.Wait, "waiting for minCount pods from a gang to be scheduled"), patience
	}
	for uid := range state.AssumedPods() {
		if waiting := g.handle.GetWaitingPod(uid); waiting != nil {
			waiting.Allow(Name)
		}
	}
	return nil, 0
}

// PostFilter takes the nodes of a gang back when one of its pods found none, so that half a gang keeps no room that
// others could use. It makes no room itself.
func (g *GangScheduling) PostFilter(_ context.Context, _ fwk.CycleState, pod *v1.Pod, _ fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	name := podgroup.NameOf(pod)
	if name == "" {
		return nil, fwk.NewStatus(fwk.Unschedulable)
	}
	state, needed, isGang, err := g.gangOf(pod.Namespace, name)
	if err != nil || !isGang || state.ScheduledPodsCount() >= needed {
		return nil, fwk.NewStatus(fwk.Unschedulable)
	}
	for uid := range state.AssumedPods() {
		if waiting := g.handle.GetWaitingPod(uid); waiting != nil {
			waiting.Reject(Name, fmt.Sprintf("pod %s of the same gang cannot be scheduled", pod.Name))
		}
	}
	return nil, fwk.NewStatus(fwk.Unschedulable)
}

// EventsToRegister waits for the rest of the gang, for the group, and for the group to need fewer.
func (g *GangScheduling) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.UnscheduledPod, fwk.Add), QueueingHintFn: podAdded},
		{Event: clusterevent.Event(fwk.AssignedPod, fwk.Add), QueueingHintFn: podAdded},
		{Event: clusterevent.Event(fwk.PodGroup, fwk.Add), QueueingHintFn: groupAdded},
		{Event: clusterevent.Event(fwk.PodGroup, fwk.Update), QueueingHintFn: groupUpdated},
	}, nil
}

func podAdded(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	_, added, err := clusterevent.Objects[*v1.Pod](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	return when(podgroup.NameOf(pod) != "" && pod.Namespace == added.Namespace && podgroup.NameOf(pod) == podgroup.NameOf(added)), nil
}

func groupAdded(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	_, added, err := clusterevent.Objects[*schedulingv1beta1.PodGroup](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	return when(pod.Namespace == added.Namespace && podgroup.NameOf(pod) == added.Name), nil
}

func groupUpdated(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*schedulingv1beta1.PodGroup](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	before, after := was.Spec.SchedulingPolicy.Gang, is.Spec.SchedulingPolicy.Gang
	return when(pod.Namespace == is.Namespace && podgroup.NameOf(pod) == is.Name &&
		before != nil && after != nil && after.MinCount < before.MinCount), nil
}

func when(helps bool) fwk.QueueingHint {
	if helps {
		return fwk.Queue
	}
	return fwk.QueueSkip
}
