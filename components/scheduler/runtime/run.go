package runtime

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/equivalence"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
)

// timed runs call and, in the cycles chosen for it, records how long the plugin took.
func (p *Profile) timed(state fwk.CycleState, point string, plugin fwk.Plugin, call func() *fwk.Status) *fwk.Status {
	if !state.ShouldRecordPluginMetrics() {
		return call()
	}
	start := time.Now()
	status := call()
	p.metrics.Plugin(point, plugin.Name(), status.Code(), start)
	return status
}

func (p *Profile) observe(point string, status **fwk.Status) func() {
	start := time.Now()
	return func() { p.metrics.ExtensionPoint(point, p.name, (*status).Code(), start) }
}

// RunPreFilterPlugins prepares filtering. It returns the nodes worth filtering, the verdict, and the plugins that
// narrowed the nodes.
func (p *Profile) RunPreFilterPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod) (_ *fwk.PreFilterResult, status *fwk.Status, _ sets.Set[string]) {
	defer p.observe(metrics.PreFilter, &status)()
	skip := sets.New[string]()
	defer func() { state.SetSkipFilterPlugins(skip) }()
	nodes, err := p.SnapshotSharedLister().NodeInfos().List()
	if err != nil {
		return nil, fwk.AsStatus(fmt.Errorf("getting all nodes: %w", err)), nil
	}
	ctx = logger(ctx, metrics.PreFilter)
	var result *fwk.PreFilterResult
	var rejection *fwk.Status
	narrowing := sets.New[string]()
	for _, plugin := range p.preFilter {
		var own *fwk.PreFilterResult
		verdict := p.timed(state, metrics.PreFilter, plugin, func() (s *fwk.Status) {
			own, s = plugin.PreFilter(ctx, state, pod, nodes)
			return s
		})
		switch verdict.Code() {
		case fwk.Success:
		case fwk.Skip:
			skip.Insert(plugin.Name())
			continue
		case fwk.UnschedulableAndUnresolvable:
			return nil, verdict.WithPlugin(plugin.Name()), nil
		case fwk.Unschedulable:
			// A later plugin may yet say that nothing can help.
			rejection = verdict.WithPlugin(plugin.Name())
			continue
		default:
			return nil, fwk.AsStatus(fmt.Errorf("running PreFilter plugin %q: %w", plugin.Name(), verdict.AsError())).WithPlugin(plugin.Name()), nil
		}
		if !own.AllNodes() {
			narrowing.Insert(plugin.Name())
		}
		if result = result.Merge(own); !result.AllNodes() && len(result.NodeNames) == 0 {
			text := fmt.Sprintf("node(s) didn't satisfy plugin(s) %v simultaneously", sets.List(narrowing))
			if len(narrowing) == 1 {
				text = fmt.Sprintf("node(s) didn't satisfy plugin %v", sets.List(narrowing)[0])
			}
			return result, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, text), narrowing
		}
	}
	return result, rejection, narrowing
}

// RunPreFilterExtensionAddPod tells the prepared plugins to count one more pod on a node.
func (p *Profile) RunPreFilterExtensionAddPod(ctx context.Context, state fwk.CycleState, pod *v1.Pod, added fwk.PodInfo, node fwk.NodeInfo) *fwk.Status {
	return p.extendPreFilter(state, "AddPod", func(ext fwk.PreFilterExtensions) *fwk.Status {
		return ext.AddPod(ctx, state, pod, added, node)
	})
}

// RunPreFilterExtensionRemovePod tells the prepared plugins to count one pod less on a node.
func (p *Profile) RunPreFilterExtensionRemovePod(ctx context.Context, state fwk.CycleState, pod *v1.Pod, removed fwk.PodInfo, node fwk.NodeInfo) *fwk.Status {
	return p.extendPreFilter(state, "RemovePod", func(ext fwk.PreFilterExtensions) *fwk.Status {
		return ext.RemovePod(ctx, state, pod, removed, node)
	})
}

func (p *Profile) extendPreFilter(state fwk.CycleState, what string, call func(fwk.PreFilterExtensions) *fwk.Status) *fwk.Status {
	skip := state.GetSkipFilterPlugins()
	for _, plugin := range p.preFilter {
		ext := plugin.PreFilterExtensions()
		if ext == nil || skip.Has(plugin.Name()) {
			continue
		}
		if status := call(ext); !status.IsSuccess() {
			return fwk.AsStatus(fmt.Errorf("running %s on PreFilter plugin %q: %w", what, plugin.Name(), status.AsError()))
		}
	}
	return nil
}

// RunFilterPlugins asks whether the pod fits the node.
func (p *Profile) RunFilterPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	skip := state.GetSkipFilterPlugins()
	record := state.ShouldRecordPluginMetrics()
	for _, plugin := range p.filter {
		name := plugin.Name()
		if skip.Has(name) {
			continue
		}
		var start time.Time
		if record {
			start = time.Now()
		}
		status := plugin.Filter(ctx, state, pod, node)
		if record {
			p.metrics.Plugin(metrics.Filter, name, status.Code(), start)
		}
		if status.IsSuccess() {
			continue
		}
		if !status.IsRejected() {
			status = fwk.AsStatus(fmt.Errorf("running %q filter plugin: %w", name, status.AsError()))
		}
		return status.WithPlugin(name)
	}
	return nil
}

// RunFilterPluginsWithNominatedPods filters a node as it would be with the pods nominated to it that are at least as
// important, and again as it is: some plugins reject for the presence of a pod, others (affinity) for its absence,
// and the nominated pods may or may not come.
func (p *Profile) RunFilterPluginsWithNominatedPods(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	with, withState, err := p.addNominated(ctx, state, pod, node)
	if err != nil {
		return fwk.AsStatus(err)
	}
	if with != nil {
		if status := p.RunFilterPlugins(ctx, withState, pod, with); !status.IsSuccess() {
			return status
		}
	}
	return p.RunFilterPlugins(ctx, state, pod, node)
}

// addNominated returns a copy of the node with its nominated pods, or nil where there are none that count.
func (p *Profile) addNominated(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node fwk.NodeInfo) (fwk.NodeInfo, fwk.CycleState, error) {
	rivals := equivalence.Rivals(pod, p.NominatedPodsForNode(node.Node().Name))
	if len(rivals) == 0 {
		return nil, nil, nil
	}
	with, withState := node.Snapshot(), state.Clone()
	for _, rival := range rivals {
		with.AddPodInfo(rival)
		if status := p.RunPreFilterExtensionAddPod(ctx, withState, pod, rival, with); !status.IsSuccess() {
			return nil, nil, status.AsError()
		}
	}
	return with, withState, nil
}

// OnlyNodeMatters says whether, of the cluster, nothing but the node in question matters to the plugins that filter in
// this cycle, and of the pod nothing but its class.
func (p *Profile) OnlyNodeMatters(state fwk.CycleState, pod *v1.Pod) bool {
	skip := state.GetSkipFilterPlugins()
	for _, plugin := range p.preFilter {
		if !skip.Has(plugin.Name()) && plugin.PreFilterExtensions() != nil {
			return false
		}
	}
	for _, plugin := range p.filter {
		if skip.Has(plugin.Name()) {
			continue
		}
		if local, ok := plugin.(equivalence.Local); !ok || !local.Covers(pod) {
			return false
		}
	}
	return true
}

// RunPostFilterPlugins looks for a way to make room.
func (p *Profile) RunPostFilterPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes fwk.NodeToStatusReader) (_ *fwk.PostFilterResult, status *fwk.Status) {
	defer p.observe(metrics.PostFilter, &status)()
	ctx = logger(ctx, metrics.PostFilter)
	var kept *fwk.PostFilterResult
	var reasons []string
	rejector := ""
	for _, plugin := range p.postFilter {
		var own *fwk.PostFilterResult
		verdict := p.timed(state, metrics.PostFilter, plugin, func() (s *fwk.Status) {
			own, s = plugin.PostFilter(ctx, state, pod, nodes)
			return s
		})
		switch {
		case verdict.IsSuccess():
			return own, verdict
		case verdict.Code() == fwk.UnschedulableAndUnresolvable:
			return own, verdict.WithPlugin(plugin.Name())
		case !verdict.IsRejected():
			return nil, fwk.AsStatus(verdict.AsError()).WithPlugin(plugin.Name())
		}
		if own != nil && own.Mode() != fwk.ModeNoop {
			kept = own
		}
		reasons = append(reasons, verdict.Reasons()...)
		if rejector == "" {
			rejector = plugin.Name()
		}
	}
	return kept, fwk.NewStatus(fwk.Unschedulable, reasons...).WithPlugin(rejector)
}

// RunPreScorePlugins prepares scoring.
func (p *Profile) RunPreScorePlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (status *fwk.Status) {
	defer p.observe(metrics.PreScore, &status)()
	ctx = logger(ctx, metrics.PreScore)
	skip := sets.New[string]()
	for _, plugin := range p.preScore {
		verdict := p.timed(state, metrics.PreScore, plugin, func() *fwk.Status { return plugin.PreScore(ctx, state, pod, nodes) })
		if verdict.IsSkip() {
			skip.Insert(plugin.Name())
		} else if !verdict.IsSuccess() {
			return fwk.AsStatus(fmt.Errorf("running PreScore plugin %q: %w", plugin.Name(), verdict.AsError()))
		}
	}
	state.SetSkipScorePlugins(skip)
	return nil
}

// RunScorePlugins scores the nodes: each plugin's scores, normalised by the plugin and weighted, and their sum.
func (p *Profile) RunScorePlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (_ []fwk.NodePluginScores, status *fwk.Status) {
	defer p.observe(metrics.Score, &status)()
	ctx, cancel := context.WithCancelCause(logger(ctx, metrics.Score))
	defer cancel(nil)
	plugins := make([]fwk.ScorePlugin, 0, len(p.score))
	for _, plugin := range p.score {
		if !state.GetSkipScorePlugins().Has(plugin.Name()) {
			plugins = append(plugins, plugin)
		}
	}
	scores := make([]fwk.NodeScoreList, len(plugins))
	all := make(fwk.NodeScoreList, len(plugins)*len(nodes))
	for i := range plugins {
		scores[i] = all[i*len(nodes) : (i+1)*len(nodes)]
	}
	parallel := p.Parallelizer()
	parallel.Until(ctx, len(nodes), func(n int) {
		name := nodes[n].Node().Name
		for i, plugin := range plugins {
			var score int64
			verdict := p.timed(state, metrics.Score, plugin, func() (s *fwk.Status) {
				score, s = plugin.Score(ctx, state, pod, nodes[n])
				return s
			})
			if !verdict.IsSuccess() {
				cancel(fmt.Errorf("plugin %q failed with: %w", plugin.Name(), verdict.AsError()))
				return
			}
			scores[i][n] = fwk.NodeScore{Name: name, Score: score}
		}
	}, metrics.Score)
	if ctx.Err() != nil {
		return nil, fwk.AsStatus(fmt.Errorf("running Score plugins: %w", context.Cause(ctx)))
	}
	raw := make([]fwk.PluginScore, len(plugins)*len(nodes))
	for i, plugin := range plugins {
		for n := range nodes {
			raw[n*len(plugins)+i] = fwk.PluginScore{Name: plugin.Name(), Score: scores[i][n].Score}
		}
		if ext := plugin.ScoreExtensions(); ext != nil {
			if verdict := ext.NormalizeScore(ctx, state, pod, scores[i]); !verdict.IsSuccess() {
				return nil, fwk.AsStatus(fmt.Errorf("running Normalize on Score plugins: plugin %q failed with: %w", plugin.Name(), verdict.AsError()))
			}
		}
	}
	return p.weigh(plugins, nodes, scores, raw)
}

func (p *Profile) weigh(plugins []fwk.ScorePlugin, nodes []fwk.NodeInfo, scores []fwk.NodeScoreList, raw []fwk.PluginScore) ([]fwk.NodePluginScores, *fwk.Status) {
	result := make([]fwk.NodePluginScores, len(nodes))
	weighted := make([]fwk.PluginScore, len(plugins)*len(nodes))
	for n := range nodes {
		span := func(list []fwk.PluginScore) []fwk.PluginScore {
			return list[n*len(plugins) : (n+1)*len(plugins) : (n+1)*len(plugins)]
		}
		own := fwk.NodePluginScores{Name: nodes[n].Node().Name, RawScores: span(raw), Scores: span(weighted), Randomizer: rand.Int()}
		for i, plugin := range plugins {
			score := scores[i][n].Score
			if score > fwk.MaxScore || score < fwk.MinScore {
				return nil, fwk.AsStatus(fmt.Errorf("plugin %q returns an invalid score %v, it should in the range of [%v, %v] after normalizing", plugin.Name(), score, fwk.MinScore, fwk.MaxScore))
			}
			score *= p.weights[plugin.Name()]
			own.Scores[i] = fwk.PluginScore{Name: plugin.Name(), Score: score}
			own.TotalScore += score
		}
		result[n] = own
	}
	return result, nil
}

// RunReservePluginsReserve tells plugins that the pod is about to go to the node.
func (p *Profile) RunReservePluginsReserve(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) (status *fwk.Status) {
	defer p.observe(metrics.Reserve, &status)()
	for _, plugin := range p.reserve {
		verdict := p.timed(state, metrics.Reserve, plugin, func() *fwk.Status { return plugin.Reserve(ctx, state, pod, node) })
		if verdict.IsSuccess() {
			continue
		}
		if verdict.IsRejected() {
			return verdict.WithPlugin(plugin.Name())
		}
		return fwk.AsStatus(fmt.Errorf("running Reserve plugin %q: %w", plugin.Name(), verdict.AsError()))
	}
	return nil
}

// RunReservePluginsUnreserve takes the reservation back, last plugin first.
func (p *Profile) RunReservePluginsUnreserve(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) {
	var status *fwk.Status
	defer p.observe(metrics.Unreserve, &status)()
	for i := len(p.reserve) - 1; i >= 0; i-- {
		p.timed(state, metrics.Unreserve, p.reserve[i], func() *fwk.Status {
			p.reserve[i].Unreserve(ctx, state, pod, node)
			return nil
		})
	}
}

// RunPermitPlugins asks whether the pod may go now, later or not at all; timeouts belong to those who say later.
func (p *Profile) RunPermitPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) (timeouts map[string]time.Duration, status *fwk.Status) {
	defer p.observe(metrics.Permit, &status)()
	var wait *fwk.Status
	for _, plugin := range p.permit {
		var timeout time.Duration
		verdict := p.timed(state, metrics.Permit, plugin, func() (s *fwk.Status) {
			s, timeout = plugin.Permit(ctx, state, pod, node)
			return s
		})
		switch {
		case verdict.IsSuccess():
		case verdict.IsRejected():
			return nil, verdict.WithPlugin(plugin.Name())
		case verdict.IsWait():
			if timeouts == nil {
				timeouts = map[string]time.Duration{}
			}
			timeouts[plugin.Name()] = min(timeout, maxPermitWait)
			wait = verdict
		default:
			return nil, fwk.AsStatus(fmt.Errorf("running Permit plugin %q: %w", plugin.Name(), verdict.AsError())).WithPlugin(plugin.Name())
		}
	}
	return timeouts, wait
}

// RunPreBindPreFlights asks PreBind plugins whether they will have work; Skip means that none will.
func (p *Profile) RunPreBindPreFlights(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) *fwk.Status {
	if len(p.preBind) == 0 {
		return fwk.NewStatus(fwk.Skip)
	}
	skip, parallel := sets.New[string](), sets.New[string]()
	for _, plugin := range p.preBind {
		result, verdict := plugin.PreBindPreFlight(ctx, state, pod, node)
		if result != nil && result.AllowParallel {
			parallel.Insert(plugin.Name())
		}
		switch {
		case verdict.IsSkip():
			skip.Insert(plugin.Name())
		case !verdict.IsSuccess():
			return fwk.AsStatus(fmt.Errorf("running PreBindPreFlight %q: %w", plugin.Name(), verdict.AsError()))
		}
	}
	state.SetSkipPreBindPlugins(skip)
	state.SetParallelPreBindPlugins(parallel)
	if len(skip) == len(p.preBind) {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// RunPreBindPlugins does what must be done before binding. Neighbours that allow it run side by side.
func (p *Profile) RunPreBindPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) (status *fwk.Status) {
	if len(p.preBind) == 0 {
		return nil
	}
	defer p.observe(metrics.PreBind, &status)()
	for begin := 0; begin < len(p.preBind); {
		end := begin + 1
		for parallel := state.GetParallelPreBindPlugins(); parallel.Has(p.preBind[begin].Name()) && end < len(p.preBind) && parallel.Has(p.preBind[end].Name()); {
			end++
		}
		if status := p.preBindGroup(ctx, state, pod, node, p.preBind[begin:end]); !status.IsSuccess() {
			return status
		}
		begin = end
	}
	return nil
}

func (p *Profile) preBindGroup(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string, group []fwk.PreBindPlugin) *fwk.Status {
	verdicts := make(chan *fwk.Status, len(group))
	run := func(plugin fwk.PreBindPlugin) {
		if state.GetSkipPreBindPlugins().Has(plugin.Name()) {
			verdicts <- nil
			return
		}
		verdict := p.timed(state, metrics.PreBind, plugin, func() *fwk.Status { return plugin.PreBind(ctx, state, pod, node) })
		if verdict.IsRejected() {
			verdict.SetPlugin(plugin.Name())
		} else if !verdict.IsSuccess() {
			verdict = fwk.AsStatus(fmt.Errorf("running PreBind plugin %q: %w", plugin.Name(), verdict.AsError()))
		}
		verdicts <- verdict
	}
	for _, plugin := range group[1:] {
		go run(plugin)
	}
	run(group[0])
	var failed *fwk.Status
	for range group {
		if verdict := <-verdicts; !verdict.IsSuccess() && failed == nil {
			failed = verdict
		}
	}
	return failed
}

// RunBindPlugins binds the pod with the first plugin that does not pass.
func (p *Profile) RunBindPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) (status *fwk.Status) {
	defer p.observe(metrics.Bind, &status)()
	for _, plugin := range p.bind {
		verdict := p.timed(state, metrics.Bind, plugin, func() *fwk.Status { return plugin.Bind(ctx, state, pod, node) })
		switch {
		case verdict.IsSkip():
			continue
		case verdict.IsSuccess():
			return nil
		case verdict.IsRejected():
			return verdict.WithPlugin(plugin.Name())
		}
		return fwk.AsStatus(fmt.Errorf("running Bind plugin %q: %w", plugin.Name(), verdict.AsError()))
	}
	return fwk.AsStatus(errors.New("every Bind plugin passed"))
}

// RunPostBindPlugins tells plugins that the pod is bound.
func (p *Profile) RunPostBindPlugins(ctx context.Context, state fwk.CycleState, pod *v1.Pod, node string) {
	var status *fwk.Status
	defer p.observe(metrics.PostBind, &status)()
	for _, plugin := range p.postBind {
		p.timed(state, metrics.PostBind, plugin, func() *fwk.Status {
			plugin.PostBind(ctx, state, pod, node)
			return nil
		})
	}
}
