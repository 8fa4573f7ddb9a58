// Package configuration reads, defaults and checks KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1.
// https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/
package configuration

import (
	"fmt"
	"os"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	componentbaseconfigv1alpha1 "k8s.io/component-base/config/v1alpha1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/plumbline/plumbline/components/scheduler/pluginargs"
	"github.com/plumbline/plumbline/components/scheduler/plugins/defaultbinder"
	"github.com/plumbline/plumbline/components/scheduler/plugins/defaultpreemption"
	"github.com/plumbline/plumbline/components/scheduler/plugins/dynamicresources"
	"github.com/plumbline/plumbline/components/scheduler/plugins/imagelocality"
	"github.com/plumbline/plumbline/components/scheduler/plugins/interpodaffinity"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodeaffinity"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodedeclaredfeatures"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodename"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodeports"
	"github.com/plumbline/plumbline/components/scheduler/plugins/noderesources"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodeunschedulable"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodevolumelimits"
	"github.com/plumbline/plumbline/components/scheduler/plugins/podtopologyspread"
	"github.com/plumbline/plumbline/components/scheduler/plugins/prioritysort"
	"github.com/plumbline/plumbline/components/scheduler/plugins/schedulinggates"
	"github.com/plumbline/plumbline/components/scheduler/plugins/tainttoleration"
	"github.com/plumbline/plumbline/components/scheduler/plugins/volumebinding"
	"github.com/plumbline/plumbline/components/scheduler/plugins/volumerestrictions"
	"github.com/plumbline/plumbline/components/scheduler/plugins/volumezone"
)

// Default returns the configuration of a scheduler that is given none.
func Default() (*configv1.KubeSchedulerConfiguration, error) {
	return Parse([]byte(`{"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}`))
}

// Load reads a configuration file.
func Load(path string) (*configv1.KubeSchedulerConfiguration, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cfg, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

// Parse decodes strictly: unknown and duplicate fields are errors. The result is defaulted, not yet checked.
func Parse(data []byte) (*configv1.KubeSchedulerConfiguration, error) {
	scheme := runtime.NewScheme()
	if err := configv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	obj, kind, err := decoder.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	cfg, ok := obj.(*configv1.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("couldn't decode as KubeSchedulerConfiguration, got %s", kind)
	}
	if err := cfg.DecodeNestedObjects(decoder); err != nil {
		return nil, err
	}
	if err := setDefaults(cfg, scheme); err != nil {
		return nil, err
	}
	return cfg, nil
}

func set[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

func setDefaults(cfg *configv1.KubeSchedulerConfiguration, scheme *runtime.Scheme) error {
	set(&cfg.Parallelism, 16)
	set(&cfg.PercentageOfNodesToScore, 0)
	set(&cfg.PodInitialBackoffSeconds, 1)
	set(&cfg.PodMaxBackoffSeconds, 10)
	set(&cfg.EnableProfiling, true)
	set(&cfg.EnableContentionProfiling, *cfg.EnableProfiling)
	if cfg.LeaderElection.ResourceLock == "" {
		cfg.LeaderElection.ResourceLock = "leases"
	}
	if cfg.LeaderElection.ResourceNamespace == "" {
		cfg.LeaderElection.ResourceNamespace = configv1.SchedulerDefaultLockObjectNamespace
	}
	if cfg.LeaderElection.ResourceName == "" {
		cfg.LeaderElection.ResourceName = configv1.SchedulerDefaultLockObjectName
	}
	componentbaseconfigv1alpha1.RecommendedDefaultLeaderElectionConfiguration(&cfg.LeaderElection)
	if cfg.ClientConnection.ContentType == "" {
		cfg.ClientConnection.ContentType = runtime.ContentTypeProtobuf
	}
	if len(cfg.Profiles) == 0 {
		cfg.Profiles = make([]configv1.KubeSchedulerProfile, 1)
	}
	if len(cfg.Profiles) == 1 {
		set(&cfg.Profiles[0].SchedulerName, v1.DefaultSchedulerName)
	}
	for i := range cfg.Profiles {
		if err := setProfileDefaults(&cfg.Profiles[i], scheme); err != nil {
			return err
		}
		leaveToExtenders(&cfg.Profiles[i], cfg.Extenders)
	}
	return nil
}

// leaveToExtenders makes NodeResourcesFit ignore the resources that extenders want to count alone.
func leaveToExtenders(profile *configv1.KubeSchedulerProfile, extenders []configv1.Extender) {
	for i := range profile.PluginConfig {
		args, ok := profile.PluginConfig[i].Args.Object.(*configv1.NodeResourcesFitArgs)
		if !ok {
			continue
		}
		for _, extender := range extenders {
			for _, resource := range extender.ManagedResources {
				if resource.IgnoredByScheduler {
					args.IgnoredResources = append(args.IgnoredResources, resource.Name)
				}
			}
		}
	}
}

// defaultPlugins are enabled wherever they can be, unless a profile says otherwise.
func defaultPlugins() []configv1.Plugin {
	weighted := func(name string, weight int32) configv1.Plugin { return configv1.Plugin{Name: name, Weight: &weight} }
	return []configv1.Plugin{
		{Name: schedulinggates.Name},
		{Name: prioritysort.Name},
		{Name: nodename.Name},
		{Name: nodeunschedulable.Name},
		weighted(tainttoleration.Name, 3),
		weighted(nodeaffinity.Name, 2),
		{Name: nodeports.Name},
		weighted(noderesources.FitName, 1),
		{Name: volumerestrictions.Name},
		{Name: nodevolumelimits.Name},
		{Name: volumebinding.Name},
		{Name: volumezone.Name},
		weighted(podtopologyspread.Name, 2),
		weighted(interpodaffinity.Name, 2),
		// Before preemption: better to free a claim that nobody uses than to evict pods.
		weighted(dynamicresources.Name, 2),
		{Name: defaultpreemption.Name},
		weighted(noderesources.BalancedName, 1),
		weighted(imagelocality.Name, 1),
		{Name: defaultbinder.Name},
		{Name: nodedeclaredfeatures.Name},
	}
}

// Enable adds a plugin, behind the defaults, to every profile that does not name or disable it.
func Enable(cfg *configv1.KubeSchedulerConfiguration, name string) {
	is := func(p configv1.Plugin) bool { return p.Name == name || p.Name == "*" }
	for i := range cfg.Profiles {
		plugins := &cfg.Profiles[i].Plugins.MultiPoint
		if !slices.ContainsFunc(plugins.Enabled, is) && !slices.ContainsFunc(plugins.Disabled, is) {
			plugins.Enabled = append(plugins.Enabled, configv1.Plugin{Name: name})
		}
	}
}

func setProfileDefaults(profile *configv1.KubeSchedulerProfile, scheme *runtime.Scheme) error {
	set(&profile.Plugins, configv1.Plugins{})
	profile.Plugins.MultiPoint.Enabled = mergeEnabled(profile.Plugins.MultiPoint)
	given := map[string]bool{}
	for i := range profile.PluginConfig {
		given[profile.PluginConfig[i].Name] = true
		pluginargs.SetDefaults(profile.PluginConfig[i].Args.Object)
	}
	for _, name := range pluginNames(profile.Plugins) {
		kind := configv1.SchemeGroupVersion.WithKind(name + "Args")
		if given[name] || !scheme.Recognizes(kind) {
			continue
		}
		args, err := scheme.New(kind)
		if err != nil {
			return err
		}
		pluginargs.SetDefaults(args)
		args.GetObjectKind().SetGroupVersionKind(kind)
		profile.PluginConfig = append(profile.PluginConfig, configv1.PluginConfig{Name: name, Args: runtime.RawExtension{Object: args}})
	}
	return nil
}

// mergeEnabled puts a profile's own plugins in the place of the defaults of the same name, or behind them.
func mergeEnabled(own configv1.PluginSet) []configv1.Plugin {
	disabled := func(name string) bool {
		return slices.ContainsFunc(own.Disabled, func(p configv1.Plugin) bool { return p.Name == name })
	}
	var merged []configv1.Plugin
	replaced := map[int]bool{}
	if !disabled("*") {
		for _, plugin := range defaultPlugins() {
			if disabled(plugin.Name) {
				continue
			}
			if i := slices.IndexFunc(own.Enabled, func(p configv1.Plugin) bool { return p.Name == plugin.Name }); i >= 0 {
				plugin, replaced[i] = own.Enabled[i], true
			}
			merged = append(merged, plugin)
		}
	}
	for i, plugin := range own.Enabled {
		if !replaced[i] {
			merged = append(merged, plugin)
		}
	}
	return merged
}

func pluginNames(plugins *configv1.Plugins) []string {
	var names []string
	for _, set := range pluginSets(plugins) {
		for _, plugin := range set.Enabled {
			names = append(names, plugin.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func pluginSets(p *configv1.Plugins) map[string]*configv1.PluginSet {
	return map[string]*configv1.PluginSet{
		"multiPoint": &p.MultiPoint, "preEnqueue": &p.PreEnqueue, "queueSort": &p.QueueSort, "preFilter": &p.PreFilter,
		"filter": &p.Filter, "postFilter": &p.PostFilter, "preScore": &p.PreScore, "score": &p.Score, "reserve": &p.Reserve,
		"permit": &p.Permit, "preBind": &p.PreBind, "bind": &p.Bind, "postBind": &p.PostBind,
	}
}
