// Package defaultpreemption is the DefaultPreemption plugin: it evicts less important pods for one that fits nowhere.
// https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
package defaultpreemption

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/clusterevent"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/preemption"
	"github.com/plumbline/plumbline/components/scheduler/queue"
)

// Name of the plugin.
const Name = "DefaultPreemption"

// DefaultPreemption preempts.
type DefaultPreemption struct {
	evaluator *preemption.Evaluator
	executor  *preemption.Executor
	metrics   *metrics.Metrics
}

var (
	_ fwk.PostFilterPlugin  = &DefaultPreemption{}
	_ fwk.PreEnqueuePlugin  = &DefaultPreemption{}
	_ fwk.EnqueueExtensions = &DefaultPreemption{}
	_ queue.Awaiter         = &DefaultPreemption{}
)

// New returns a factory of the plugin, made from *DefaultPreemptionArgs, that counts in m.
func New(m *metrics.Metrics) func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
	return func(_ context.Context, obj runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		args, ok := obj.(*configv1.DefaultPreemptionArgs)
		if !ok {
			return nil, fmt.Errorf("got args of type %T, want *DefaultPreemptionArgs", obj)
		}
		if err := Validate(nil, args); err != nil {
			return nil, err
		}
		return &DefaultPreemption{
			evaluator: preemption.NewEvaluator(handle, *args.MinCandidateNodesPercentage, *args.MinCandidateNodesAbsolute),
			executor:  preemption.NewExecutor(handle, Name),
			metrics:   m,
		}, nil
	}
}

// Validate checks the arguments.
func Validate(path *field.Path, args *configv1.DefaultPreemptionArgs) error {
	var errs field.ErrorList
	percent, absolute := *args.MinCandidateNodesPercentage, *args.MinCandidateNodesAbsolute
	atPercent, atAbsolute := path.Child("minCandidateNodesPercentage"), path.Child("minCandidateNodesAbsolute")
	if percent < 0 || percent > 100 {
		errs = append(errs, field.Invalid(atPercent, percent, "not in valid range [0, 100]"))
	}
	if absolute < 0 {
		errs = append(errs, field.Invalid(atAbsolute, absolute, "not in valid range [0, inf)"))
	}
	if percent == 0 && absolute == 0 {
		errs = append(errs, field.Invalid(atPercent, percent, "cannot be zero at the same time as minCandidateNodesAbsolute"),
			field.Invalid(atAbsolute, absolute, "cannot be zero at the same time as minCandidateNodesPercentage"))
	}
	return errs.ToAggregate()
}

// Name returns the plugin's name.
func (*DefaultPreemption) Name() string { return Name }

// PostFilter chooses a node and starts to evict its victims.
func (d *DefaultPreemption) PostFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	d.metrics.PreemptionAttempt()
	d.executor.Forget(pod.UID)
	chosen, denominate, status := d.evaluator.Evaluate(ctx, state, pod, nodes)
	if !status.IsSuccess() {
		var result *fwk.PostFilterResult
		if denominate {
			result = nominate("")
		}
		return result, fwk.NewStatus(status.Code(), "preemption: "+status.Message())
	}
	d.metrics.PreemptionVictims(chosen.NumVictims())
	klog.FromContext(ctx).V(2).Info("Preempting", "pod", klog.KObj(pod), "node", chosen.Node(), "victims", chosen.NumVictims())
	d.executor.Start(pod, chosen)
	return nominate(chosen.Node()), fwk.NewStatus(fwk.Success,
		fmt.Sprintf("preemption: found a potential placement for pod on node %v, preempting %d victims", chosen.Node(), chosen.NumVictims()))
}

func nominate(node string) *fwk.PostFilterResult {
	return &fwk.PostFilterResult{NominatingInfo: &fwk.NominatingInfo{NominatedNodeName: node, NominatingMode: fwk.ModeOverride}}
}

// PreEnqueue holds the preemptor back until all evictions are requested: before, it would find the node still full.
func (d *DefaultPreemption) PreEnqueue(_ context.Context, pod *v1.Pod) *fwk.Status {
	if d.executor.IsPreempting(pod.UID) {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "waiting for the preemption for this pod to be finished")
	}
	return nil
}

// Awaits says whether the preemptor waited for the pod that is gone, and waits for more.
func (d *DefaultPreemption) Awaits(waiting types.UID, gone *v1.Pod) (awaited, more bool) {
	return d.executor.Awaits(waiting, gone)
}

// EventsToRegister lets a deletion ask PreEnqueue again, without being a reason to retry by itself: the plugin that
// rejected the pod says whether it is.
func (*DefaultPreemption) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{{
		Event: clusterevent.Event(fwk.AssignedPod, fwk.Delete),
		QueueingHintFn: func(klog.Logger, *v1.Pod, any, any) (fwk.QueueingHint, error) {
			return fwk.QueueSkip, nil
		},
	}}, nil
}
