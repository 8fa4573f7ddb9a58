package equivalence

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/nodeinfo"
)

const (
	// maxClasses bounds how many classes are remembered: each costs about a hundred bytes a node.
	maxClasses = 16
	// maxStrangers bounds the classes of which one pod was seen. Only the second pod shows that it is worth the while.
	maxStrangers = 1024
)

// Plugins are those of a profile, in their order.
type Plugins struct {
	PreFilter []fwk.PreFilterPlugin
	Filter    []fwk.FilterPlugin
	PreScore  []fwk.PreScorePlugin
	Score     []fwk.ScorePlugin
	Weights   map[string]int64
	NewState  func() fwk.CycleState
}

// Classes are the classes of pods that a profile schedules.
type Classes struct {
	plugins Plugins
	locals  []Local
	// Plugins that are neither Local nor Tracking must pass the pod by: their PreFilter and PreScore are asked.
	preFilter []fwk.PreFilterPlugin
	preScore  []fwk.PreScorePlugin
	known     map[nodeinfo.Class]*Class
	strangers map[nodeinfo.Class]struct{}
	clock     int64
}

// New returns nil if results cannot be shared: if a plugin that is neither Local nor Tracking cannot say of a pod that
// it has nothing to do with it.
func New(p Plugins) *Classes {
	c := &Classes{plugins: p, known: map[nodeinfo.Class]*Class{}, strangers: map[nodeinfo.Class]struct{}{}}
	filters, scores := map[string]bool{}, map[string]bool{}
	for _, plugin := range p.PreFilter {
		if filters[plugin.Name()] = true; !c.understands(plugin) {
			c.preFilter = append(c.preFilter, plugin)
		}
	}
	for _, plugin := range p.PreScore {
		if scores[plugin.Name()] = true; !c.understands(plugin) {
			c.preScore = append(c.preScore, plugin)
		}
	}
	for _, plugin := range p.Filter {
		if !c.understands(plugin) && !filters[plugin.Name()] {
			return nil
		}
	}
	for _, plugin := range p.Score {
		if !c.understands(plugin) && !scores[plugin.Name()] {
			return nil
		}
	}
	return c
}

// understands says whether the plugin is Local or Tracking, and notes it if it is Local.
func (c *Classes) understands(plugin fwk.Plugin) bool {
	if local, ok := plugin.(Local); ok && !slices.Contains(c.locals, local) {
		c.locals = append(c.locals, local)
	}
	return understood(plugin)
}

// Of returns the pod's class, brought up to date with the view, or nil for a pod that must be looked at by itself. The
// state is that of the pod's own cycle.
func (c *Classes) Of(ctx context.Context, state fwk.CycleState, pod *nodeinfo.PodInfo, view View) *Class {
	if c == nil {
		return nil
	}
	id := pod.Class()
	if id == (nodeinfo.Class{}) {
		return nil
	}
	for _, local := range c.locals {
		if !local.Covers(pod.GetPod()) {
			return nil
		}
	}
	for _, plugin := range c.preFilter {
		if _, status := plugin.PreFilter(ctx, state, pod.GetPod(), view.All()); !status.IsSkip() {
			return nil
		}
	}
	c.clock++
	class := c.known[id]
	if class != nil {
		class.used = c.clock
		if !class.apart && class.update(view) {
			class.view, class.asking = view, pod.GetPod()
			return class
		}
		if class.apart && class.layout == view.Layout() {
			return nil
		}
	} else if _, met := c.strangers[id]; !met {
		if len(c.strangers) >= maxStrangers {
			clear(c.strangers)
		}
		c.strangers[id] = struct{}{}
		return nil
	}
	class = &Class{plugins: &c.plugins, preScore: c.preScore, pod: pod.GetPod(), asking: pod.GetPod(), view: view, used: c.clock}
	class.apart = class.build(ctx, view) != nil
	c.remember(id, class)
	if class.apart {
		return nil
	}
	return class
}

// remember makes room by forgetting the class longest unused.
func (c *Classes) remember(id nodeinfo.Class, class *Class) {
	delete(c.strangers, id)
	if _, found := c.known[id]; !found && len(c.known) >= maxClasses {
		oldest, at := id, c.clock+1
		for other, known := range c.known {
			if known.used < at {
				oldest, at = other, known.used
			}
		}
		delete(c.known, oldest)
	}
	c.known[id] = class
}

// Class is what plugins said of one class of pods.
type Class struct {
	plugins  *Plugins
	preScore []fwk.PreScorePlugin
	pod      *v1.Pod
	used     int64
	// apart means that these pods are looked at one by one: some plugin rejects them or names their nodes.
	apart bool

	// asking is the pod that the class is looked at for. Pods of one class may differ in priority, and so in which of
	// the nominated pods are their rivals.
	asking *v1.Pod
	view   View

	layout, seen int64
	nodes        []fwk.NodeInfo
	state        fwk.CycleState
	filters      []filter
	scores       []score
	trackers     []Tracker

	// By the place of the node:
	valid    []bool
	verdicts []verdict
	expected map[int]expectation // where pods are nominated

	candidates []int32
	normalised []int64
	totals     []int64
}

// verdict is what local filters say of a node.
type verdict struct {
	status *fwk.Status // nil where all pass
	passed int         // how many filters come before the one that rejects
}

// expectation is the verdict on a node with pods nominated to it.
type expectation struct {
	rivals []fwk.PodInfo
	verdict
}

// filter is a local plugin, or the tracker of another.
type filter struct {
	name    string
	plugin  fwk.FilterPlugin
	tracker Tracker
}

type score struct {
	name    string
	weight  int64
	plugin  fwk.ScorePlugin
	scale   Scale
	raw     []int64 // of local plugins, by the place of the node
	tracker Tracker
}

// build prepares the plugins. An error means that the class is not for sharing.
func (c *Class) build(ctx context.Context, view View) error {
	c.layout, c.nodes, c.state = view.Layout(), view.All(), c.plugins.NewState()
	_, c.seen, _ = view.Changes(0)
	c.valid = make([]bool, len(c.nodes))
	c.verdicts = make([]verdict, len(c.nodes))
	c.expected = map[int]expectation{}
	skip, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	trackers := map[string]Tracker{}
	track := func(plugin fwk.Plugin) (Tracker, error) {
		tracking, ok := plugin.(Tracking)
		if !ok || trackers[plugin.Name()] != nil {
			return trackers[plugin.Name()], nil
		}
		tracker, err := tracking.Track(c.pod, c.nodes)
		if err == nil {
			trackers[plugin.Name()] = tracker
			c.trackers = append(c.trackers, tracker)
		}
		return tracker, err
	}
	for _, plugin := range c.plugins.Filter {
		if !understood(plugin) {
			continue
		}
		tracker, err := track(plugin)
		if err != nil {
			return err
		}
		if !skip.filter[plugin.Name()] {
			c.filters = append(c.filters, filter{plugin.Name(), plugin, tracker})
		}
	}
	for _, plugin := range c.plugins.Score {
		if !understood(plugin) {
			continue
		}
		tracker, err := track(plugin)
		if err != nil {
			return err
		}
		s := score{name: plugin.Name(), weight: c.plugins.Weights[plugin.Name()], plugin: plugin, tracker: tracker}
		if local, ok := plugin.(Local); ok && tracker == nil {
			s.scale, s.raw = local.Scale(), make([]int64, len(c.nodes))
		}
		if !skip.score[plugin.Name()] {
			c.scores = append(c.scores, s)
		}
	}
	return nil
}

func understood(plugin fwk.Plugin) bool {
	_, local := plugin.(Local)
	_, tracking := plugin.(Tracking)
	return local || tracking
}

type skips struct{ filter, score map[string]bool }

// prepare runs what local plugins do before the nodes.
func (c *Class) prepare(ctx context.Context) (skips, error) {
	skip := skips{map[string]bool{}, map[string]bool{}}
	for _, plugin := range c.plugins.PreFilter {
		if _, ok := plugin.(Local); !ok {
			continue
		}
		narrowed, status := plugin.PreFilter(ctx, c.state, c.pod, c.nodes)
		if skip.filter[plugin.Name()] = status.IsSkip(); !status.IsSkip() && (!status.IsSuccess() || !narrowed.AllNodes()) {
			return skip, fmt.Errorf("%s has its own idea of these pods: %s", plugin.Name(), status.Message())
		}
	}
	for _, plugin := range c.plugins.PreScore {
		if _, ok := plugin.(Local); !ok {
			continue
		}
		status := plugin.PreScore(ctx, c.state, c.pod, c.nodes)
		if skip.score[plugin.Name()] = status.IsSkip(); !status.IsSkip() && !status.IsSuccess() {
			return skip, status.AsError()
		}
	}
	return skip, nil
}

// update takes in what changed; false means that the class must be built anew.
func (c *Class) update(view View) bool {
	if c.layout != view.Layout() {
		return false
	}
	for _, tracker := range c.trackers {
		if !tracker.Current() {
			return false
		}
	}
	places, now, all := view.Changes(c.seen)
	if all {
		return false
	}
	c.seen = now
	for _, at := range places {
		c.valid[at] = false
		delete(c.expected, int(at))
		for _, tracker := range c.trackers {
			tracker.Update(int(at), c.nodes[at])
		}
	}
	return true
}
