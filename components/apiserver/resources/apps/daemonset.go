package apps

import (
	"context"
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/percent"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// DaemonSets run one pod on every fitting node.
// See https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/.
func DaemonSets() *resource.Definition[*appsv1.DaemonSet] {
	status := appsv1.DaemonSetStatus{}.SwaggerDoc()
	return &resource.Definition[*appsv1.DaemonSet]{
		Identity: resource.Identity{
			GroupVersion: appsv1.SchemeGroupVersion,
			Kind:         "DaemonSet", Name: "daemonsets", Singular: "daemonset",
			ShortNames: []string{"ds"}, Categories: []string{"all"},
		},
		New:     func() *appsv1.DaemonSet { return &appsv1.DaemonSet{} },
		NewList: func() runtime.Object { return &appsv1.DaemonSetList{} },
		Default: defaultDaemonSet,
		Off:     pod.OffFeatures("spec.template.spec"),
		PrepareForCreate: func(_ context.Context, ds *appsv1.DaemonSet) {
			setTemplateGeneration(ds, max(templateGeneration(ds), 1))
		},
		PrepareForUpdate: prepareDaemonSetUpdate,
		Validate: func(_ context.Context, ds *appsv1.DaemonSet) field.ErrorList {
			return validateDaemonSetSpec(&ds.Spec, nil, field.NewPath("spec"))
		},
		ValidateUpdate: func(_ context.Context, ds, old *appsv1.DaemonSet) field.ErrorList {
			path := field.NewPath("spec")
			errs := apivalidation.ValidateImmutableField(ds.Spec.Selector, old.Spec.Selector, path.Child("selector"))
			return append(errs, validateDaemonSetSpec(&ds.Spec, &old.Spec, path)...)
		},
		Warnings: func(_ context.Context, ds, old *appsv1.DaemonSet) []string {
			if old != nil && templateGeneration(ds) == templateGeneration(old) {
				return nil
			}
			return pod.TemplateWarnings(&ds.Spec.Template, field.NewPath("spec", "template"))
		},
		Spec:                 func(ds *appsv1.DaemonSet) any { return &ds.Spec },
		TracksGeneration:     true,
		Status:               func(ds *appsv1.DaemonSet) any { return &ds.Status },
		ValidateStatusUpdate: validateDaemonSetStatus,
		Columns: append([]metav1.TableColumnDefinition{
			table.Name(),
			table.Integer("Desired", status["desiredNumberScheduled"]),
			table.Integer("Current", status["currentNumberScheduled"]),
			table.Integer("Ready", status["numberReady"]),
			table.Integer("Up-to-date", status["updatedNumberScheduled"]),
			table.Integer("Available", status["numberAvailable"]),
			table.String("Node Selector", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"]),
			table.Age(),
		}, append(table.TemplateColumns(), table.Wide(table.String("Selector", appsv1.DaemonSetSpec{}.SwaggerDoc()["selector"]))...)...),
		Cells: func(ds *appsv1.DaemonSet) []any {
			return append(append([]any{
				ds.Name,
				int64(ds.Status.DesiredNumberScheduled),
				int64(ds.Status.CurrentNumberScheduled),
				int64(ds.Status.NumberReady),
				int64(ds.Status.UpdatedNumberScheduled),
				int64(ds.Status.NumberAvailable),
				labels.FormatLabels(ds.Spec.Template.Spec.NodeSelector),
				table.Since(ds.CreationTimestamp),
			}, table.ContainerCells(ds.Spec.Template.Spec.Containers)...), metav1.FormatLabelSelector(ds.Spec.Selector))
		},
	}
}

func defaultDaemonSet(ds *appsv1.DaemonSet) {
	pod.DefaultTemplate(&ds.Spec.Template)
	orElse(&ds.Spec.RevisionHistoryLimit, 10)
	strategy := &ds.Spec.UpdateStrategy
	if strategy.Type == "" {
		strategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if strategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		orElse(&strategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		orElse(&strategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		orElse(&strategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
}

// The template's generation, a field of API versions that are gone, lives on as an
// annotation that the server keeps.

func templateGeneration(ds *appsv1.DaemonSet) int64 {
	n, err := strconv.ParseInt(ds.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func setTemplateGeneration(ds *appsv1.DaemonSet, n int64) {
	annotations := maps.Clone(ds.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
	ds.Annotations = annotations
}

func prepareDaemonSetUpdate(_ context.Context, ds, old *appsv1.DaemonSet) {
	n := templateGeneration(old)
	if !apiequality.Semantic.DeepEqual(ds.Spec.Template, old.Spec.Template) {
		n++
	}
	setTemplateGeneration(ds, n)
}

func validateDaemonSetSpec(spec, old *appsv1.DaemonSetSpec, path *field.Path) field.ErrorList {
	sel := selection{owner: "DaemonSet", selector: spec.Selector, template: &spec.Template}
	if old != nil {
		sel.old = &old.Template
	}
	errs := sel.validateForm(path.Child("selector"))
	errs = append(errs, sel.validateMatch(path.Child("template"))...)
	errs = append(errs, sel.validateNotEmpty("daemonset", path.Child("selector"))...)
	errs = append(errs, sel.validateTemplate(path.Child("template"))...)
	errs = append(errs, notNegative(path, count{"minReadySeconds", int64(spec.MinReadySeconds)})...)
	errs = append(errs, validateDaemonSetStrategy(&spec.UpdateStrategy, path.Child("updateStrategy"))...)
	return append(errs, notNegative(path, optional("revisionHistoryLimit", spec.RevisionHistoryLimit))...)
}

func validateDaemonSetStrategy(strategy *appsv1.DaemonSetUpdateStrategy, path *field.Path) field.ErrorList {
	rolling := path.Child("rollingUpdate")
	switch strategy.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if strategy.RollingUpdate == nil {
			return field.ErrorList{field.Required(rolling, "")}
		}
	default:
		return field.ErrorList{field.NotSupported(path, *strategy, []string{
			string(appsv1.RollingUpdateDaemonSetStrategyType), string(appsv1.OnDeleteDaemonSetStrategyType)})}
	}
	unavailable, surge := strategy.RollingUpdate.MaxUnavailable, strategy.RollingUpdate.MaxSurge
	var errs field.ErrorList
	for _, check := range []func(*intstr.IntOrString, *field.Path) field.ErrorList{percent.Validate, percent.AtMostAll} {
		errs = append(errs, check(unavailable, rolling.Child("maxUnavailable"))...)
		errs = append(errs, check(surge, rolling.Child("maxSurge"))...)
	}
	if percent.IsZero(unavailable) && percent.IsZero(surge) {
		errs = append(errs, field.Required(rolling.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	} else if !percent.IsZero(unavailable) && !percent.IsZero(surge) {
		errs = append(errs, field.Invalid(rolling.Child("maxSurge"), *surge, "may not be set when maxUnavailable is non-zero"))
	}
	return errs
}

func validateDaemonSetStatus(_ context.Context, ds, old *appsv1.DaemonSet) field.ErrorList {
	status := &ds.Status
	errs := notNegative(field.NewPath("status"),
		count{"currentNumberScheduled", int64(status.CurrentNumberScheduled)},
		count{"numberMisscheduled", int64(status.NumberMisscheduled)},
		count{"desiredNumberScheduled", int64(status.DesiredNumberScheduled)},
		count{"numberReady", int64(status.NumberReady)},
		count{"observedGeneration", status.ObservedGeneration},
		count{"updatedNumberScheduled", int64(status.UpdatedNumberScheduled)},
		count{"numberAvailable", int64(status.NumberAvailable)},
		count{"numberUnavailable", int64(status.NumberUnavailable)},
		optional("collisionCount", status.CollisionCount),
	)
	return append(errs, collisionsNotDecremented(status.CollisionCount, old.Status.CollisionCount)...)
}
