package schedulertest

import (
	"context"
	"testing"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/runtime"
)

// Filter runs the plugin's PreFilter and Filter and returns the reason for each node, empty where the pod fits.
// PreFilter rejecting is given under the name "*".
func (c *Cluster) Filter(t testing.TB, plugin fwk.Plugin, pod *v1.Pod) map[string]string {
	t.Helper()
	ctx, state := context.Background(), runtime.NewCycleState(false)
	nodes, _ := c.Snapshot.List()
	verdicts := map[string]string{}
	skip := false
	var narrowed *fwk.PreFilterResult
	if pre, ok := plugin.(fwk.PreFilterPlugin); ok {
		var status *fwk.Status
		narrowed, status = pre.PreFilter(ctx, state, pod, nodes)
		if skip = status.IsSkip(); !skip && !status.IsSuccess() {
			return map[string]string{"*": Word(status)}
		}
	}
	for _, node := range nodes {
		name := node.Node().Name
		if !narrowed.AllNodes() && !narrowed.NodeNames.Has(name) {
			verdicts[name] = "not among the nodes to filter"
		} else if skip {
			verdicts[name] = ""
		} else {
			verdicts[name] = Word(plugin.(fwk.FilterPlugin).Filter(ctx, state, pod, node))
		}
	}
	return verdicts
}

// Word is a status in words: its message, with a mark where preemption cannot help.
func Word(status *fwk.Status) string {
	switch status.Code() {
	case fwk.Success:
		return ""
	case fwk.Unschedulable:
		return status.Message()
	case fwk.UnschedulableAndUnresolvable:
		return status.Message() + " (unresolvable)"
	}
	return status.Code().String() + ": " + status.Message()
}

// Score runs the plugin's PreScore, Score and NormalizeScore over all nodes; nil means that PreScore skipped.
func (c *Cluster) Score(t testing.TB, plugin fwk.ScorePlugin, pod *v1.Pod) map[string]int64 {
	t.Helper()
	ctx, state := context.Background(), runtime.NewCycleState(false)
	nodes, _ := c.Snapshot.List()
	if pre, ok := plugin.(fwk.PreScorePlugin); ok {
		if status := pre.PreScore(ctx, state, pod, nodes); status.IsSkip() {
			return nil
		} else if !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
	}
	var list fwk.NodeScoreList
	for _, node := range nodes {
		score, status := plugin.Score(ctx, state, pod, node)
		if !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
		list = append(list, fwk.NodeScore{Name: node.Node().Name, Score: score})
	}
	if ext := plugin.ScoreExtensions(); ext != nil {
		if status := ext.NormalizeScore(ctx, state, pod, list); !status.IsSuccess() {
			t.Fatal(status.AsError())
		}
	}
	scores := map[string]int64{}
	for _, entry := range list {
		scores[entry.Name] = entry.Score
	}
	return scores
}
