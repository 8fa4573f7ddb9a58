package cycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/diagnosis"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
)

// A cluster of up to fewNodes nodes is searched whole. In a larger one the search ends once enough feasible nodes are
// found: at least fewNodes, and at least minPercentage of all.
const (
	fewNodes      = 100
	minPercentage = 5
)

var errNoNodes = errors.New("no nodes available to schedule pods")

// choose finds the node for the pod. If there is none, it lets PostFilter plugins make room.
func (s *Scheduler) choose(ctx context.Context, a *attempt) (*fwk.NominatingInfo, *fwk.Status) {
	defer s.Metrics.Algorithm(a.start)
	node, err := s.best(ctx, a)
	if err == nil {
		a.node = node
		return nil, nil
	}
	var fit *diagnosis.FitError
	switch {
	case errors.Is(err, errNoNodes):
		return denominate, fwk.NewStatus(fwk.UnschedulableAndUnresolvable).WithError(err)
	case !errors.As(err, &fit):
		return denominate, fwk.AsStatus(err)
	case !a.profile.HasPostFilter():
		return denominate, fwk.NewStatus(fwk.Unschedulable).WithError(err)
	}
	result, status := a.profile.RunPostFilterPlugins(ctx, a.state, a.pod.GetPod(), fit.Diagnosis.Nodes)
	fit.Diagnosis.PostFilterMsg = status.Message()
	var nominating *fwk.NominatingInfo
	if result != nil {
		nominating = result.NominatingInfo
	}
	return nominating, fwk.NewStatus(fwk.Unschedulable).WithError(err)
}

func (s *Scheduler) best(ctx context.Context, a *attempt) (string, error) {
	if s.Snapshot.NumNodes() == 0 {
		return "", errNoNodes
	}
	if node, decided, err := s.bestOfClass(ctx, a); decided {
		return node, err
	}
	d := diagnosis.New()
	feasible, err := s.feasible(ctx, a, &d)
	switch {
	case err != nil:
		return "", err
	case len(feasible) == 0:
		return "", &diagnosis.FitError{Pod: a.pod.GetPod(), NumNodes: s.Snapshot.NumNodes(), Diagnosis: d}
	case len(feasible) == 1:
		return feasible[0].Node().Name, nil
	}
	scores, err := s.prioritize(ctx, a, feasible)
	if err != nil {
		return "", err
	}
	top := 0
	for i := range scores {
		if c, t := &scores[i], &scores[top]; c.TotalScore > t.TotalScore || c.TotalScore == t.TotalScore && c.Randomizer > t.Randomizer {
			top = i
		}
	}
	return scores[top].Name, nil
}

// feasible returns nodes that the pod fits; d learns why others do not.
func (s *Scheduler) feasible(ctx context.Context, a *attempt, d *diagnosis.Diagnosis) ([]fwk.NodeInfo, error) {
	pod := a.pod.GetPod()
	narrowed, status, narrowing := a.profile.RunPreFilterPlugins(ctx, a.state, pod)
	d.Unschedulable = narrowing
	if !status.IsSuccess() {
		if !status.IsRejected() {
			return nil, status.AsError()
		}
		d.Nodes.SetAbsent(status)
		d.Rejection = status
		d.AddPlugin(status)
		return nil, nil
	}
	if nominated := pod.Status.NominatedNodeName; nominated != "" {
		if node, err := s.Snapshot.Get(nominated); err == nil {
			if fits, err := s.filter(ctx, a, []fwk.NodeInfo{node}, d); err == nil && len(fits) > 0 {
				return fits, nil
			}
		}
	}
	nodes, _ := s.Snapshot.List()
	if !narrowed.AllNodes() {
		nodes = make([]fwk.NodeInfo, 0, len(narrowed.NodeNames))
		for name := range narrowed.NodeNames {
			if node, err := s.Snapshot.Get(name); err == nil {
				nodes = append(nodes, node)
			}
		}
		d.Nodes.SetAbsent(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", sets.List(narrowing))))
	}
	fits, err := s.filter(ctx, a, nodes, d)
	s.next = (s.next + len(fits) + d.Nodes.Len()) % s.Snapshot.NumNodes()
	return fits, err
}

// filter asks plugins, then extenders, until enough nodes are found.
func (s *Scheduler) filter(ctx context.Context, a *attempt, nodes []fwk.NodeInfo, d *diagnosis.Diagnosis) ([]fwk.NodeInfo, error) {
	fits, err := s.passFilters(ctx, a, nodes, d)
	if err != nil {
		return nil, err
	}
	kept, err := s.passExtenders(ctx, a.pod.GetPod(), fits, d.Nodes)
	if err == nil && len(kept) != len(fits) {
		if d.Unschedulable == nil {
			d.Unschedulable = sets.New[string]()
		}
		d.Unschedulable.Insert(diagnosis.ExtenderName)
	}
	return kept, err
}

func (s *Scheduler) passFilters(ctx context.Context, a *attempt, nodes []fwk.NodeInfo, d *diagnosis.Diagnosis) ([]fwk.NodeInfo, error) {
	start, code := time.Now(), fwk.Success
	defer func() { s.Metrics.ExtensionPoint(metrics.Filter, a.profile.ProfileName(), code, start) }()
	enough := int32(s.enough(a, len(nodes)))
	fits := make([]fwk.NodeInfo, enough)
	rejected := make([]*fwk.Status, len(nodes))
	var found atomic.Int32
	searching, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	at := func(i int) int { return (s.next + i) % len(nodes) }
	a.profile.Parallelizer().Until(searching, len(nodes), func(i int) {
		node := nodes[at(i)]
		status := a.profile.RunFilterPluginsWithNominatedPods(searching, a.state, a.pod.GetPod(), node)
		switch {
		case status.Code() == fwk.Error:
			stop(status.AsError())
		case !status.IsSuccess():
			rejected[i] = status
		default:
			if n := found.Add(1); n <= enough {
				fits[n-1] = node
			} else {
				stop(errEnough)
			}
		}
	}, metrics.Filter)
	for i, status := range rejected {
		if status != nil {
			d.Nodes.Set(nodes[at(i)].Node().Name, status)
			d.AddPlugin(status)
		}
	}
	if err := context.Cause(searching); err != nil && !errors.Is(err, errEnough) {
		code = fwk.Error
		return nil, err
	}
	return fits[:min(found.Load(), enough)], nil
}

var errEnough = errors.New("found enough nodes")

// enough is how many feasible nodes a search over so many nodes is to find.
func (s *Scheduler) enough(a *attempt, nodes int) int {
	if !a.profile.HasScore() && len(s.Extenders) == 0 {
		return 1
	}
	if nodes < fewNodes {
		return nodes
	}
	percentage := int(s.Percentage)
	if own := a.profile.PercentageOfNodesToScore(); own != nil {
		percentage = int(*own)
	}
	if percentage == 0 {
		// The larger the cluster, the smaller the part that is needed for a good choice.
		percentage = max(50-nodes/125, minPercentage)
	}
	return max(nodes*percentage/100, fewNodes)
}

func (s *Scheduler) passExtenders(ctx context.Context, pod *v1.Pod, nodes []fwk.NodeInfo, statuses *diagnosis.NodeStatuses) ([]fwk.NodeInfo, error) {
	for _, extender := range s.Extenders {
		if len(nodes) == 0 || !extender.IsFilter() || !extender.IsInterested(pod) {
			continue
		}
		kept, failed, hopeless, err := extender.Filter(pod, nodes)
		if err != nil {
			if extender.IsIgnorable() {
				klog.FromContext(ctx).Info("Ignored failed extender", "extender", extender.Name(), "err", err)
				continue
			}
			return nil, err
		}
		for name, reason := range failed {
			statuses.Set(name, fwk.NewStatus(fwk.Unschedulable, reason))
		}
		for name, reason := range hopeless {
			statuses.Set(name, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason))
		}
		nodes = kept
	}
	return nodes, nil
}

// prioritize scores the nodes by plugins and extenders.
func (s *Scheduler) prioritize(ctx context.Context, a *attempt, nodes []fwk.NodeInfo) ([]fwk.NodePluginScores, error) {
	pod := a.pod.GetPod()
	if status := a.profile.RunPreScorePlugins(ctx, a.state, pod, nodes); !status.IsSuccess() {
		return nil, status.AsError()
	}
	scores, status := a.profile.RunScorePlugins(ctx, a.state, pod, nodes)
	if !status.IsSuccess() {
		return nil, status.AsError()
	}
	if len(s.Extenders) > 0 {
		s.addExtenderScores(ctx, pod, nodes, scores)
	}
	return scores, nil
}

func (s *Scheduler) addExtenderScores(ctx context.Context, pod *v1.Pod, nodes []fwk.NodeInfo, scores []fwk.NodePluginScores) {
	index := make(map[string]int, len(scores))
	for i := range scores {
		index[scores[i].Name] = i
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, extender := range s.Extenders {
		if !extender.IsPrioritizer() || !extender.IsInterested(pod) {
			continue
		}
		wg.Go(func() {
			list, weight, err := extender.Prioritize(pod, nodes)
			if err != nil {
				// A missing opinion is no reason not to schedule.
				klog.FromContext(ctx).V(5).Info("Extender did not score", "extender", extender.Name(), "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, host := range *list {
				if i, found := index[host.Host]; found {
					score := host.Score * weight * (fwk.MaxScore / extenderv1.MaxExtenderPriority)
					scores[i].Scores = append(scores[i].Scores, fwk.PluginScore{Name: extender.Name(), Score: score})
					scores[i].TotalScore += score
				}
			}
		})
	}
	wg.Wait()
}
