package autoscaling

import (
	"context"
	"errors"
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
)

const (
	longestPeriod int32 = 1800
	longestWindow int32 = 3600
)

// reference says what is forgiven in a reference to another object.
type reference struct {
	// coreAllowed lets the API version be one of the core group.
	coreAllowed bool
	// anyVersion is for references that were stored before versions were checked.
	anyVersion bool
}

type autoscalerRules struct {
	target  reference
	objects reference
}

func validateAutoscaler(_ context.Context, a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	r := autoscalerRules{
		// Of the core group's resources only this one can be scaled.
		target:  reference{coreAllowed: a.Spec.ScaleTargetRef.Kind == "ReplicationController"},
		objects: reference{coreAllowed: true},
	}
	return r.validate(&a.Spec)
}

func validateAutoscalerUpdate(_ context.Context, a, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	now, was := a.Spec.ScaleTargetRef, old.Spec.ScaleTargetRef
	r := autoscalerRules{
		target: reference{
			coreAllowed: now.Kind == "ReplicationController",
			anyVersion:  now.APIVersion == was.APIVersion && now.Kind == was.Kind,
		},
		objects: reference{coreAllowed: true},
	}
	r.objects.anyVersion = slices.ContainsFunc(old.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Object != nil && r.objects.checkVersion(m.Object.DescribedObject.APIVersion) != nil
	})
	return r.validate(&a.Spec)
}

func (r autoscalerRules) validate(spec *autoscalingv2.HorizontalPodAutoscalerSpec) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	least := ptr.Deref(spec.MinReplicas, 1)
	if spec.MinReplicas != nil && least < 0 {
		found.Invalid(at.Child("minReplicas"), least, "must be greater than or equal to 0")
	}
	if spec.MaxReplicas == 0 {
		found.Required(at.Child("maxReplicas"), "")
	} else if spec.MaxReplicas < 0 {
		found.Invalid(at.Child("maxReplicas"), spec.MaxReplicas, "must be greater than or equal to 1")
	}
	if spec.MinReplicas != nil && spec.MaxReplicas < least {
		found.Invalid(at.Child("maxReplicas"), spec.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	found.Add(r.target.validate(spec.ScaleTargetRef, at.Child("scaleTargetRef"))...)

	// Without pods nothing is measured on them, so waking up needs another source.
	wakes := false
	for i := range spec.Metrics {
		m := &spec.Metrics[i]
		found.Add(r.metric(m, at.Child("metrics").Index(i))...)
		wakes = wakes || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	if least == 0 && !wakes {
		found.Forbidden(at.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas")
	}
	if b := spec.Behavior; b != nil {
		found.Add(validateRules(b.ScaleUp, at.Child("behavior", "scaleUp"))...)
		found.Add(validateRules(b.ScaleDown, at.Child("behavior", "scaleDown"))...)
	}
	return found.Errors
}

func (r reference) validate(ref autoscalingv2.CrossVersionObjectReference, at *field.Path) field.ErrorList {
	var found problem.List
	requireSegment(&found, at.Child("kind"), ref.Kind, "")
	requireSegment(&found, at.Child("name"), ref.Name, "")
	if err := r.checkVersion(ref.APIVersion); err != nil && !r.anyVersion {
		found.Invalid(at.Child("apiVersion"), ref.APIVersion, err.Error())
	}
	return found.Errors
}

func (r reference) checkVersion(apiVersion string) error {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err == nil && gv.Group == "" && !r.coreAllowed {
		err = errors.New("apiVersion must specify API group")
	}
	return err
}

func requireSegment(found *problem.List, at *field.Path, value, detail string) {
	if value == "" {
		found.Required(at, detail)
		return
	}
	found.Messages(at, value, content.IsPathSegmentName(value))
}

func validateRules(rules *autoscalingv2.HPAScalingRules, at *field.Path) field.ErrorList {
	if rules == nil {
		return nil
	}
	var found problem.List
	switch window, at := ptr.Deref(rules.StabilizationWindowSeconds, 0), at.Child("stabilizationWindowSeconds"); {
	case window < 0:
		found.Invalid(at, window, "must be greater than or equal to zero")
	case window > longestWindow:
		found.Invalid(at, window, fmt.Sprintf("must be less than or equal to %v", longestWindow))
	}
	if rules.SelectPolicy != nil {
		problem.OneOf(&found, at.Child("selectPolicy"), *rules.SelectPolicy, autoscalingv2.DisabledPolicySelect,
			autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)
	}
	if len(rules.Policies) == 0 {
		found.Required(at.Child("policies"), "must specify at least one Policy")
	}
	for i, policy := range rules.Policies {
		at := at.Child("policies").Index(i)
		problem.OneOf(&found, at.Child("type"), policy.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
		found.Positive(at.Child("value"), int64(policy.Value))
		found.Positive(at.Child("periodSeconds"), int64(policy.PeriodSeconds))
		if policy.PeriodSeconds > longestPeriod {
			found.Invalid(at.Child("periodSeconds"), policy.PeriodSeconds, fmt.Sprintf("must be less than or equal to %v", longestPeriod))
		}
	}
	if rules.Tolerance != nil && rules.Tolerance.Sign() < 0 {
		found.Invalid(at.Child("tolerance"), rules.Tolerance.String(), apivalidation.IsNegativeErrorMsg)
	}
	return found.Errors
}

// source is one member of a metric's union.
type source struct {
	kind     autoscalingv2.MetricSourceType
	name     string
	set      bool
	validate func(at *field.Path) field.ErrorList
}

func (r autoscalerRules) sources(m *autoscalingv2.MetricSpec) []source {
	return []source{
		{autoscalingv2.ObjectMetricSourceType, "object", m.Object != nil, func(at *field.Path) field.ErrorList {
			found := problem.List{Errors: r.objects.validate(m.Object.DescribedObject, at.Child("describedObject"))}
			found.Add(validateMeasured(m.Object.Metric, m.Object.Target, at)...)
			if m.Object.Target.Value == nil && m.Object.Target.AverageValue == nil {
				found.Required(at.Child("target", "averageValue"), "must set either a target value or averageValue")
			}
			return found.Errors
		}},
		{autoscalingv2.ExternalMetricSourceType, "external", m.External != nil, func(at *field.Path) field.ErrorList {
			return validateExternal(m.External, at)
		}},
		{autoscalingv2.PodsMetricSourceType, "pods", m.Pods != nil, func(at *field.Path) field.ErrorList {
			found := problem.List{Errors: validateMeasured(m.Pods.Metric, m.Pods.Target, at)}
			if m.Pods.Target.AverageValue == nil {
				found.Required(at.Child("target", "averageValue"), "must specify a positive target averageValue")
			}
			return found.Errors
		}},
		{autoscalingv2.ResourceMetricSourceType, "resource", m.Resource != nil, func(at *field.Path) field.ErrorList {
			return validateUsage(m.Resource.Name, m.Resource.Target, at)
		}},
		{autoscalingv2.ContainerResourceMetricSourceType, "containerResource", m.ContainerResource != nil, func(at *field.Path) field.ErrorList {
			return validateContainerUsage(m.ContainerResource, at)
		}},
	}
}

func (r autoscalerRules) metric(m *autoscalingv2.MetricSpec, at *field.Path) field.ErrorList {
	var found problem.List
	var kinds []autoscalingv2.MetricSourceType
	var set []source
	var expected string
	for _, s := range r.sources(m) {
		kinds = append(kinds, s.kind)
		if s.set {
			set = append(set, s)
		}
		if s.kind == m.Type {
			expected = s.name
			if !s.set {
				found.Required(at.Child(s.name), "must populate information for the given metric source")
			}
		}
	}
	if expected == "" {
		slices.Sort(kinds)
		if m.Type == "" {
			found.Required(at.Child("type"), "must specify a metric source type")
		}
		problem.OneOf(&found, at.Child("type"), m.Type, kinds...)
	}
	for i, s := range set {
		if i == 0 {
			found.Add(s.validate(at.Child(s.name))...)
		}
		if len(set) > 1 && s.name != expected {
			found.Forbidden(at.Child(s.name), "must populate the given metric source only")
		}
	}
	return found.Errors
}

func validateMeasured(id autoscalingv2.MetricIdentifier, target autoscalingv2.MetricTarget, at *field.Path) field.ErrorList {
	var found problem.List
	requireSegment(&found, at.Child("metric", "name"), id.Name, "must specify a metric name")
	found.Add(validateTarget(target, at.Child("target"))...)
	return found.Errors
}

func validateTarget(target autoscalingv2.MetricTarget, at *field.Path) field.ErrorList {
	var found problem.List
	switch target.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		if target.Type == "" {
			found.Required(at.Child("type"), "must specify a metric target type")
		}
		found.Invalid(at.Child("type"), target.Type, "must be either Utilization, Value, or AverageValue")
	}
	if v := target.Value; v != nil && v.Sign() <= 0 {
		found.Invalid(at.Child("value"), v, "must be positive")
	}
	if v := target.AverageValue; v != nil && v.Sign() <= 0 {
		found.Invalid(at.Child("averageValue"), v, "must be positive")
	}
	if u := target.AverageUtilization; u != nil && *u < 1 {
		found.Invalid(at.Child("averageUtilization"), *u, "must be greater than 0")
	}
	return found.Errors
}

func validateExternal(s *autoscalingv2.ExternalMetricSource, at *field.Path) field.ErrorList {
	found := problem.List{Errors: validateMeasured(s.Metric, s.Target, at)}
	switch whole, each := s.Target.Value != nil, s.Target.AverageValue != nil; {
	case !whole && !each:
		found.Required(at.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target")
	case whole && each:
		found.Forbidden(at.Child("target", "value"), "may not set both a target value for metric and a per-pod target")
	}
	return found.Errors
}

func validateUsage(name corev1.ResourceName, target autoscalingv2.MetricTarget, at *field.Path) field.ErrorList {
	var found problem.List
	if name == "" {
		found.Required(at.Child("name"), "must specify a resource name")
	}
	found.Add(validateTarget(target, at.Child("target"))...)
	switch share, raw := target.AverageUtilization != nil, target.AverageValue != nil; {
	case !share && !raw:
		found.Required(at.Child("target", "averageUtilization"), "must set either a target raw value or a target utilization")
	case share && raw:
		found.Forbidden(at.Child("target", "averageValue"), "may not set both a target raw value and a target utilization")
	}
	return found.Errors
}

func validateContainerUsage(s *autoscalingv2.ContainerResourceMetricSource, at *field.Path) field.ErrorList {
	var found problem.List
	if s.Name != "" {
		found.Messages(at.Child("name"), s.Name, validation.IsQualifiedName(string(s.Name)))
	}
	if s.Container == "" {
		found.Required(at.Child("container"), "must specify a container")
	} else {
		found.Messages(at.Child("container"), s.Container, validation.IsDNS1123Label(s.Container))
	}
	found.Add(validateUsage(s.Name, s.Target, at)...)
	return found.Errors
}

func validateAutoscalerStatus(_ context.Context, a, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var found problem.List
	at := field.NewPath("status")
	for i, c := range a.Status.Conditions {
		found.NotNegative(at.Child("conditions").Index(i).Child("observedGeneration"), ptr.Deref(c.ObservedGeneration, 0))
	}
	found.NotNegative(at.Child("currentReplicas"), int64(a.Status.CurrentReplicas))
	found.NotNegative(at.Child("desiredReplicas"), int64(a.Status.DesiredReplicas))
	return found.Errors
}
