package cycle

import (
	"context"
	"time"

	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/diagnosis"
	"github.com/plumbline/plumbline/components/scheduler/equivalence"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
)

// classOf returns the class of the pod if what is known of it may decide. Where extenders have a say, each pod is
// looked at by itself.
func (s *Scheduler) classOf(ctx context.Context, a *attempt, state fwk.CycleState) *equivalence.Class {
	if len(s.Extenders) > 0 {
		return nil
	}
	return a.profile.Classes().Of(ctx, state, a.pod.PodInfo, s.view())
}

// bestOfClass chooses by what is known of the pod's class; false means that too little is, or that finding it out failed.
func (s *Scheduler) bestOfClass(ctx context.Context, a *attempt) (node string, decided bool, err error) {
	start, state := time.Now(), runtime.NewCycleState(a.state.ShouldRecordPluginMetrics())
	class := s.classOf(ctx, a, state)
	if class == nil {
		return "", false, nil
	}
	looked, err := s.searchClass(ctx, a, class, s.enough(a, s.Snapshot.NumNodes()))
	if err != nil {
		return "", false, err
	}
	if class.Candidates() == 0 {
		d, complete := s.diagnose(ctx, a, class)
		if !complete {
			return "", false, nil
		}
		s.Metrics.ExtensionPoint(metrics.Filter, a.profile.ProfileName(), fwk.Success, start)
		return "", true, &diagnosis.FitError{Pod: a.pod.GetPod(), NumNodes: s.Snapshot.NumNodes(), Diagnosis: d}
	}
	if class.Candidates() > 1 && !class.Agreed(ctx, state, a.pod.GetPod()) {
		return "", false, nil
	}
	a.state = state
	s.next = (s.next + looked) % s.Snapshot.NumNodes()
	s.Metrics.ExtensionPoint(metrics.Filter, a.profile.ProfileName(), fwk.Success, start)
	if class.Candidates() == 1 {
		return class.First().Node().Name, true, nil
	}
	start = time.Now()
	best := class.Best().Node().Name
	s.Metrics.ExtensionPoint(metrics.Score, a.profile.ProfileName(), fwk.Success, start)
	return best, true, nil
}

// searchClass looks for nodes: first for the one that the pod is nominated to, then for enough of any.
func (s *Scheduler) searchClass(ctx context.Context, a *attempt, class *equivalence.Class, enough int) (looked int, err error) {
	if nominated := a.pod.GetPod().Status.NominatedNodeName; nominated != "" {
		if at, found := s.Snapshot.Place(nominated); found {
			if suits, err := class.Only(ctx, at); suits || err != nil {
				return 0, err
			}
		}
	}
	return class.Search(ctx, s.next, enough)
}

// diagnose says why no node suits the class, and prepares the pod's own state for plugins that make room.
func (s *Scheduler) diagnose(ctx context.Context, a *attempt, class *equivalence.Class) (d diagnosis.Diagnosis, complete bool) {
	narrowed, status, narrowing := a.profile.RunPreFilterPlugins(ctx, a.state, a.pod.GetPod())
	if !status.IsSuccess() || !narrowed.AllNodes() {
		return d, false
	}
	d = diagnosis.New()
	d.Unschedulable = narrowing
	for at, node := range s.Snapshot.All() {
		status, err := class.Status(ctx, at)
		if status == nil || err != nil {
			return d, false
		}
		d.Nodes.Set(node.Node().Name, status)
		d.AddPlugin(status)
	}
	return d, true
}

// judgeClass is Judge by what is known of the pod's class; nil if too little is.
func (s *Scheduler) judgeClass(ctx context.Context, a *attempt) (*Opinion, error) {
	state := runtime.NewCycleState(false)
	class := s.classOf(ctx, a, state)
	if class == nil {
		return nil, nil
	}
	looked, err := s.searchClass(ctx, a, class, s.Snapshot.NumNodes())
	if err != nil {
		return nil, err
	}
	if !class.Agreed(ctx, state, a.pod.GetPod()) {
		return nil, nil
	}
	o := &Opinion{Nodes: map[string]*fwk.Status{}}
	if class.Candidates() > 0 {
		o.Feasible = class.Scores()
	}
	if looked == 0 {
		return o, nil
	}
	for at, node := range s.Snapshot.All() {
		status, err := class.Status(ctx, at)
		if err != nil {
			return nil, err
		}
		if status != nil {
			o.Nodes[node.Node().Name] = status
		}
	}
	return o, nil
}
