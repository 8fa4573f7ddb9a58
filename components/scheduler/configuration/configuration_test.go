package configuration

import (
	"strings"
	"testing"

	configv1 "k8s.io/kube-scheduler/config/v1"
)

const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

func TestDefault(t *testing.T) {
	cfg, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if err := Validate(cfg); err != nil {
		t.Fatal(err)
	}
	if *cfg.Parallelism != 16 || *cfg.PodMaxBackoffSeconds != 10 || *cfg.Profiles[0].SchedulerName != "default-scheduler" || !*cfg.LeaderElection.LeaderElect {
		t.Errorf("%+v", cfg)
	}
	weights := map[string]int32{}
	for _, plugin := range cfg.Profiles[0].Plugins.MultiPoint.Enabled {
		if plugin.Weight != nil {
			weights[plugin.Name] = *plugin.Weight
		}
	}
	for name, want := range map[string]int32{
		"TaintToleration": 3, "NodeAffinity": 2, "PodTopologySpread": 2, "InterPodAffinity": 2,
		"NodeResourcesFit": 1, "NodeResourcesBalancedAllocation": 1, "ImageLocality": 1,
	} {
		if weights[name] != want {
			t.Errorf("weight of %s is %d, want %d", name, weights[name], want)
		}
	}
}

func TestMerge(t *testing.T) {
	cfg, err := Parse([]byte(head + `
profiles:
- plugins:
    multiPoint:
      enabled: [{name: ImageLocality, weight: 9}, {name: Mine}]
      disabled: [{name: DefaultPreemption}]
- schedulerName: bare
  plugins: {multiPoint: {enabled: [{name: PrioritySort}], disabled: [{name: "*"}]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	names := func(profile configv1.KubeSchedulerProfile) (list []string) {
		for _, plugin := range profile.Plugins.MultiPoint.Enabled {
			list = append(list, plugin.Name)
			if plugin.Name == "ImageLocality" && *plugin.Weight != 9 {
				t.Errorf("weight %d", *plugin.Weight)
			}
		}
		return list
	}
	got := strings.Join(names(cfg.Profiles[0]), " ")
	if strings.Contains(got, "DefaultPreemption") || !strings.HasSuffix(got, "NodeDeclaredFeatures Mine") {
		t.Error(got)
	}
	if got := names(cfg.Profiles[1]); len(got) != 1 {
		t.Error(got)
	}
}

func TestBadInput(t *testing.T) {
	tests := []struct{ name, yaml, want string }{
		{"unknown field", "bogus: 1", `unknown field "bogus"`},
		{"unknown field of arguments", "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeigth: 1}}]}]", `unknown field "hardPodAffinityWeigth"`},
		{"wrong type", "parallelism: many", "cannot unmarshal"},
		{"another kind", "kind: Pod", `no kind "Pod" is registered`},
		{"parallelism", "parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero"},
		{"backoff", "podInitialBackoffSeconds: 5\npodMaxBackoffSeconds: 1", "podMaxBackoffSeconds: Invalid value: 1: must be greater than or equal to PodInitialBackoffSeconds"},
		{"percentage", "percentageOfNodesToScore: 101", "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"},
		{"same name", "profiles: [{schedulerName: a}, {schedulerName: a}]", `profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"`},
		{"no name", "profiles: [{schedulerName: a}, {}]", "profiles[1].schedulerName: Required value"},
		{"plugin arguments", "profiles: [{pluginConfig: [{name: DefaultPreemption, args: {minCandidateNodesPercentage: 101}}]}]",
			"profiles[0].pluginConfig[0].args.minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100]"},
		{"shape", "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 0, score: 11}]}}}}]}]",
			"profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in valid range [0, 10]"},
		{"constraints", "profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultConstraints: [{maxSkew: 0, topologyKey: zone, whenUnsatisfiable: Never}], defaultingType: List}}]}]",
			"defaultConstraints[0].maxSkew: Invalid value: 0"},
		{"extender", "extenders: [{urlPrefix: http://x, prioritizeVerb: p}]", "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := Parse([]byte(head + test.yaml))
			if err == nil {
				err = Validate(cfg)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(head + "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}]}]"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if cfg, err := Parse(data); err == nil {
			_ = Validate(cfg)
		}
	})
}
