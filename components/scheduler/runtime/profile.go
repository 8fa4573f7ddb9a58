// Package runtime runs plugins: a Profile holds those of one scheduler name, in the order of each extension point, and
// is the Handle of k8s.io/kube-scheduler/framework that plugins get, so plugins compiled against it run here too.
// https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/
package runtime

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/plumbline/plumbline/components/scheduler/dra"
	"github.com/plumbline/plumbline/components/scheduler/equivalence"
	"github.com/plumbline/plumbline/components/scheduler/metrics"
)

// Factory makes a plugin from its arguments: the versioned type of k8s.io/kube-scheduler/config/v1 for a plugin known
// there, else *runtime.Unknown with the JSON from the configuration, or nil.
type Factory func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error)

// Registry names the plugins that can be enabled.
type Registry map[string]Factory

// Shared is what all profiles of a scheduler have in common.
type Shared struct {
	Client      clientset.Interface
	KubeConfig  *restclient.Config
	Informers   informers.SharedInformerFactory
	Snapshot    fwk.MutableSnapshotSharedLister
	Nominator   fwk.PodNominator
	Activator   fwk.PodActivator
	Parallelism int
	Extenders   []fwk.Extender
	Metrics     *metrics.Metrics
	// Recorder makes the event recorder of a scheduler name.
	Recorder func(schedulerName string) events.EventRecorderLogger

	// DRA is what is known of dynamic resources; made from Client and Informers if it is not given.
	DRA *dra.Manager

	// PodGroups is what is known of groups of pods; nil where they are not scheduled.
	PodGroups fwk.PodGroupManager

	waiting *waitingPods
}

// Profile runs the plugins of one scheduler name.
type Profile struct {
	fwk.PodNominator
	fwk.PodActivator

	name       string
	percentage *int32
	shared     *Shared
	recorder   events.EventRecorderLogger
	metrics    *metrics.Metrics
	waiting    *waitingPods
	plugins    map[string]fwk.Plugin

	preEnqueue []fwk.PreEnqueuePlugin
	queueSort  []fwk.QueueSortPlugin
	preFilter  []fwk.PreFilterPlugin
	filter     []fwk.FilterPlugin
	postFilter []fwk.PostFilterPlugin
	preScore   []fwk.PreScorePlugin
	score      []fwk.ScorePlugin
	reserve    []fwk.ReservePlugin
	permit     []fwk.PermitPlugin
	preBind    []fwk.PreBindPlugin
	bind       []fwk.BindPlugin
	postBind   []fwk.PostBindPlugin
	weights    map[string]int64
	classes    *equivalence.Classes
}

var _ fwk.Handle = &Profile{}

// NewProfile makes the plugins that cfg enables. cfg must be defaulted.
func NewProfile(ctx context.Context, cfg *configv1.KubeSchedulerProfile, registry Registry, shared *Shared) (*Profile, error) {
	if shared.waiting == nil {
		shared.waiting = newWaitingPods()
	}
	if shared.DRA == nil {
		manager, err := dra.NewManager(ctx, shared.Client, shared.Informers)
		if err != nil {
			return nil, err
		}
		shared.DRA = manager
	}
	p := &Profile{
		PodNominator: shared.Nominator,
		PodActivator: shared.Activator,
		name:         *cfg.SchedulerName,
		percentage:   cfg.PercentageOfNodesToScore,
		shared:       shared,
		metrics:      shared.Metrics,
		waiting:      shared.waiting,
		plugins:      map[string]fwk.Plugin{},
		weights:      map[string]int64{},
	}
	if shared.Recorder != nil {
		p.recorder = shared.Recorder(p.name)
	}
	if err := p.makePlugins(ctx, cfg, registry); err != nil {
		return nil, fmt.Errorf("profile %q: %w", p.name, err)
	}
	if err := p.enlist(cfg.Plugins); err != nil {
		return nil, fmt.Errorf("profile %q: %w", p.name, err)
	}
	p.classes = equivalence.New(equivalence.Plugins{
		PreFilter: p.preFilter, Filter: p.filter, PreScore: p.preScore, Score: p.score, Weights: p.weights,
		NewState: func() fwk.CycleState { return NewCycleState(false) },
	})
	return p, nil
}

// Classes are the classes of pods that share results, nil where plugins forbid it.
func (p *Profile) Classes() *equivalence.Classes { return p.classes }

func (p *Profile) makePlugins(ctx context.Context, cfg *configv1.KubeSchedulerProfile, registry Registry) error {
	args := map[string]runtime.Object{}
	for i := range cfg.PluginConfig {
		c := &cfg.PluginConfig[i]
		if c.Args.Object == nil && len(c.Args.Raw) > 0 {
			args[c.Name] = &runtime.Unknown{Raw: c.Args.Raw, ContentType: runtime.ContentTypeJSON}
		} else {
			args[c.Name] = c.Args.Object
		}
	}
	for _, set := range p.sets(cfg.Plugins) {
		for _, wanted := range set.plugins.Enabled {
			if _, made := p.plugins[wanted.Name]; made {
				continue
			}
			factory, known := registry[wanted.Name]
			if !known {
				return fmt.Errorf("plugin %q enabled at %s does not exist", wanted.Name, set.field)
			}
			plugin, err := factory(ctx, args[wanted.Name], p)
			if err != nil {
				return fmt.Errorf("initializing plugin %q: %w", wanted.Name, err)
			}
			p.plugins[wanted.Name] = plugin
		}
	}
	return nil
}

// point ties an extension point of the configuration to the list of plugins behind it.
type point struct {
	field   string
	plugins *configv1.PluginSet
	list    any // pointer to a slice of the point's plugin interface
}

func (p *Profile) points(c *configv1.Plugins) []point {
	return []point{
		{"preEnqueue", &c.PreEnqueue, &p.preEnqueue},
		{"queueSort", &c.QueueSort, &p.queueSort},
		{"preFilter", &c.PreFilter, &p.preFilter},
		{"filter", &c.Filter, &p.filter},
		{"postFilter", &c.PostFilter, &p.postFilter},
		{"preScore", &c.PreScore, &p.preScore},
		{"score", &c.Score, &p.score},
		{"reserve", &c.Reserve, &p.reserve},
		{"permit", &c.Permit, &p.permit},
		{"preBind", &c.PreBind, &p.preBind},
		{"bind", &c.Bind, &p.bind},
		{"postBind", &c.PostBind, &p.postBind},
	}
}

func (p *Profile) sets(c *configv1.Plugins) []point {
	return append(p.points(c), point{field: "multiPoint", plugins: &c.MultiPoint})
}

// enlist orders the plugins of each point: those that multiPoint and the point itself both enable come first in the
// point's order, then the rest of the point's, then the rest of multiPoint's, as users of kube-scheduler know it.
func (p *Profile) enlist(c *configv1.Plugins) error {
	for _, pt := range p.points(c) {
		order, err := p.order(pt, c.MultiPoint.Enabled)
		if err != nil {
			return err
		}
		list := reflect.ValueOf(pt.list).Elem()
		for _, wanted := range order {
			list.Set(reflect.Append(list, reflect.ValueOf(p.plugins[wanted.Name])))
			if pt.field == "score" {
				if p.weights[wanted.Name] = int64(weightOf(wanted)); p.weights[wanted.Name] == 0 {
					p.weights[wanted.Name] = 1
				}
			}
		}
	}
	if len(p.queueSort) != 1 {
		return fmt.Errorf("exactly one queue sort plugin required, but %d enabled", len(p.queueSort))
	}
	if len(p.bind) == 0 {
		return errors.New("at least one bind plugin is needed")
	}
	var total int64
	for _, weight := range p.weights {
		if total += weight * fwk.MaxScore; total < 0 || total > fwk.MaxTotalScore/2 {
			return errors.New("total score of Score plugins could overflow")
		}
	}
	return nil
}

func (p *Profile) order(pt point, multi []configv1.Plugin) ([]configv1.Plugin, error) {
	capability := reflect.TypeOf(pt.list).Elem().Elem()
	can := func(name string) bool { return reflect.TypeOf(p.plugins[name]).Implements(capability) }
	off := map[string]bool{}
	for _, d := range pt.plugins.Disabled {
		off[d.Name] = true
	}
	inMulti := map[string]bool{}
	if !off["*"] {
		for _, m := range multi {
			inMulti[m.Name] = can(m.Name) && !off[m.Name]
		}
	}
	var overriding, own, rest []configv1.Plugin
	seen := map[string]bool{}
	for _, wanted := range pt.plugins.Enabled {
		switch {
		case seen[wanted.Name]:
			return nil, fmt.Errorf("plugin %q already registered as %q", wanted.Name, pt.field)
		case !can(wanted.Name):
			return nil, fmt.Errorf("plugin %q does not extend %s plugin", wanted.Name, pt.field)
		case inMulti[wanted.Name]:
			overriding = append(overriding, wanted)
		default:
			own = append(own, wanted)
		}
		seen[wanted.Name] = true
	}
	for _, m := range multi {
		if inMulti[m.Name] && !seen[m.Name] {
			rest = append(rest, m)
			seen[m.Name] = true
		}
	}
	return append(append(overriding, own...), rest...), nil
}

func weightOf(p configv1.Plugin) int32 {
	if p.Weight == nil {
		return 0
	}
	return *p.Weight
}

// Less orders the queue.
func (p *Profile) Less(a, b fwk.QueuedEntityInfo) bool { return p.queueSort[0].Less(a, b) }

// PreEnqueuePlugins returns the plugins that admit pods to the active queue.
func (p *Profile) PreEnqueuePlugins() []fwk.PreEnqueuePlugin { return p.preEnqueue }

// EnqueueExtensions returns for each plugin the events that may make pods it rejected schedulable. Of a plugin that
// does not say, it is any event.
func (p *Profile) EnqueueExtensions(ctx context.Context) (map[string][]fwk.ClusterEventWithHint, error) {
	events := map[string][]fwk.ClusterEventWithHint{}
	for name, plugin := range p.plugins {
		ext, ok := plugin.(fwk.EnqueueExtensions)
		if !ok {
			events[name] = []fwk.ClusterEventWithHint{{Event: fwk.ClusterEvent{Resource: fwk.WildCard, ActionType: fwk.All}}}
			continue
		}
		list, err := ext.EventsToRegister(ctx)
		if err != nil {
			return nil, fmt.Errorf("events of plugin %q: %w", name, err)
		}
		events[name] = list
	}
	return events, nil
}

// BindsOnlyBy says whether all that is done to bind a pod is to run this one plugin.
func (p *Profile) BindsOnlyBy(plugin string) bool {
	return len(p.bind) == 1 && p.bind[0].Name() == plugin && len(p.postBind) == 0
}

// HasPostFilter says whether any PostFilter plugin is enabled.
func (p *Profile) HasPostFilter() bool { return len(p.postFilter) > 0 }

// HasScore says whether any Score plugin is enabled.
func (p *Profile) HasScore() bool { return len(p.score) > 0 }

// PercentageOfNodesToScore is the profile's own setting, or nil.
func (p *Profile) PercentageOfNodesToScore() *int32 { return p.percentage }

// ProfileName is the scheduler name.
func (p *Profile) ProfileName() string { return p.name }

// SnapshotSharedLister lists the snapshot of the running cycle.
func (p *Profile) SnapshotSharedLister() fwk.SharedLister { return p.shared.Snapshot }

// MutableSnapshotSharedLister lists the snapshot of the running cycle.
func (p *Profile) MutableSnapshotSharedLister() fwk.MutableSnapshotSharedLister {
	return p.shared.Snapshot
}

// ClientSet returns the client of the API server.
func (p *Profile) ClientSet() clientset.Interface { return p.shared.Client }

// KubeConfig returns the client's configuration.
func (p *Profile) KubeConfig() *restclient.Config { return p.shared.KubeConfig }

// EventRecorder records events under the scheduler's name.
func (p *Profile) EventRecorder() events.EventRecorderLogger { return p.recorder }

// SharedInformerFactory returns the scheduler's informers.
func (p *Profile) SharedInformerFactory() informers.SharedInformerFactory { return p.shared.Informers }

// SharedDRAManager is what is known of dynamic resources.
func (p *Profile) SharedDRAManager() fwk.SharedDRAManager { return p.shared.DRA }

// SharedCSIManager is nil: volumes are not scheduled here.
func (p *Profile) SharedCSIManager() fwk.CSIManager { return nil }

// Extenders returns the extenders.
func (p *Profile) Extenders() []fwk.Extender { return p.shared.Extenders }

// Parallelizer spreads work.
func (p *Profile) Parallelizer() fwk.Parallelizer { return NewParallelizer(p.shared.Parallelism) }

// APIDispatcher is nil, as upstream with SchedulerAsyncAPICalls off, its default.
func (p *Profile) APIDispatcher() fwk.APIDispatcher { return nil }

// APICacher is nil, as upstream with SchedulerAsyncAPICalls off, its default.
func (p *Profile) APICacher() fwk.APICacher { return nil }

// PodGroupManager is what is known of groups of pods, nil where they are not scheduled.
func (p *Profile) PodGroupManager() fwk.PodGroupManager { return p.shared.PodGroups }

// SignPod returns no signature: results are not shared between pods.
func (p *Profile) SignPod(context.Context, *v1.Pod) fwk.PodSignature { return nil }

// logger names the extension point in verbose logs.
func logger(ctx context.Context, point string) context.Context {
	if log := klog.FromContext(ctx); log.V(4).Enabled() {
		return klog.NewContext(ctx, klog.LoggerWithName(log, point))
	}
	return ctx
}
