// Package autoscaling has the resources of the group autoscaling: the
// HorizontalPodAutoscaler, stored as v2 and served as v1 too.
//
// See https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/.
package autoscaling

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	declared "github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// HorizontalPodAutoscalers set the replicas of a workload by what is measured.
func HorizontalPodAutoscalers() *declared.Definition[*autoscalingv2.HorizontalPodAutoscaler] {
	spec := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()
	return &declared.Definition[*autoscalingv2.HorizontalPodAutoscaler]{
		Identity: declared.Identity{
			GroupVersion: autoscalingv2.SchemeGroupVersion,
			Kind:         "HorizontalPodAutoscaler", Name: "horizontalpodautoscalers", Singular: "horizontalpodautoscaler",
			ShortNames: []string{"hpa"}, Categories: []string{"all"},
			ServedAs: []schema.GroupVersion{autoscalingv1.SchemeGroupVersion},
		},
		New:         func() *autoscalingv2.HorizontalPodAutoscaler { return &autoscalingv2.HorizontalPodAutoscaler{} },
		NewList:     func() runtime.Object { return &autoscalingv2.HorizontalPodAutoscalerList{} },
		AddToScheme: addVersion1,
		Default:     defaultAutoscaler,
		// The annotations that carry v2's fields in v1 mean nothing in v2.
		PrepareForCreate: func(_ context.Context, a *autoscalingv2.HorizontalPodAutoscaler) {
			a.Annotations = withoutCarriers(a.Annotations)
		},
		PrepareForUpdate: func(_ context.Context, a, _ *autoscalingv2.HorizontalPodAutoscaler) {
			a.Annotations = withoutCarriers(a.Annotations)
		},
		Validate:             validateAutoscaler,
		ValidateUpdate:       validateAutoscalerUpdate,
		Spec:                 func(a *autoscalingv2.HorizontalPodAutoscaler) any { return &a.Spec },
		TracksGeneration:     true,
		Status:               func(a *autoscalingv2.HorizontalPodAutoscaler) any { return &a.Status },
		ValidateStatusUpdate: validateAutoscalerStatus,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Reference", spec["scaleTargetRef"]),
			table.String("Targets", spec["metrics"]),
			table.String("MinPods", spec["minReplicas"]),
			table.String("MaxPods", spec["maxReplicas"]),
			table.String("Replicas", autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()["currentReplicas"]),
			table.Age(),
		},
		Cells: func(a *autoscalingv2.HorizontalPodAutoscaler) []any {
			least := table.Unset
			if a.Spec.MinReplicas != nil {
				least = strconv.Itoa(int(*a.Spec.MinReplicas))
			}
			return []any{
				a.Name, a.Spec.ScaleTargetRef.Kind + "/" + a.Spec.ScaleTargetRef.Name,
				targetsCell(a.Spec.Metrics, a.Status.CurrentMetrics),
				least, int64(a.Spec.MaxReplicas), int64(a.Status.CurrentReplicas), table.Since(a.CreationTimestamp),
			}
		},
	}
}

// defaultUtilization is the share of requested CPU that is aimed at where nothing else is asked.
const defaultUtilization int32 = 80

func cpuUtilization(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{
		Type: autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricSource{
			Name:   corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
		},
	}
}

func defaultAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) {
	spec := &a.Spec
	if spec.MinReplicas == nil {
		spec.MinReplicas = ptr.To[int32](1)
	}
	if len(spec.Metrics) == 0 {
		spec.Metrics = []autoscalingv2.MetricSpec{cpuUtilization(defaultUtilization)}
	}
	if spec.Behavior == nil {
		return
	}
	double := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}
	fourPods := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15}
	completeRules(&spec.Behavior.ScaleUp, ptr.To[int32](0), fourPods, double)
	completeRules(&spec.Behavior.ScaleDown, nil, double)
}

// completeRules fills in what the user left out of a behaviour.
func completeRules(rules **autoscalingv2.HPAScalingRules, window *int32, policies ...autoscalingv2.HPAScalingPolicy) {
	if *rules == nil {
		*rules = &autoscalingv2.HPAScalingRules{}
	}
	r := *rules
	if r.SelectPolicy == nil {
		r.SelectPolicy = ptr.To(autoscalingv2.MaxChangePolicySelect)
	}
	if r.StabilizationWindowSeconds == nil {
		r.StabilizationWindowSeconds = window
	}
	if r.Policies == nil {
		r.Policies = policies
	}
}

// targetsCell shows what is measured beside what is wanted, of the first two metrics.
func targetsCell(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	const most = 2
	if len(specs) == 0 {
		return table.None
	}
	var shown []string
	for i, spec := range specs {
		if i == most {
			return fmt.Sprintf("%s + %d more...", strings.Join(shown, ", "), len(specs)-most)
		}
		var status autoscalingv2.MetricStatus
		if i < len(statuses) {
			status = statuses[i]
		}
		shown = append(shown, targetText(spec, status))
	}
	return strings.Join(shown, ", ")
}

// unknown is shown until something has been measured.
const unknown = "<unknown>"

func targetText(spec autoscalingv2.MetricSpec, status autoscalingv2.MetricStatus) string {
	switch {
	case spec.Type == autoscalingv2.PodsMetricSourceType && spec.Pods != nil:
		now := measured(status.Pods != nil, func() *resource.Quantity { return status.Pods.Current.AverageValue })
		return now + "/" + amount(spec.Pods.Target.AverageValue)
	case spec.Type == autoscalingv2.ObjectMetricSourceType && spec.Object != nil:
		var current *autoscalingv2.MetricValueStatus
		if status.Object != nil {
			current = &status.Object.Current
		}
		return valueText(spec.Object.Target, current)
	case spec.Type == autoscalingv2.ExternalMetricSourceType && spec.External != nil:
		var current *autoscalingv2.MetricValueStatus
		if status.External != nil {
			current = &status.External.Current
		}
		return valueText(spec.External.Target, current)
	case spec.Type == autoscalingv2.ResourceMetricSourceType && spec.Resource != nil:
		var current *autoscalingv2.MetricValueStatus
		if status.Resource != nil {
			current = &status.Resource.Current
		}
		return string(spec.Resource.Name) + ": " + usageText(spec.Resource.Target, current)
	case spec.Type == autoscalingv2.ContainerResourceMetricSourceType && spec.ContainerResource != nil:
		var current *autoscalingv2.MetricValueStatus
		if status.ContainerResource != nil {
			current = &status.ContainerResource.Current
		}
		return string(spec.ContainerResource.Name) + ": " + usageText(spec.ContainerResource.Target, current)
	}
	return "<unknown type>"
}

func amount(q *resource.Quantity) string {
	if q == nil {
		return "<nil>"
	}
	return q.String()
}

func measured(known bool, of func() *resource.Quantity) string {
	if !known {
		return unknown
	}
	return amount(of())
}

// valueText shows a metric that is wanted as a whole or per pod.
func valueText(target autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if target.AverageValue != nil {
		known := current != nil && current.AverageValue != nil
		return measured(known, func() *resource.Quantity { return current.AverageValue }) + "/" + amount(target.AverageValue) + " (avg)"
	}
	return measured(current != nil, func() *resource.Quantity { return current.Value }) + "/" + amount(target.Value)
}

// usageText shows a resource that is wanted as an amount or as a share of the request.
func usageText(target autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if target.AverageValue != nil {
		return measured(current != nil, func() *resource.Quantity { return current.AverageValue }) + "/" + amount(target.AverageValue)
	}
	now, wanted := unknown, "<auto>"
	if current != nil && current.AverageUtilization != nil {
		now = fmt.Sprintf("%d%%", *current.AverageUtilization)
	}
	if target.AverageUtilization != nil {
		wanted = fmt.Sprintf("%d%%", *target.AverageUtilization)
	}
	return now + "/" + wanted
}
