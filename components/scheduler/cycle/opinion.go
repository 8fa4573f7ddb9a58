package cycle

import (
	"context"
	"errors"
	"time"

	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/diagnosis"
	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
	"github.com/plumbline/plumbline/components/scheduler/queue"
	"github.com/plumbline/plumbline/components/scheduler/runtime"
)

// Opinion is what a scheduling cycle finds out about a pod before it acts on it.
type Opinion struct {
	// Rejected is why no node was looked at.
	Rejected *fwk.Status
	// Nodes says why each node does not do.
	Nodes map[string]*fwk.Status
	// Feasible are the scored nodes.
	Feasible []fwk.NodePluginScores
}

// Judge takes a pod through a scheduling cycle up to the choice of a node, and says how it would come about.
func (s *Scheduler) Judge(ctx context.Context, pod *nodeinfo.PodInfo) (*Opinion, error) {
	profile, found := s.Profiles[pod.GetPod().Spec.SchedulerName]
	if !found {
		return nil, errors.New("no profile " + pod.GetPod().Spec.SchedulerName)
	}
	s.Cache.UpdateSnapshot(s.Snapshot)
	if s.Snapshot.NumNodes() == 0 {
		return nil, errNoNodes
	}
	a := &attempt{profile: profile, pod: &queue.Pod{PodInfo: pod}, state: runtime.NewCycleState(false), start: time.Now()}
	if known, err := s.judgeClass(ctx, a); known != nil || err != nil {
		return known, err
	}
	d := diagnosis.New()
	feasible, err := s.feasible(ctx, a, &d)
	if err != nil {
		return nil, err
	}
	if d.Rejection != nil {
		return &Opinion{Rejected: d.Rejection}, nil
	}
	o := &Opinion{Nodes: d.Nodes.All()}
	if len(feasible) > 0 {
		o.Feasible, err = s.prioritize(ctx, a, feasible)
	}
	return o, err
}
