package core

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// ReplicationControllers keep a number of like pods running; ReplicaSets took their place.
// https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/
func ReplicationControllers() *resource.Definition[*corev1.ReplicationController] {
	id := identity("ReplicationController", "replicationcontrollers", "replicationcontroller", "rc")
	id.Categories = []string{"all"}
	spec, status := corev1.ReplicationControllerSpec{}.SwaggerDoc(), corev1.ReplicationControllerStatus{}.SwaggerDoc()
	return &resource.Definition[*corev1.ReplicationController]{
		Identity:   id,
		StorageKey: "controllers",
		New:        func() *corev1.ReplicationController { return new(corev1.ReplicationController) },
		NewList:    func() runtime.Object { return new(corev1.ReplicationControllerList) },
		Default:    defaultController,
		Off:        pod.OffFeatures("spec.template.spec"),
		Validate: func(_ context.Context, r *corev1.ReplicationController) field.ErrorList {
			return validateController(r, pod.Options{})
		},
		ValidateUpdate: func(_ context.Context, r, old *corev1.ReplicationController) field.ErrorList {
			return validateController(r, pod.OptionsFor(old.Spec.Template))
		},
		Warnings: func(_ context.Context, r, old *corev1.ReplicationController) []string {
			if old != nil && r.Generation == old.Generation {
				return nil
			}
			var said []string
			if messages := validation.IsDNS1123Label(r.Name); old == nil && len(messages) > 0 {
				said = append(said, fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", messages))
			}
			if r.Spec.Template != nil {
				said = append(said, pod.TemplateWarnings(r.Spec.Template, field.NewPath("spec", "template"))...)
			}
			return said
		},
		Spec: func(r *corev1.ReplicationController) any { return &r.Spec }, TracksGeneration: true,
		Status:                   func(r *corev1.ReplicationController) any { return &r.Status },
		ValidateStatusUpdate:     validateControllerStatus,
		DefaultGarbageCollection: rest.OrphanDependents,

		Fields: func(r *corev1.ReplicationController) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
		},
		Columns: slices.Concat([]metav1.TableColumnDefinition{
			table.Name(), table.Integer("Desired", spec["replicas"]), table.Integer("Current", status["replicas"]),
			table.Integer("Ready", status["readyReplicas"]), table.Age(),
		}, table.TemplateColumns(), table.Wide(table.String("Selector", spec["selector"]))),
		Cells: func(r *corev1.ReplicationController) []any {
			var containers []corev1.Container
			if r.Spec.Template != nil {
				containers = r.Spec.Template.Spec.Containers
			}
			return slices.Concat([]any{
				r.Name, int64(ptr.Deref(r.Spec.Replicas, 0)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas), table.Since(r.CreationTimestamp),
			}, table.ContainerCells(containers), []any{labels.FormatLabels(r.Spec.Selector)})
		},
		Scale: &resource.Scale[*corev1.ReplicationController]{
			Replicas: func(r *corev1.ReplicationController) *int32 { return r.Spec.Replicas },
			Current:  func(r *corev1.ReplicationController) int32 { return r.Status.Replicas },
			Selector: func(r *corev1.ReplicationController) (string, error) {
				return labels.Set(r.Spec.Selector).AsSelector().String(), nil
			},
		},
	}
}

// defaultController takes selector and labels from the template.
func defaultController(r *corev1.ReplicationController) {
	if r.Spec.Replicas == nil {
		r.Spec.Replicas = ptr.To[int32](1)
	}
	t := r.Spec.Template
	if t == nil {
		return
	}
	if t.Labels != nil {
		if len(r.Spec.Selector) == 0 {
			r.Spec.Selector = t.Labels
		}
		if len(r.Labels) == 0 {
			r.Labels = t.Labels
		}
	}
	pod.DefaultTemplate(t)
}

func validateController(r *corev1.ReplicationController, o pod.Options) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	found.NotNegative(at.Child("minReadySeconds"), int64(r.Spec.MinReadySeconds))
	if len(r.Spec.Selector) == 0 {
		found.Required(at.Child("selector"), "")
	}
	if r.Spec.Replicas == nil {
		found.Required(at.Child("replicas"), "")
	} else {
		found.NotNegative(at.Child("replicas"), int64(*r.Spec.Replicas))
	}
	t, templateAt := r.Spec.Template, at.Child("template")
	if t == nil {
		found.Required(templateAt, "")
		return found.Errors
	}
	if !labels.Set(r.Spec.Selector).AsSelector().Matches(labels.Set(t.Labels)) {
		found.Invalid(templateAt.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
	}
	found.Add(pod.ValidateTemplate(t, templateAt, o)...)
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		found.Add(field.NotSupported(templateAt.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		found.Forbidden(templateAt.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported")
	}
	return found.Errors
}

func validateControllerStatus(_ context.Context, r, _ *corev1.ReplicationController) field.ErrorList {
	var found problem.List
	at, s := field.NewPath("status"), &r.Status
	for _, count := range []struct {
		name  string
		value int32
	}{
		{"replicas", s.Replicas}, {"fullyLabeledReplicas", s.FullyLabeledReplicas},
		{"readyReplicas", s.ReadyReplicas}, {"availableReplicas", s.AvailableReplicas},
	} {
		found.NotNegative(at.Child(count.name), int64(count.value))
		if count.value > s.Replicas {
			found.Invalid(at.Child(count.name), count.value, "cannot be greater than status.replicas")
		}
	}
	found.NotNegative(at.Child("observedGeneration"), s.ObservedGeneration)
	if s.AvailableReplicas > s.ReadyReplicas {
		found.Invalid(at.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas")
	}
	return found.Errors
}
