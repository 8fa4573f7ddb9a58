package schedulerperf

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/plumbline/plumbline/framework/bench/workload"
	"github.com/plumbline/plumbline/framework/cluster"
	"github.com/plumbline/plumbline/framework/cluster/v1alpha1"
)

// Profile is the circumstances of a measurement, without which its figures mean
// nothing.
type Profile struct {
	// Name is the profile's in results.
	Name string
	// Text says in words what it is.
	Text string
	// admission are the plugins that the API server leaves out, controllers those that
	// run; nil is all.
	withoutAdmission, controllers []string
	// rate is how many requests a second, and in a burst, the scheduler and whoever
	// creates the workload may make; 0 is no limit.
	rate int
	// hollow gives the workload's nodes hollow kubelets, which run the pods.
	hollow bool
}

// Isolated is the profile scheduler_perf: what upstream's benchmark of that name
// measures under.
func Isolated() Profile {
	return Profile{
		Name: "scheduler_perf",
		Text: "as upstream's scheduler_perf: admission without ServiceAccount, TaintNodesByCondition and Priority; 5000 requests a second, and in a burst, for the scheduler and for the workload; nodes are objects without kubelets; one sample a second, the first one dropped",

		withoutAdmission: []string{"ServiceAccount", "TaintNodesByCondition", "Priority"},
		controllers:      []string{"namespace-controller", "pod-garbage-collector-controller"},
		rate:             5000,
	}
}

// Whole is the profile cluster: a control plane in which everything is on, and nodes
// that run what is bound to them.
func Whole() Profile {
	return Profile{
		Name: "cluster",
		Text: "everything on: all of admission and all controllers, no limit of requests, and hollow kubelets that start and end the pods; a pod's priority is that of a class made for it",

		hollow: true,
	}
}

// Profiles are those that there are.
func Profiles() []Profile { return []Profile{Isolated(), Whole()} }

// ProfileNamed finds a profile by its name.
func ProfileNamed(name string) (Profile, error) {
	var names []string
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("%q is not a profile: there are %s", name, strings.Join(names, ", "))
}

const (
	// configFile is where the scheduler finds its configuration.
	configFile = "/etc/plumb/scheduler.yaml"
	// kubeconfig is where it finds the API server.
	kubeconfig = "/etc/kubernetes/scheduler.conf"
)

// describe is the cluster that a contender runs a workload in.
func (p Profile) describe(name string, w *workload.Workload, contender Contender) (*v1alpha1.Cluster, error) {
	description := v1alpha1.New(name, 0)
	off := false
	description.Spec.Addons.DNS = &off
	config, err := p.schedulerConfig(w.SchedulerConfig)
	if err != nil {
		return nil, fmt.Errorf("%s: the scheduler's configuration: %w", w.Name, err)
	}
	description.Spec.ControlPlane.Files = map[string]string{configFile: config}
	description.Spec.Components = maps.Clone(contender.Components)
	if description.Spec.Components == nil {
		description.Spec.Components = map[string]v1alpha1.Component{}
	}
	add := func(component string, args ...string) {
		c := description.Spec.Components[component]
		c.Args = slices.Concat(c.Args, args)
		description.Spec.Components[component] = c
	}
	add(cluster.Scheduler, "--config="+configFile, "--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics,/debug/pprof/profile")
	if len(p.withoutAdmission) > 0 {
		add(cluster.APIServer, "--disable-admission-plugins="+strings.Join(p.withoutAdmission, ","))
	}
	if p.controllers != nil {
		add(cluster.ControllerManager, "--controllers="+strings.Join(p.controllers, ","))
	}
	if p.hollow {
		liven(description, w)
		// The cluster's range is for the nodes that are machines, a few hundred.
		add(cluster.ControllerManager, "--allocate-node-cidrs=false")
	}
	if gates := gatesOf(w); contender.FeatureGates && gates != "" {
		add(cluster.Scheduler, gates)
		// The API server's are upstream's only where it is.
		if contender.Components[cluster.APIServer].Program != "" {
			add(cluster.APIServer, gates)
		}
	}
	network := description.Spec.Components[cluster.Network]
	network.Disabled = true // no pod runs
	description.Spec.Components[cluster.Network] = network
	return description, nil
}

func gatesOf(w *workload.Workload) string {
	var gates []string
	for _, gate := range slices.Sorted(maps.Keys(w.FeatureGates)) {
		gates = append(gates, fmt.Sprintf("%s=%t", gate, w.FeatureGates[gate]))
	}
	if len(gates) == 0 {
		return ""
	}
	return "--feature-gates=" + strings.Join(gates, ",")
}

// schedulerConfig is a scheduler's configuration file, what the workload asks for with
// the profile's connection to the API server.
func (p Profile) schedulerConfig(given string) (string, error) {
	config := map[string]any{"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
	if given != "" {
		config = nil
		if err := yaml.UnmarshalStrict([]byte(given), &config); err != nil {
			return "", err
		}
	}
	connection := map[string]any{"kubeconfig": kubeconfig, "contentType": "application/vnd.kubernetes.protobuf"}
	if p.rate > 0 {
		connection["qps"], connection["burst"] = p.rate, p.rate
	}
	config["clientConnection"] = connection
	config["leaderElection"] = map[string]any{"leaderElect": false}
	data, err := yaml.Marshal(config)
	return string(data), err
}
