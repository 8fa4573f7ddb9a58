package noderesources

import (
	"fmt"
	"strings"

	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/plumbline/plumbline/components/scheduler/plugins/utilization"
)

// ValidateFitArgs checks the arguments of NodeResourcesFit.
func ValidateFitArgs(path *field.Path, args *configv1.NodeResourcesFitArgs) error {
	var errs field.ErrorList
	for i, name := range args.IgnoredResources {
		errs = append(errs, metav1validation.ValidateLabelName(name, path.Child("ignoredResources").Index(i))...)
	}
	for i, group := range args.IgnoredResourceGroups {
		at := path.Child("ignoredResourceGroups").Index(i)
		if strings.Contains(group, "/") {
			errs = append(errs, field.Invalid(at, group, "resource group name can't contain '/'"))
		}
		errs = append(errs, metav1validation.ValidateLabelName(group, at)...)
	}
	at := path.Child("scoringStrategy")
	if args.ScoringStrategy == nil {
		errs = append(errs, field.Required(at, "ScoringStrategy field is required"))
	} else {
		errs = append(errs, validateStrategy(at, args.ScoringStrategy)...)
	}
	return errs.ToAggregate()
}

func validateStrategy(path *field.Path, strategy *configv1.ScoringStrategy) field.ErrorList {
	var errs field.ErrorList
	types := []configv1.ScoringStrategyType{configv1.LeastAllocated, configv1.MostAllocated, configv1.RequestedToCapacityRatio}
	if !sets.New(types...).Has(strategy.Type) {
		errs = append(errs, field.NotSupported(path.Child("type"), strategy.Type, types))
	}
	for i, spec := range strategy.Resources {
		if spec.Weight <= 0 || spec.Weight > 100 {
			errs = append(errs, field.Invalid(path.Child("resources").Index(i).Child("weight"), spec.Weight,
				fmt.Sprintf("resource weight of %v not in valid range (0, 100]", spec.Name)))
		}
	}
	at := path.Child("requestedToCapacityRatio")
	switch ratio := strategy.RequestedToCapacityRatio; {
	case strategy.Type != configv1.RequestedToCapacityRatio && ratio != nil:
		errs = append(errs, field.Forbidden(at, "must be nil when type is not RequestedToCapacityRatio"))
	case strategy.Type == configv1.RequestedToCapacityRatio && ratio == nil:
		errs = append(errs, field.Required(at, "must be specified when type is RequestedToCapacityRatio"))
	case ratio != nil:
		errs = append(errs, utilization.Validate(at.Child("shape"), ratio.Shape)...)
	}
	return errs
}

// ValidateBalancedAllocationArgs checks the arguments of NodeResourcesBalancedAllocation.
func ValidateBalancedAllocationArgs(path *field.Path, args *configv1.NodeResourcesBalancedAllocationArgs) error {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, spec := range args.Resources {
		at := path.Child("resources").Index(i)
		if seen.Has(spec.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), spec.Name))
		}
		seen.Insert(spec.Name)
		if spec.Weight != 1 {
			errs = append(errs, field.Invalid(at.Child("weight"), spec.Weight, "must be 1"))
		}
	}
	return errs.ToAggregate()
}
