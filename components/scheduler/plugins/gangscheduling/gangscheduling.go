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

// progress is how far the pods of a group have come, and how many of them need a node.
type progress struct {
	group  *schedulingv1beta1.PodGroup
	state  fwk.PodGroupState
	needed int
}

func (g *GangScheduling) progressOf(namespace, name string) (progress, error) {
	group, err := g.groups.PodGroups().Get(namespace, name)
	if err != nil {
		return progress{}, err
	}
	p := progress{group: group, needed: 1}
	if gang := group.Spec.SchedulingPolicy.Gang; gang != nil {
		p.needed = int(gang.MinCount)
	}
	p.state, err = g.groups.PodGroupStates().Get(namespace, name)
	return p, err
}

func (p progress) complete() bool { return p.state.ScheduledPodsCount() >= p.needed }

// PreEnqueue holds a pod back until its group exists and, in a gang, enough pods of it.
func (g *GangScheduling) PreEnqueue(_ context.Context, pod *v1.Pod) *fwk.Status {
	name := podgroup.NameOf(pod)
	if name == "" {
		return nil
	}
	p, err := g.progressOf(pod.Namespace, name)
	switch {
	case err != nil:
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf("waiting for pods's pod group %q to appear in scheduling queue", name))
	case p.state.AllPodsCount() < p.needed:
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
	p, err := g.progressOf(pod.Namespace, name)
	switch {
	case err != nil:
		return fwk.AsStatus(fmt.Errorf("failed to get podGroup %s/%s: %w", pod.Namespace, name, err)), 0
	case !p.complete():
		// The others may have been waiting for this one.
		g.handle.Activate(klog.FromContext(ctx), p.state.UnscheduledPods())
		return fwk.NewStatus(fwk.Wait, "waiting for minCount pods from a gang to be scheduled"), patience
	}
	for uid := range p.state.AssumedPods() {
		if waiting := g.handle.GetWaitingPod(uid); waiting != nil {
			waiting.Allow(Name)
		}
	}
	if err := podgroup.ReportScheduled(ctx, g.handle.ClientSet(), p.group); err != nil {
		klog.FromContext(ctx).Error(err, "A pod group was scheduled, but its status does not say so")
	}
	return nil, 0
}

// PostFilter takes the nodes of a gang back when one of its pods found none, so that half a gang keeps no room that
// others could use. It makes no room itself.
func (g *GangScheduling) PostFilter(ctx context.Context, _ fwk.CycleState, pod *v1.Pod, _ fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	name := podgroup.NameOf(pod)
	if name == "" {
		return nil, fwk.NewStatus(fwk.Unschedulable)
	}
	p, err := g.progressOf(pod.Namespace, name)
	if err != nil || p.complete() {
		return nil, fwk.NewStatus(fwk.Unschedulable)
	}
	for uid := range p.state.AssumedPods() {
		if waiting := g.handle.GetWaitingPod(uid); waiting != nil {
			waiting.Reject(Name, fmt.Sprintf("pod %s of the same gang cannot be scheduled", pod.Name))
		}
	}
	why := fmt.Sprintf("pod %s finds no node; of the %d pods that are needed, %d have one", pod.Name, p.needed, p.state.ScheduledPodsCount())
	if err := podgroup.ReportUnschedulable(ctx, g.handle.ClientSet(), p.group, why); err != nil {
		// The next attempt says it again.
		klog.FromContext(ctx).V(2).Info("A pod group's status does not say that it is unschedulable", "err", err)
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
