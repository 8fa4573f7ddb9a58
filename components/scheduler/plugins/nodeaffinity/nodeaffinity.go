// Package nodeaffinity is the NodeAffinity plugin: spec.nodeSelector, required and preferred node affinity, and the
// affinity that a profile adds to all its pods.
// https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
package nodeaffinity

import (
	"context"
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/equivalence"
	"github.com/plumbline/plumbline/components/scheduler/plugins/normalize"
)

// Name of the plugin.
const Name = "NodeAffinity"

// Reasons given for a rejected node.
const (
	ReasonPod      = "node(s) didn't match Pod's node affinity/selector"
	ReasonEnforced = "node(s) didn't match scheduler-enforced node affinity"
	ReasonConflict = "pod affinity terms conflict"
)

const (
	filterKey fwk.StateKey = "PreFilter" + Name
	scoreKey  fwk.StateKey = "PreScore" + Name
)

// NodeAffinity filters and scores by node labels and names.
type NodeAffinity struct {
	enforced  *nodeaffinity.NodeSelector
	preferred *nodeaffinity.PreferredSchedulingTerms
}

var (
	_ fwk.PreFilterPlugin   = &NodeAffinity{}
	_ fwk.FilterPlugin      = &NodeAffinity{}
	_ fwk.PreScorePlugin    = &NodeAffinity{}
	_ fwk.ScorePlugin       = &NodeAffinity{}
	_ fwk.EnqueueExtensions = &NodeAffinity{}
)

// New makes the plugin from *NodeAffinityArgs.
func New(_ context.Context, obj runtime.Object, _ fwk.Handle) (fwk.Plugin, error) {
	args, ok := obj.(*configv1.NodeAffinityArgs)
	if !ok {
		return nil, fmt.Errorf("args are not of type NodeAffinityArgs, got %T", obj)
	}
	return parse(nil, args)
}

// Validate checks the arguments.
func Validate(path *field.Path, args *configv1.NodeAffinityArgs) error {
	_, err := parse(path, args)
	return err
}

func parse(path *field.Path, args *configv1.NodeAffinityArgs) (*NodeAffinity, error) {
	plugin := &NodeAffinity{}
	added := args.AddedAffinity
	if added == nil {
		return plugin, nil
	}
	base := path.Child("addedAffinity")
	var errs [2]error
	if required := added.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		plugin.enforced, errs[0] = nodeaffinity.NewNodeSelector(required, field.WithPath(base.Child("requiredDuringSchedulingIgnoredDuringExecution")))
	}
	if terms := added.PreferredDuringSchedulingIgnoredDuringExecution; len(terms) > 0 {
		plugin.preferred, errs[1] = nodeaffinity.NewPreferredSchedulingTerms(terms, field.WithPath(base.Child("preferredDuringSchedulingIgnoredDuringExecution")))
	}
	return plugin, errors.Join(errs[:]...)
}

// Name returns the plugin's name.
func (*NodeAffinity) Name() string { return Name }

// Covers says that a class tells the plugin all about a pod.
func (*NodeAffinity) Covers(*v1.Pod) bool { return true }

// Scale says that the highest sum of weights scores 100.
func (*NodeAffinity) Scale() equivalence.Scale { return equivalence.ToHighest }

type required struct {
	nodeaffinity.RequiredNodeAffinity
}

// Clone returns the value itself: it does not change.
func (r *required) Clone() fwk.StateData { return r }

type preferences struct {
	*nodeaffinity.PreferredSchedulingTerms
}

// Clone returns the value itself: it does not change.
func (p *preferences) Clone() fwk.StateData { return p }

// PreFilter parses the pod's selector and, where every term names nodes, narrows the search to these.
func (n *NodeAffinity) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	var selector *v1.NodeSelector
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		selector = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	if selector == nil && n.enforced == nil && pod.Spec.NodeSelector == nil {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	state.Write(filterKey, &required{nodeaffinity.GetRequiredNodeAffinity(pod)})
	names, all := namedNodes(selector)
	switch {
	case all:
		return nil, nil
	case len(names) == 0:
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, ReasonConflict)
	}
	return &fwk.PreFilterResult{NodeNames: names}, nil
}

// namedNodes returns the nodes that the selector's terms name; all means that some term names none.
func namedNodes(selector *v1.NodeSelector) (names sets.Set[string], all bool) {
	if selector == nil || len(selector.NodeSelectorTerms) == 0 {
		return nil, true
	}
	names = sets.New[string]()
	for i := range selector.NodeSelectorTerms {
		var ofTerm sets.Set[string]
		for _, requirement := range selector.NodeSelectorTerms[i].MatchFields {
			if requirement.Key != metav1.ObjectNameField || requirement.Operator != v1.NodeSelectorOpIn {
				continue
			}
			values := sets.New(requirement.Values...)
			if ofTerm != nil {
				values = ofTerm.Intersection(values)
			}
			ofTerm = values
		}
		if ofTerm == nil {
			return nil, true
		}
		names = names.Union(ofTerm)
	}
	return names, false
}

// PreFilterExtensions is nil: other pods do not matter.
func (*NodeAffinity) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

// Filter rejects nodes that do not match.
func (n *NodeAffinity) Filter(_ context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	if n.enforced != nil && !n.enforced.Match(node.Node()) {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, ReasonEnforced)
	}
	var wanted nodeaffinity.RequiredNodeAffinity
	if data, err := state.Read(filterKey); err == nil {
		wanted = data.(*required).RequiredNodeAffinity
	} else {
		wanted = nodeaffinity.GetRequiredNodeAffinity(pod)
	}
	if match, _ := wanted.Match(node.Node()); !match {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, ReasonPod)
	}
	return nil
}

// PreScore parses the pod's preferences.
func (n *NodeAffinity) PreScore(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	own, err := podPreferences(pod)
	if err != nil {
		return fwk.AsStatus(err)
	}
	if own == nil && n.preferred == nil {
		return fwk.NewStatus(fwk.Skip)
	}
	state.Write(scoreKey, &preferences{own})
	return nil
}

func podPreferences(pod *v1.Pod) (*nodeaffinity.PreferredSchedulingTerms, error) {
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution != nil {
		return nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return nil, nil
}

// Score sums the weights of the matching preferences.
func (n *NodeAffinity) Score(_ context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	var own *nodeaffinity.PreferredSchedulingTerms
	if data, err := state.Read(scoreKey); err == nil {
		own = data.(*preferences).PreferredSchedulingTerms
	} else if own, err = podPreferences(pod); err != nil {
		return 0, fwk.AsStatus(err)
	}
	var sum int64
	for _, terms := range [...]*nodeaffinity.PreferredSchedulingTerms{n.preferred, own} {
		if terms != nil {
			sum += terms.Score(node.Node())
		}
	}
	return sum, nil
}

// ScoreExtensions returns the plugin, which normalises.
func (n *NodeAffinity) ScoreExtensions() fwk.ScoreExtensions { return n }

// NormalizeScore scales to the highest sum.
func (*NodeAffinity) NormalizeScore(_ context.Context, _ fwk.CycleState, _ *v1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	normalize.ToMax(scores, false)
	return nil
}

// EventsToRegister waits for nodes that match.
func (n *NodeAffinity) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		{Event: clusterevent.Event(fwk.Node, fwk.Add|fwk.UpdateNodeLabel), QueueingHintFn: n.nodeChanged},
	}, nil
}

func (n *NodeAffinity) nodeChanged(_ klog.Logger, pod *v1.Pod, older, newer any) (fwk.QueueingHint, error) {
	was, is, err := clusterevent.Objects[*v1.Node](older, newer)
	if err != nil {
		return fwk.Queue, err
	}
	wanted := nodeaffinity.GetRequiredNodeAffinity(pod)
	if n.enforced != nil && !n.enforced.Match(is) {
		return fwk.QueueSkip, nil
	}
	if match, err := wanted.Match(is); err != nil {
		return fwk.Queue, err
	} else if !match {
		return fwk.QueueSkip, nil
	}
	if was != nil {
		matched, err := wanted.Match(was)
		if err != nil {
			return fwk.Queue, err
		}
		// The profile's own demand may have been what was not met before.
		if matched && (n.enforced == nil || n.enforced.Match(was)) {
			return fwk.QueueSkip, nil
		}
	}
	return fwk.Queue, nil
}
