package apps

import (
	"context"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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

func template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx:1.14.2"}}},
	}
}

func selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
}

func deployment() *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{Selector: selector(), Template: template()}}
	defaultDeployment(d)
	return d
}

func TestDeploymentDefaultsAreCompleteAndIdempotent(t *testing.T) {
	d := deployment()
	for name, ok := range map[string]bool{
		"replicas":         *d.Spec.Replicas == 1,
		"history":          *d.Spec.RevisionHistoryLimit == 10,
		"deadline":         *d.Spec.ProgressDeadlineSeconds == 600,
		"strategy":         d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType,
		"max surge":        d.Spec.Strategy.RollingUpdate.MaxSurge.String() == "25%",
		"max unavailable":  d.Spec.Strategy.RollingUpdate.MaxUnavailable.String() == "25%",
		"pod's own policy": d.Spec.Template.Spec.RestartPolicy == corev1.RestartPolicyAlways,
	} {
		if !ok {
			t.Errorf("%s is not defaulted: %+v", name, d.Spec)
		}
	}
	again := d.DeepCopy()
	defaultDeployment(again)
	if !apiequality.Semantic.DeepEqual(again, d) {
		t.Errorf("defaulting twice differs:\n%v\n%v", d, again)
	}
	recreate := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}}}
	if defaultDeployment(recreate); recreate.Spec.Strategy.RollingUpdate != nil {
		t.Error("Recreate was given rolling update parameters")
	}
}

func TestDeploymentValidation(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*appsv1.DeploymentSpec)
		want   []string
	}{
		"valid": {func(*appsv1.DeploymentSpec) {}, nil},
		"negative": {func(s *appsv1.DeploymentSpec) { s.Replicas = ptr.To[int32](-1) },
			[]string{`spec.replicas: Invalid value: -1: must be greater than or equal to 0`}},
		"no selector": {func(s *appsv1.DeploymentSpec) { s.Selector = nil },
			[]string{`spec.selector: Required value`, "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"}},
		"empty selector": {func(s *appsv1.DeploymentSpec) { s.Selector = &metav1.LabelSelector{} },
			[]string{`spec.selector: Invalid value: {}: empty selector is invalid for deployment`}},
		"mismatch": {func(s *appsv1.DeploymentSpec) { s.Selector.MatchLabels["app"] = "x" },
			[]string{"spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"}},
		"pods that end": {func(s *appsv1.DeploymentSpec) {
			s.Template.Spec.RestartPolicy, s.Template.Spec.ActiveDeadlineSeconds = corev1.RestartPolicyNever, ptr.To[int64](3)
		}, []string{
			`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`,
			`spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported`}},
		"no progress possible": {func(s *appsv1.DeploymentSpec) {
			s.Strategy.RollingUpdate.MaxSurge, s.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromString("0%")), ptr.To(intstr.FromInt32(0))
		}, []string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"}},
		"not a percentage": {func(s *appsv1.DeploymentSpec) {
			s.Strategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromString("120%"))
		},
			[]string{`spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "120%": must not be greater than 100%`}},
		"recreate with parameters": {func(s *appsv1.DeploymentSpec) { s.Strategy.Type = appsv1.RecreateDeploymentStrategyType },
			[]string{"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"}},
		"deadline too near": {func(s *appsv1.DeploymentSpec) { s.MinReadySeconds = 600 },
			[]string{`spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds`}},
	} {
		t.Run(name, func(t *testing.T) {
			d := deployment()
			test.change(&d.Spec)
			expect(t, Deployments().Validate(context.Background(), d), test.want...)
		})
	}
}

func TestDeploymentUpdate(t *testing.T) {
	ctx, def := context.Background(), Deployments()
	old := deployment()
	now := old.DeepCopy()
	now.Spec.Selector.MatchLabels["tier"], now.Spec.Template.Labels["tier"] = "a", "a"
	expect(t, def.ValidateUpdate(ctx, now, old),
		`spec.selector: Invalid value: {"matchLabels":{"app":"web","tier":"a"}}: field is immutable`)

	annotated := old.DeepCopy()
	annotated.Annotations = map[string]string{"a": "b"}
	if def.PrepareForUpdate(ctx, annotated, old); annotated.Generation != old.Generation+1 {
		t.Error("a change of annotations is no new generation")
	}
	if def.PrepareForUpdate(ctx, now, old); now.Generation != old.Generation {
		t.Error("the definition counted a change of the spec, which the engine counts")
	}
}

func TestStatus(t *testing.T) {
	ctx := context.Background()
	old := deployment()
	old.Status.CollisionCount = ptr.To[int32](2)
	now := old.DeepCopy()
	now.Status = appsv1.DeploymentStatus{Replicas: 1, ReadyReplicas: 1, AvailableReplicas: 2, CollisionCount: ptr.To[int32](1)}
	expect(t, Deployments().ValidateStatusUpdate(ctx, now, old),
		`status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas`,
		`status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas`,
		`status.collisionCount: Invalid value: 1: cannot be decremented`)
}

func TestReplicaSetSpeaksOfDeployments(t *testing.T) {
	rs := &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{}, Template: template()}}
	def := ReplicaSets()
	def.Default(rs)
	expect(t, def.Validate(context.Background(), rs), `spec.selector: Invalid value: {}: empty selector is invalid for deployment`)
}

func TestDaemonSet(t *testing.T) {
	ctx, def := context.Background(), DaemonSets()
	ds := &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Selector: selector(), Template: template()}}
	def.Default(ds)
	def.PrepareForCreate(ctx, ds)
	expect(t, def.Validate(ctx, ds))
	if got := ds.Annotations[appsv1.DeprecatedTemplateGeneration]; got != "1" {
		t.Errorf("template generation %q, want 1", got)
	}
	now := ds.DeepCopy()
	now.Spec.Template.Spec.Containers[0].Image = "nginx:2"
	now.Annotations = nil
	if def.PrepareForUpdate(ctx, now, ds); now.Annotations[appsv1.DeprecatedTemplateGeneration] != "2" {
		t.Errorf("template generation %v after a change, want 2", now.Annotations)
	}
	now.Spec.UpdateStrategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(1))
	expect(t, def.ValidateUpdate(ctx, now, ds),
		`spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero`)
	now.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
	expect(t, def.ValidateUpdate(ctx, now, ds), `spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0`)
}

func statefulSet() *appsv1.StatefulSet {
	claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	set := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{
		Selector: selector(), Template: template(), ServiceName: "web", VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim},
	}}
	set.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	defaultStatefulSet(set)
	return set
}

func TestStatefulSetUpdate(t *testing.T) {
	old := statefulSet()
	now := old.DeepCopy()
	// The claim is not valid, but it was stored like that and cannot change.
	now.Spec.Replicas = ptr.To[int32](3)
	expect(t, StatefulSets().ValidateUpdate(context.Background(), now, old))
	now.Spec.ServiceName, now.Spec.PodManagementPolicy = "other", appsv1.ParallelPodManagement
	expect(t, StatefulSets().ValidateUpdate(context.Background(), now, old),
		`spec.serviceName: Invalid value: "other": field is immutable`,
		`spec.podManagementPolicy: Invalid value: "Parallel": field is immutable`)
}

func TestStatefulSetClaimsCountAsVolumes(t *testing.T) {
	set := statefulSet()
	expect(t, StatefulSets().Validate(context.Background(), set),
		`spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required`,
		`spec.volumeClaimTemplates[0].spec.resources[storage]: Required value`)
	if claim := set.Spec.VolumeClaimTemplates[0]; claim.Kind != "PersistentVolumeClaim" || claim.APIVersion != "v1" {
		t.Errorf("claim template is stored as %v", claim.TypeMeta)
	}
}

func TestControllerRevisionData(t *testing.T) {
	for data, want := range map[string][]string{
		`{"a":1}`: nil,
		`null`:    {`data: Required value: data is mandatory`},
		`[1]`:     {`data: Required value: data must be a valid JSON object`},
		`{`:       {`data: Invalid value: "<value omitted>": error parsing data: unexpected end of JSON input`},
	} {
		expect(t, validateRevisionData([]byte(data)), want...)
	}
	expect(t, validateRevisionData(nil), `data: Required value: data is mandatory`)
}
