// Package pluginargs defaults the arguments of plugins (kubescheduler.config.k8s.io/v1).
package pluginargs

import (
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

func set[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// SetDefaults fills in what the arguments of a plugin leave open.
func SetDefaults(obj runtime.Object) {
	cpuAndMemory := func() []configv1.ResourceSpec {
		return []configv1.ResourceSpec{{Name: string(v1.ResourceCPU), Weight: 1}, {Name: string(v1.ResourceMemory), Weight: 1}}
	}
	weigh := func(list []configv1.ResourceSpec) {
		for i := range list {
			if list[i].Weight == 0 {
				list[i].Weight = 1
			}
		}
	}
	switch args := obj.(type) {
	case *configv1.DefaultPreemptionArgs:
		set(&args.MinCandidateNodesPercentage, 10)
		set(&args.MinCandidateNodesAbsolute, 100)
	case *configv1.DynamicResourcesArgs:
		set(&args.FilterTimeout, metav1.Duration{Duration: configv1.DynamicResourcesFilterTimeoutDefault})
		set(&args.BindingTimeout, metav1.Duration{Duration: configv1.DynamicResourcesBindingTimeoutDefault})
	case *configv1.InterPodAffinityArgs:
		set(&args.HardPodAffinityWeight, 1)
	case *configv1.PodTopologySpreadArgs:
		if args.DefaultingType == "" {
			args.DefaultingType = configv1.SystemDefaulting
		}
	case *configv1.VolumeBindingArgs:
		set(&args.BindTimeoutSeconds, 600)
		if len(args.Shape) == 0 {
			args.Shape = []configv1.UtilizationShapePoint{{Utilization: 0, Score: 10}, {Utilization: 100, Score: 0}}
		}
	case *configv1.NodeResourcesBalancedAllocationArgs:
		if len(args.Resources) == 0 {
			args.Resources = cpuAndMemory()
		}
		weigh(args.Resources)
	case *configv1.NodeResourcesFitArgs:
		set(&args.ScoringStrategy, configv1.ScoringStrategy{Type: configv1.LeastAllocated})
		if len(args.ScoringStrategy.Resources) == 0 {
			args.ScoringStrategy.Resources = cpuAndMemory()
		}
		weigh(args.ScoringStrategy.Resources)
	}
}
