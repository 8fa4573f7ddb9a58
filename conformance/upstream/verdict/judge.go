package main

import (
	"encoding/json"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

func stated(s *fwk.Status) status {
	reasons := slices.Clone(s.Reasons())
	slices.Sort(reasons)
	return status{Code: s.Code().String(), Plugin: s.Plugin(), Reasons: reasons}
}

// judge asks the plugins about every node. A node that PreFilter leaves out has no status.
func (c *cluster) judge(raw json.RawMessage) (*verdict, error) {
	pod, err := decode[*v1.Pod](raw)
	if err != nil {
		return nil, err
	}
	if err := c.scheduler.Cache.UpdateSnapshot(klog.Background(), c.snapshot); err != nil {
		return nil, err
	}
	profile := c.scheduler.Profiles[v1.DefaultSchedulerName]
	state := framework.NewCycleState()
	narrowed, rejection, _ := profile.RunPreFilterPlugins(c.ctx, state, pod)
	if !rejection.IsSuccess() {
		s := stated(rejection)
		return &verdict{Rejected: &s}, nil
	}
	all, err := c.snapshot.NodeInfos().List()
	if err != nil {
		return nil, err
	}
	v := &verdict{Nodes: map[string]status{}, Feasible: map[string]scores{}}
	var feasible []fwk.NodeInfo
	for _, node := range all {
		name := node.Node().Name
		if !narrowed.AllNodes() && !narrowed.NodeNames.Has(name) {
			continue
		}
		if s := profile.RunFilterPluginsWithNominatedPods(c.ctx, state, pod, node); s.IsSuccess() {
			feasible = append(feasible, node)
		} else {
			v.Nodes[name] = stated(s)
		}
	}
	if len(feasible) == 0 {
		return v, nil
	}
	if s := profile.RunPreScorePlugins(c.ctx, state, pod, feasible); !s.IsSuccess() {
		return &verdict{Error: s.Message()}, nil
	}
	list, s := profile.RunScorePlugins(c.ctx, state, pod, feasible)
	if !s.IsSuccess() {
		return &verdict{Error: s.Message()}, nil
	}
	for _, scored := range list {
		own := scores{Total: scored.TotalScore, Plugin: map[string]int64{}}
		for _, p := range scored.Scores {
			if p.Score != 0 {
				own.Plugin[p.Name] = p.Score
			}
		}
		v.Feasible[scored.Name] = own
	}
	return v, nil
}
