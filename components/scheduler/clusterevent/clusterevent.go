// Package clusterevent tells what a change to an object means for pods that wait: it turns object updates into the
// cluster events that plugins register for, and matches the two.
package clusterevent

import (
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/component-helpers/resource"
	fwk "k8s.io/kube-scheduler/framework"
)

// Labels of what moves pods between queues without an object having changed.
const (
	ScheduleAttemptFailure = "ScheduleAttemptFailure"
	BackoffComplete        = "BackoffComplete"
	ForceActivate          = "ForceActivate"
	UnschedulableTimeout   = "UnschedulableTimeout"
)

// Event makes a cluster event.
func Event(resource fwk.EventResource, action fwk.ActionType) fwk.ClusterEvent {
	return fwk.ClusterEvent{Resource: resource, ActionType: action}
}

// Everything is the event, under a label of its own, that any waiting pod is interested in.
func Everything(label string) fwk.ClusterEvent {
	return fwk.ClusterEvent{Resource: fwk.WildCard, ActionType: fwk.All, CustomLabel: label}
}

// IsEverything recognises an event that concerns every pod.
func IsEverything(e fwk.ClusterEvent) bool {
	return e.Resource == fwk.WildCard && e.ActionType == fwk.All
}

// Matches says whether a plugin that registered for one event wants to hear of another.
func Matches(registered, incoming fwk.ClusterEvent) bool {
	if IsEverything(registered) {
		return true
	}
	// An unspecific update (all update bits) is not what somebody who asked for one kind of update means.
	return covers(registered.Resource, incoming.Resource) &&
		registered.ActionType&incoming.ActionType != 0 && incoming.ActionType <= registered.ActionType
}

// MatchesAny says whether any registration wants to hear of the event.
func MatchesAny(registered []fwk.ClusterEvent, incoming fwk.ClusterEvent) bool {
	return slices.ContainsFunc(registered, func(r fwk.ClusterEvent) bool { return Matches(r, incoming) })
}

func covers(registered, incoming fwk.EventResource) bool {
	switch registered {
	case incoming, fwk.WildCard:
		return true
	case fwk.Pod:
		return incoming == fwk.AssignedPod || incoming == fwk.UnscheduledPod || incoming == fwk.TargetPod
	}
	return false
}

// PodUpdate lists what changed about a pod. Of a pod without node, target tells whether it is itself the one waiting.
func PodUpdate(older, newer *v1.Pod, target bool) []fwk.ClusterEvent {
	kind := fwk.UnscheduledPod
	switch {
	case newer.Spec.NodeName != "":
		kind = fwk.AssignedPod
	case target:
		kind = fwk.TargetPod
	}
	var events []fwk.ClusterEvent
	note := func(changed bool, action fwk.ActionType) {
		if changed {
			events = append(events, Event(kind, action))
		}
	}
	note(!maps.Equal(older.Labels, newer.Labels), fwk.UpdatePodLabel)
	less, more := requestsDiffer(older, newer)
	note(less, fwk.UpdatePodScaleDown)
	note(more, fwk.UpdatePodScaleUp)
	note(len(older.Spec.SchedulingGates) > 0 && len(newer.Spec.SchedulingGates) == 0, fwk.UpdatePodSchedulingGatesEliminated)
	note(len(older.Spec.Tolerations) != len(newer.Spec.Tolerations), fwk.UpdatePodToleration)
	note(!equality.Semantic.DeepEqual(older.Status.ResourceClaimStatuses, newer.Status.ResourceClaimStatuses), fwk.UpdatePodGeneratedResourceClaim)
	if len(events) == 0 {
		events = append(events, Event(kind, fwk.Update))
	}
	return events
}

func requestsDiffer(older, newer *v1.Pod) (less, more bool) {
	opts := resource.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}
	before, after := resource.PodRequests(older, opts), resource.PodRequests(newer, opts)
	for name, was := range before {
		is, found := after[name]
		less = less || !found || was.Cmp(is) > 0
		more = more || found && was.Cmp(is) < 0
	}
	for name := range after {
		if _, found := before[name]; !found {
			more = true
		}
	}
	return less, more
}

// NodeUpdate lists what changed about a node; heartbeats alone are nothing.
func NodeUpdate(older, newer *v1.Node) []fwk.ClusterEvent {
	var events []fwk.ClusterEvent
	note := func(changed bool, action fwk.ActionType) {
		if changed {
			events = append(events, Event(fwk.Node, action))
		}
	}
	note(older.Spec.Unschedulable && !newer.Spec.Unschedulable, fwk.UpdateNodeTaint)
	note(!equality.Semantic.DeepEqual(older.Status.Allocatable, newer.Status.Allocatable), fwk.UpdateNodeAllocatable)
	note(!maps.Equal(older.Labels, newer.Labels), fwk.UpdateNodeLabel)
	note(!equality.Semantic.DeepEqual(older.Spec.Taints, newer.Spec.Taints), fwk.UpdateNodeTaint)
	note(!maps.Equal(conditions(older), conditions(newer)), fwk.UpdateNodeCondition)
	note(!maps.Equal(older.Annotations, newer.Annotations), fwk.UpdateNodeAnnotation)
	note(!equality.Semantic.DeepEqual(older.Spec.PodPreemptionPolicy, newer.Spec.PodPreemptionPolicy), fwk.UpdateNodePreemptionPolicy)
	note(!slices.Equal(older.Status.DeclaredFeatures, newer.Status.DeclaredFeatures), fwk.UpdateNodeDeclaredFeature)
	return events
}

func conditions(n *v1.Node) map[v1.NodeConditionType]v1.ConditionStatus {
	status := make(map[v1.NodeConditionType]v1.ConditionStatus, len(n.Status.Conditions))
	for i := range n.Status.Conditions {
		status[n.Status.Conditions[i].Type] = n.Status.Conditions[i].Status
	}
	return status
}
