package apps

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/percent"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// Deployments roll ReplicaSets from one template to the next.
// See https://kubernetes.io/docs/concepts/workloads/controllers/deployment/.
func Deployments() *resource.Definition[*appsv1.Deployment] {
	status := appsv1.DeploymentStatus{}.SwaggerDoc()
	return &resource.Definition[*appsv1.Deployment]{
		Identity: resource.Identity{
			GroupVersion: appsv1.SchemeGroupVersion,
			Kind:         "Deployment", Name: "deployments", Singular: "deployment",
			ShortNames: []string{"deploy"}, Categories: []string{"all"},
		},
		New:              func() *appsv1.Deployment { return &appsv1.Deployment{} },
		NewList:          func() runtime.Object { return &appsv1.DeploymentList{} },
		Default:          defaultDeployment,
		Off:              pod.OffFeatures("spec.template.spec"),
		PrepareForUpdate: prepareDeploymentUpdate,
		Validate: func(_ context.Context, d *appsv1.Deployment) field.ErrorList {
			return validateDeploymentSpec(&d.Spec, nil, field.NewPath("spec"))
		},
		ValidateUpdate: func(_ context.Context, d, old *appsv1.Deployment) field.ErrorList {
			spec := field.NewPath("spec")
			return append(validateDeploymentSpec(&d.Spec, &old.Spec, spec),
				apivalidation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, spec.Child("selector"))...)
		},
		Warnings: func(_ context.Context, d, old *appsv1.Deployment) []string {
			return templateWarnings(d, old, &d.Spec.Template)
		},
		Spec:                 func(d *appsv1.Deployment) any { return &d.Spec },
		TracksGeneration:     true,
		Status:               func(d *appsv1.Deployment) any { return &d.Status },
		StatusResets:         []resource.MetadataField{resource.Labels},
		ValidateStatusUpdate: validateDeploymentStatus,
		Columns: append([]metav1.TableColumnDefinition{
			table.Name(),
			table.String("Ready", "Number of the pod with ready state"),
			table.String("Up-to-date", status["updatedReplicas"]),
			table.String("Available", status["availableReplicas"]),
			table.Age(),
		}, append(table.TemplateColumns(), table.Wide(table.String("Selector", appsv1.DeploymentSpec{}.SwaggerDoc()["selector"]))...)...),
		Cells: func(d *appsv1.Deployment) []any {
			return append(append([]any{
				d.Name,
				fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, ptr.Deref(d.Spec.Replicas, 0)),
				int64(d.Status.UpdatedReplicas),
				int64(d.Status.AvailableReplicas),
				table.Since(d.CreationTimestamp),
			}, table.ContainerCells(d.Spec.Template.Spec.Containers)...), metav1.FormatLabelSelector(d.Spec.Selector))
		},
		Scale: &resource.Scale[*appsv1.Deployment]{
			Replicas: func(d *appsv1.Deployment) *int32 { return replicasOf(&d.Spec.Replicas) },
			Current:  func(d *appsv1.Deployment) int32 { return d.Status.Replicas },
			Selector: func(d *appsv1.Deployment) (string, error) { return selectorText(d.Spec.Selector) },
		},
	}
}

// replicasOf makes sure that there is a number to point to.
func replicasOf(replicas **int32) *int32 {
	if *replicas == nil {
		*replicas = new(int32)
	}
	return *replicas
}

// orElse sets a field that was left out.
func orElse[T any](target **T, value T) {
	if *target == nil {
		*target = &value
	}
}

func defaultDeployment(d *appsv1.Deployment) {
	pod.DefaultTemplate(&d.Spec.Template)
	orElse(&d.Spec.Replicas, 1)
	orElse(&d.Spec.RevisionHistoryLimit, 10)
	orElse(&d.Spec.ProgressDeadlineSeconds, 600)
	strategy := &d.Spec.Strategy
	if strategy.Type == "" {
		strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		orElse(&strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		orElse(&strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		orElse(&strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
}

// prepareDeploymentUpdate counts a change of annotations as a new generation, as
// the controller copies them to the ReplicaSets.
func prepareDeploymentUpdate(_ context.Context, d, old *appsv1.Deployment) {
	if !apiequality.Semantic.DeepEqual(d.Annotations, old.Annotations) {
		d.Generation = old.Generation + 1
	}
}

func validateDeploymentSpec(spec, old *appsv1.DeploymentSpec, path *field.Path) field.ErrorList {
	sel := selection{owner: "ReplicaSet", selector: spec.Selector, template: &spec.Template}
	if old != nil {
		sel.old = &old.Template
	}
	errs := notNegative(path, optional("replicas", spec.Replicas))
	errs = append(errs, sel.validateRequired("deployment", path.Child("selector"))...)
	if _, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), spec.Selector, "invalid label selector"))
	} else {
		errs = append(errs, sel.validateMatch(path.Child("template"))...)
		errs = append(errs, sel.validateTemplate(path.Child("template"))...)
	}
	errs = append(errs, validateDeploymentStrategy(&spec.Strategy, path.Child("strategy"))...)
	errs = append(errs, notNegative(path,
		count{"minReadySeconds", int64(spec.MinReadySeconds)},
		optional("revisionHistoryLimit", spec.RevisionHistoryLimit),
		optional("progressDeadlineSeconds", spec.ProgressDeadlineSeconds),
	)...)
	if deadline := spec.ProgressDeadlineSeconds; deadline != nil && *deadline <= spec.MinReadySeconds {
		errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), *deadline, "must be greater than minReadySeconds"))
	}
	return errs
}

func validateDeploymentStrategy(strategy *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	rolling := path.Child("rollingUpdate")
	switch strategy.Type {
	case appsv1.RollingUpdateDeploymentStrategyType:
		if strategy.RollingUpdate == nil {
			return field.ErrorList{field.Required(rolling, "this should be defaulted and never be nil")}
		}
	case appsv1.RecreateDeploymentStrategyType:
		if strategy.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	default:
		return field.ErrorList{field.NotSupported(path, *strategy, []string{
			string(appsv1.RecreateDeploymentStrategyType), string(appsv1.RollingUpdateDeploymentStrategyType)})}
	}
	unavailable, surge := strategy.RollingUpdate.MaxUnavailable, strategy.RollingUpdate.MaxSurge
	errs := percent.Validate(unavailable, rolling.Child("maxUnavailable"))
	errs = append(errs, percent.Validate(surge, rolling.Child("maxSurge"))...)
	if percent.IsZero(unavailable) && percent.IsZero(surge) {
		errs = append(errs, field.Invalid(rolling.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, percent.AtMostAll(unavailable, rolling.Child("maxUnavailable"))...)
}

func validateDeploymentStatus(_ context.Context, d, old *appsv1.Deployment) field.ErrorList {
	status, path := &d.Status, field.NewPath("status")
	updated := count{"updatedReplicas", int64(status.UpdatedReplicas)}
	ready := count{"readyReplicas", int64(status.ReadyReplicas)}
	available := count{"availableReplicas", int64(status.AvailableReplicas)}
	errs := notNegative(path,
		count{"observedGeneration", status.ObservedGeneration},
		count{"replicas", int64(status.Replicas)},
		updated, ready, available,
		count{"unavailableReplicas", int64(status.UnavailableReplicas)},
		optional("terminatingReplicas", status.TerminatingReplicas),
		optional("collisionCount", status.CollisionCount),
	)
	errs = append(errs, atMost(status.Replicas, aboveReplicas, path, updated, ready, available)...)
	errs = append(errs, atMost(status.ReadyReplicas, "cannot be greater than readyReplicas", path, available)...)
	return append(errs, collisionsNotDecremented(status.CollisionCount, old.Status.CollisionCount)...)
}
