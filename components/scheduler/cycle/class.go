package cycle

import (
	"context"
	"time"

	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/equivalence"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
)

// classOf returns the class of the pod if what is known of it may decide. Where pods are nominated, or extenders have a
// say, nodes are not what they seem, and each pod is looked at by itself.
func (s *Scheduler) classOf(ctx context.Context, a *attempt, state fwk.CycleState) *equivalence.Class {
	if len(s.Extenders) > 0 || s.Queue.Any() || a.pod.GetPod().Status.NominatedNodeName != "" {
		return nil
	}
	return a.profile.Classes().Of(ctx, state, a.pod.PodInfo, s.Snapshot)
}

// bestOfClass chooses by what is known of the pod's class. It finds nothing where no node does: then each node is asked
// again, for the reasons and for preemption.
func (s *Scheduler) bestOfClass(ctx context.Context, a *attempt) (string, bool) {
	start, state := time.Now(), runtime.NewCycleState(a.state.ShouldRecordPluginMetrics())
	class := s.classOf(ctx, a, state)
	if class == nil {
		return "", false
	}
	looked, err := class.Search(ctx, s.next, s.enough(a, s.Snapshot.NumNodes()))
	if err != nil || class.Candidates() == 0 || !class.Agreed(ctx, state, a.pod.GetPod()) {
		return "", false
	}
	a.state = state
	s.next = (s.next + looked) % s.Snapshot.NumNodes()
	s.Metrics.ExtensionPoint(metrics.Filter, a.profile.ProfileName(), fwk.Success, start)
	if class.Candidates() == 1 {
		return class.First().Node().Name, true
	}
	start = time.Now()
	best := class.Best().Node().Name
	s.Metrics.ExtensionPoint(metrics.Score, a.profile.ProfileName(), fwk.Success, start)
	return best, true
}

// judgeClass is Judge by what is known of the pod's class; nil if too little is.
func (s *Scheduler) judgeClass(ctx context.Context, a *attempt) (*Opinion, error) {
	state := runtime.NewCycleState(false)
	class := s.classOf(ctx, a, state)
	if class == nil {
		return nil, nil
	}
	if _, err := class.Search(ctx, 0, s.Snapshot.NumNodes()); err != nil {
		return nil, err
	}
	if !class.Agreed(ctx, state, a.pod.GetPod()) {
		return nil, nil
	}
	o := &Opinion{Nodes: map[string]*fwk.Status{}}
	for at, node := range s.Snapshot.All() {
		status, err := class.Status(ctx, at)
		if err != nil {
			return nil, err
		}
		if status != nil {
			o.Nodes[node.Node().Name] = status
		}
	}
	if class.Candidates() > 0 {
		o.Feasible = class.Scores()
	}
	return o, nil
}
