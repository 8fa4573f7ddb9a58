package autoscaling

import (
	"context"
	"slices"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func expect(t *testing.T, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, err := range errs {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func autoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	a := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"keep": "me"}},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			MaxReplicas:    5,
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
			Behavior:       &autoscalingv2.HorizontalPodAutoscalerBehavior{},
		},
	}
	defaultAutoscaler(a)
	return a
}

func TestDefaults(t *testing.T) {
	s := autoscaler().Spec
	if *s.MinReplicas != 1 || *s.Metrics[0].Resource.Target.AverageUtilization != 80 {
		t.Errorf("defaults: %+v", s)
	}
	up, down := s.Behavior.ScaleUp, s.Behavior.ScaleDown
	if *up.StabilizationWindowSeconds != 0 || len(up.Policies) != 2 || down.StabilizationWindowSeconds != nil || len(down.Policies) != 1 {
		t.Errorf("behaviour: %+v, %+v", up, down)
	}
}

func TestValidation(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*autoscalingv2.HorizontalPodAutoscalerSpec)
		want   []string
	}{
		"valid":     {func(*autoscalingv2.HorizontalPodAutoscalerSpec) {}, nil},
		"no bounds": {func(s *autoscalingv2.HorizontalPodAutoscalerSpec) { s.MaxReplicas = 0 }, []string{"spec.maxReplicas: Required value", "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`"}},
		"asleep":    {func(s *autoscalingv2.HorizontalPodAutoscalerSpec) { s.MinReplicas = ptr.To[int32](0) }, []string{`spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas`}},
		"target of no group": {func(s *autoscalingv2.HorizontalPodAutoscalerSpec) { s.ScaleTargetRef.APIVersion = "v1" },
			[]string{`spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group`}},
		"two sources": {func(s *autoscalingv2.HorizontalPodAutoscalerSpec) {
			s.Metrics[0].Pods = &autoscalingv2.PodsMetricSource{}
		}, []string{
			`spec.metrics[0].pods.metric.name: Required value: must specify a metric name`,
			`spec.metrics[0].pods.target.type: Required value: must specify a metric target type`,
			`spec.metrics[0].pods.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue`,
			`spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue`,
			`spec.metrics[0].pods: Forbidden: must populate the given metric source only`}},
		"behaviour": {func(s *autoscalingv2.HorizontalPodAutoscalerSpec) {
			s.Behavior.ScaleDown.StabilizationWindowSeconds = ptr.To[int32](4000)
			s.Behavior.ScaleUp.Policies = []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 0, PeriodSeconds: 1801}}
		}, []string{
			`spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero`,
			`spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800`,
			`spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600`}},
	} {
		t.Run(name, func(t *testing.T) {
			a := autoscaler()
			test.change(&a.Spec)
			expect(t, validateAutoscaler(context.Background(), a), test.want...)
		})
	}
}

func TestVersion1CarriesEverything(t *testing.T) {
	a := autoscaler()
	q := func(s string) *resource.Quantity { return ptr.To(resource.MustParse(s)) }
	target := autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: q("10")}
	id := autoscalingv2.MetricIdentifier{Name: "rps"}
	a.Spec.Metrics = append([]autoscalingv2.MetricSpec{
		{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: id, Target: target}},
		{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: id, Target: target}},
		{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{Metric: id, Target: target, DescribedObject: a.Spec.ScaleTargetRef}},
		{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{Name: corev1.ResourceCPU, Container: "c", Target: target}},
	}, a.Spec.Metrics...)
	a.Status = autoscalingv2.HorizontalPodAutoscalerStatus{
		CurrentReplicas: 3,
		CurrentMetrics: []autoscalingv2.MetricStatus{{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricStatus{
			Metric: id, Current: autoscalingv2.MetricValueStatus{AverageValue: q("7")}}}},
		Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue}},
	}
	var old autoscalingv1.HorizontalPodAutoscaler
	if err := toVersion1(a, &old); err != nil {
		t.Fatal(err)
	}
	if ptr.Deref(old.Spec.TargetCPUUtilizationPercentage, 0) != 80 || len(old.Annotations) != 5 {
		t.Errorf("v1: %+v %v", old.Spec, old.Annotations)
	}
	var back autoscalingv2.HorizontalPodAutoscaler
	if toVersion2(&old, &back); !apiequality.Semantic.DeepEqual(&back, a) {
		t.Errorf("there and back:\n%v\n%v", a, &back)
	}
}

func TestTargets(t *testing.T) {
	specs := []autoscalingv2.MetricSpec{cpuUtilization(80), cpuUtilization(70), cpuUtilization(60)}
	statuses := []autoscalingv2.MetricStatus{{Resource: &autoscalingv2.ResourceMetricStatus{Current: autoscalingv2.MetricValueStatus{AverageUtilization: ptr.To[int32](12)}}}}
	if got := targetsCell(specs, statuses); got != "cpu: 12%/80%, cpu: <unknown>/70% + 1 more..." {
		t.Error(got)
	}
	if got := targetsCell(nil, nil); got != "<none>" {
		t.Error(got)
	}
}
