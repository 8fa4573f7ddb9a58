package apps

import (
	"context"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// ReplicaSets keep a number of equal pods.
// See https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/.
func ReplicaSets() *resource.Definition[*appsv1.ReplicaSet] {
	spec, status := appsv1.ReplicaSetSpec{}.SwaggerDoc(), appsv1.ReplicaSetStatus{}.SwaggerDoc()
	return &resource.Definition[*appsv1.ReplicaSet]{
		Identity: resource.Identity{
			GroupVersion: appsv1.SchemeGroupVersion,
			Kind:         "ReplicaSet", Name: "replicasets", Singular: "replicaset",
			ShortNames: []string{"rs"}, Categories: []string{"all"},
		},
		New:     func() *appsv1.ReplicaSet { return &appsv1.ReplicaSet{} },
		NewList: func() runtime.Object { return &appsv1.ReplicaSetList{} },
		Off:     pod.OffFeatures("spec.template.spec"),
		Default: func(rs *appsv1.ReplicaSet) {
			pod.DefaultTemplate(&rs.Spec.Template)
			orElse(&rs.Spec.Replicas, 1)
		},
		Validate: func(_ context.Context, rs *appsv1.ReplicaSet) field.ErrorList {
			return validateReplicaSetSpec(&rs.Spec, nil, field.NewPath("spec"))
		},
		ValidateUpdate: func(_ context.Context, rs, old *appsv1.ReplicaSet) field.ErrorList {
			path := field.NewPath("spec")
			return append(validateReplicaSetSpec(&rs.Spec, &old.Spec, path),
				apivalidation.ValidateImmutableField(rs.Spec.Selector, old.Spec.Selector, path.Child("selector"))...)
		},
		Warnings: func(_ context.Context, rs, old *appsv1.ReplicaSet) []string {
			return templateWarnings(rs, old, &rs.Spec.Template)
		},
		Spec:                 func(rs *appsv1.ReplicaSet) any { return &rs.Spec },
		TracksGeneration:     true,
		Status:               func(rs *appsv1.ReplicaSet) any { return &rs.Status },
		ValidateStatusUpdate: validateReplicaSetStatus,
		Fields: func(rs *appsv1.ReplicaSet) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(rs.Status.Replicas))}
		},
		Columns: append([]metav1.TableColumnDefinition{
			table.Name(),
			table.Integer("Desired", spec["replicas"]),
			table.Integer("Current", status["replicas"]),
			table.Integer("Ready", status["readyReplicas"]),
			table.Age(),
		}, append(table.TemplateColumns(), table.Wide(table.String("Selector", spec["selector"]))...)...),
		Cells: func(rs *appsv1.ReplicaSet) []any {
			return append(append([]any{
				rs.Name,
				int64(ptr.Deref(rs.Spec.Replicas, 0)),
				int64(rs.Status.Replicas),
				int64(rs.Status.ReadyReplicas),
				table.Since(rs.CreationTimestamp),
			}, table.ContainerCells(rs.Spec.Template.Spec.Containers)...), metav1.FormatLabelSelector(rs.Spec.Selector))
		},
		Scale: &resource.Scale[*appsv1.ReplicaSet]{
			Replicas: func(rs *appsv1.ReplicaSet) *int32 { return replicasOf(&rs.Spec.Replicas) },
			Current:  func(rs *appsv1.ReplicaSet) int32 { return rs.Status.Replicas },
			Selector: func(rs *appsv1.ReplicaSet) (string, error) { return selectorText(rs.Spec.Selector) },
		},
	}
}

func validateReplicaSetSpec(spec, old *appsv1.ReplicaSetSpec, path *field.Path) field.ErrorList {
	sel := selection{owner: "ReplicaSet", selector: spec.Selector, template: &spec.Template}
	if old != nil {
		sel.old = &old.Template
	}
	errs := notNegative(path, optional("replicas", spec.Replicas), count{"minReadySeconds", int64(spec.MinReadySeconds)})
	// Upstream says "deployment" here too.
	errs = append(errs, sel.validateRequired("deployment", path.Child("selector"))...)
	if _, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
		return append(errs, field.Invalid(path.Child("selector"), spec.Selector, "invalid label selector"))
	}
	errs = append(errs, sel.validateMatch(path.Child("template"))...)
	return append(errs, sel.validateTemplate(path.Child("template"))...)
}

func validateReplicaSetStatus(_ context.Context, rs, _ *appsv1.ReplicaSet) field.ErrorList {
	status, path := &rs.Status, field.NewPath("status")
	labelled := count{"fullyLabeledReplicas", int64(status.FullyLabeledReplicas)}
	ready := count{"readyReplicas", int64(status.ReadyReplicas)}
	available := count{"availableReplicas", int64(status.AvailableReplicas)}
	errs := notNegative(path,
		count{"replicas", int64(status.Replicas)},
		labelled, ready, available,
		count{"observedGeneration", status.ObservedGeneration},
		optional("terminatingReplicas", status.TerminatingReplicas),
	)
	errs = append(errs, atMost(status.Replicas, aboveReplicas, path, labelled, ready, available)...)
	return append(errs, atMost(status.ReadyReplicas, "cannot be greater than readyReplicas", path, available)...)
}
