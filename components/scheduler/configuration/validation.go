package configuration

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/plumbline/plumbline/components/scheduler/plugins/defaultpreemption"
	"github.com/plumbline/plumbline/components/scheduler/plugins/dynamicresources"
	"github.com/plumbline/plumbline/components/scheduler/plugins/interpodaffinity"
	"github.com/plumbline/plumbline/components/scheduler/plugins/nodeaffinity"
	"github.com/plumbline/plumbline/components/scheduler/plugins/noderesources"
	"github.com/plumbline/plumbline/components/scheduler/plugins/podtopologyspread"
	"github.com/plumbline/plumbline/components/scheduler/plugins/volumebinding"
)

// Validate checks a defaulted configuration.
func Validate(cfg *configv1.KubeSchedulerConfiguration) error {
	var errs []error
	check := func(ok bool, path *field.Path, value any, want string) {
		if !ok {
			errs = append(errs, field.Invalid(path, value, want))
		}
	}
	check(*cfg.Parallelism > 0, field.NewPath("parallelism"), *cfg.Parallelism, "should be an integer value greater than zero")
	check(*cfg.PodInitialBackoffSeconds > 0, field.NewPath("podInitialBackoffSeconds"), *cfg.PodInitialBackoffSeconds, "must be greater than 0")
	check(*cfg.PodMaxBackoffSeconds >= *cfg.PodInitialBackoffSeconds, field.NewPath("podMaxBackoffSeconds"), *cfg.PodMaxBackoffSeconds,
		"must be greater than or equal to PodInitialBackoffSeconds")
	percentage := func(path *field.Path, value *int32) {
		check(value == nil || *value >= 0 && *value <= 100, path, value, "not in valid range [0-100]")
	}
	percentage(field.NewPath("percentageOfNodesToScore"), cfg.PercentageOfNodesToScore)

	profiles := field.NewPath("profiles")
	names := map[string]int{}
	for i := range cfg.Profiles {
		profile, path := &cfg.Profiles[i], profiles.Index(i)
		percentage(path.Child("percentageOfNodesToScore"), profile.PercentageOfNodesToScore)
		errs = append(errs, validatePluginConfig(path.Child("pluginConfig"), profile.PluginConfig)...)
		check(equality.Semantic.DeepEqual(cfg.Profiles[0].Plugins.QueueSort, profile.Plugins.QueueSort),
			path.Child("plugins", "queueSort"), profile.Plugins.QueueSort, "must be the same for all profiles")
		if profile.SchedulerName == nil || *profile.SchedulerName == "" {
			errs = append(errs, field.Required(path.Child("schedulerName"), ""))
			continue
		}
		if other, taken := names[*profile.SchedulerName]; taken {
			errs = append(errs, field.Duplicate(path.Child("schedulerName"), profiles.Index(other).Child("schedulerName").String()))
		}
		names[*profile.SchedulerName] = i
	}
	return errors.Join(append(errs, validateExtenders(cfg.Extenders)...)...)
}

func validatePluginConfig(path *field.Path, list []configv1.PluginConfig) []error {
	var errs []error
	seen := map[string]bool{}
	for i := range list {
		at := path.Index(i)
		if seen[list[i].Name] {
			errs = append(errs, field.Duplicate(at, list[i].Name))
		}
		seen[list[i].Name] = true
		at = at.Child("args")
		var err error
		switch args := list[i].Args.Object.(type) {
		case *configv1.DefaultPreemptionArgs:
			err = defaultpreemption.Validate(at, args)
		case *configv1.DynamicResourcesArgs:
			err = dynamicresources.Validate(at, args)
		case *configv1.InterPodAffinityArgs:
			err = interpodaffinity.Validate(at, args)
		case *configv1.NodeAffinityArgs:
			err = nodeaffinity.Validate(at, args)
		case *configv1.NodeResourcesFitArgs:
			err = noderesources.ValidateFitArgs(at, args)
		case *configv1.NodeResourcesBalancedAllocationArgs:
			err = noderesources.ValidateBalancedAllocationArgs(at, args)
		case *configv1.PodTopologySpreadArgs:
			err = podtopologyspread.Validate(at, args)
		case *configv1.VolumeBindingArgs:
			err = volumebinding.Validate(at, args)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func validateExtenders(list []configv1.Extender) []error {
	var errs []error
	binders := 0
	managed := map[string]bool{}
	for i := range list {
		extender, path := &list[i], field.NewPath("extenders").Index(i)
		if extender.PrioritizeVerb != "" && extender.Weight <= 0 {
			errs = append(errs, field.Invalid(path.Child("weight"), extender.Weight, "must have a positive weight applied to it"))
		}
		if extender.BindVerb != "" {
			binders++
		}
		for j := range extender.ManagedResources {
			at, name := path.Child("managedResources").Index(j).Child("name"), extender.ManagedResources[j].Name
			for _, problem := range validation.IsQualifiedName(name) {
				errs = append(errs, field.Invalid(at, name, problem))
			}
			if !strings.Contains(name, "/") {
				errs = append(errs, field.Invalid(at, name, "must be an extended resource name"))
			}
			if managed[name] {
				errs = append(errs, field.Invalid(at, name, "duplicate extender managed resource name"))
			}
			managed[name] = true
		}
	}
	if binders > 1 {
		errs = append(errs, field.Invalid(field.NewPath("extenders"), fmt.Sprintf("found %d extenders implementing bind", binders), "only one extender can implement bind"))
	}
	return errs
}
