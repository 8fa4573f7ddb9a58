// Package nodedeclaredfeatures is the NodeDeclaredFeatures plugin: a pod whose spec needs a feature of the kubelet fits
// only nodes that declare it (KEP-5328).
package nodedeclaredfeatures

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/version"
	ndf "k8s.io/component-helpers/nodedeclaredfeatures"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/equivalence"
)

// Name of the plugin.
const Name = "NodeDeclaredFeatures"

// Reason given for a rejected node.
const Reason = "node(s) didn't match Pod's required features"

const stateKey fwk.StateKey = "PreFilter" + Name

// NodeDeclaredFeatures filters by declared features.
type NodeDeclaredFeatures struct {
	target *version.Version
}

var (
	_ fwk.PreFilterPlugin   = &NodeDeclaredFeatures{}
	_ fwk.FilterPlugin      = &NodeDeclaredFeatures{}
	_ fwk.EnqueueExtensions = &NodeDeclaredFeatures{}
)

// New makes the plugin for the Kubernetes version it is part of.
func New(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
	return &NodeDeclaredFeatures{target: version.MustParse("1.37.2")}, nil
}

// Name returns the plugin's name.
func (*NodeDeclaredFeatures) Name() string { return Name }

// Covers says that the pod needs no feature: which it would need is not part of a class.
func (f *NodeDeclaredFeatures) Covers(pod *v1.Pod) bool {
	features, err := f.needs(pod)
	return err == nil && features.IsEmpty()
}

// Scale says that it does not score.
func (*NodeDeclaredFeatures) Scale() equivalence.Scale { return equivalence.AsIs }

type needed struct{ features ndf.FeatureSet }

// Clone returns the value itself: it does not change.
func (n *needed) Clone() fwk.StateData { return n }

func (f *NodeDeclaredFeatures) needs(pod *v1.Pod) (ndf.FeatureSet, error) {
	return ndf.DefaultFramework.InferForPodScheduling(&ndf.PodInfo{Spec: &pod.Spec}, f.target)
}

// PreFilter infers what the pod needs.
func (f *NodeDeclaredFeatures) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	features, err := f.needs(pod)
	if err != nil {
		return nil, fwk.AsStatus(err)
	}
	if features.IsEmpty() {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	state.Write(stateKey, &needed{features})
	return nil, nil
}

// PreFilterExtensions is nil: other pods do not matter.
func (*NodeDeclaredFeatures) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter rejects nodes that do not declare what the pod needs.
func (*NodeDeclaredFeatures) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	data, err := state.Read(stateKey)
	if err != nil {
		return fwk.AsStatus(err)
	}
	declared, err := data.(*needed).features.IsSubset(node.GetNodeDeclaredFeatures())
	if err != nil {
		return fwk.AsStatus(fmt.Errorf("comparing declared features: %w", err))
	}
	if !declared {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, Reason)
	}
	return nil
}

// EventsToRegister waits for nodes that declare more and for the pod to need less.
func (f *NodeDeclaredFeatures) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.Node, fwk.Add|fwk.UpdateNodeDeclaredFeature), QueueingHintFn: nodeChanged},
		{Event: clusterevent.Event(fwk.TargetPod, fwk.Update), QueueingHintFn: f.podChanged},
	}, nil
}

func nodeChanged(_ klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Node](older, newer)
	if err == nil && was != nil && slices.Equal(was.Status.DeclaredFeatures, is.Status.DeclaredFeatures) {
		return fwk.QueueSkip, nil
	}
	return fwk.Queue, err
}

func (f *NodeDeclaredFeatures) podChanged(_ klog.Logger, _ *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Pod](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	before, err := f.needs(was)
	if err != nil {
		return fwk.Queue, err
	}
	after, err := f.needs(is)
	if err == nil && after.Equal(before) {
		return fwk.QueueSkip, nil
	}
	return fwk.Queue, err
}
