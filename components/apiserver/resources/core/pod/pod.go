package pod

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/partial"
)

// Pods are what runs: https://kubernetes.io/docs/concepts/workloads/pods/.
// streams are the endpoints that reach the kubelet or the pod (log, exec, proxy, ...).
func Pods(streams ...resource.Subresource) *resource.Definition[*corev1.Pod] {
	return &resource.Definition[*corev1.Pod]{
		Identity: resource.Identity{
			GroupVersion: corev1.SchemeGroupVersion,
			Kind:         "Pod", Name: "pods", Singular: "pod",
			ShortNames: []string{"po"}, Categories: []string{"all"},
		},
		New:         func() *corev1.Pod { return new(corev1.Pod) },
		NewList:     func() runtime.Object { return new(corev1.PodList) },
		AddToScheme: addEvictions,
		Default:     Default,

		Off: slices.Concat(OffFeatures("spec"), offInStatus()),

		PrepareForCreate: prepareForCreate,
		PrepareForUpdate: prepareForUpdate,
		Validate:         func(_ context.Context, p *corev1.Pod) field.ErrorList { return validateCreate(p) },
		ValidateUpdate:   func(_ context.Context, p, old *corev1.Pod) field.ErrorList { return validateUpdate(p, old) },
		Warnings:         warnings,

		Spec: func(p *corev1.Pod) any { return &p.Spec }, TracksGeneration: true,
		Status:                 func(p *corev1.Pod) any { return &p.Status },
		StatusResets:           []resource.MetadataField{resource.OwnerReferences, resource.DeletionTimestamp},
		PrepareForStatusUpdate: prepareForStatusUpdate,
		ValidateStatusUpdate:   func(_ context.Context, p, old *corev1.Pod) field.ErrorList { return validateStatusUpdate(p, old) },

		CheckGracefulDelete: checkGracefulDelete,
		ReturnDeletedObject: true,

		Fields:      selectable,
		IndexFields: []string{"spec.nodeName"},

		Columns:       columns(),
		Cells:         cells,
		RowConditions: rowConditions,

		Subresources: slices.Concat([]resource.Subresource{
			{Name: "binding", Storage: func(_ *resource.Env, store *genericregistry.Store) (rest.Storage, error) {
				return binder{func() (*genericregistry.Store, error) { return store, nil }}, nil
			}},
			{Name: "eviction", Storage: func(env *resource.Env, store *genericregistry.Store) (rest.Storage, error) {
				return &evictor{
					pods:    resource.NewSubresourceStore(store, partial.Update[*corev1.Pod]{Scheme: env.Scheme}),
					deleter: store,
					budgets: env.Loopback.PolicyV1().PodDisruptionBudgets,
				}, nil
			}},
			{Name: "ephemeralcontainers", Storage: func(env *resource.Env, store *genericregistry.Store) (rest.Storage, error) {
				return resource.NewSubresourceStore(store, partial.Update[*corev1.Pod]{
					Scheme: env.Scheme, Prepare: countingChanges(prepareForEphemeral), Validate: validateEphemeralUpdate,
				}), nil
			}},
			{Name: "resize", Storage: func(env *resource.Env, store *genericregistry.Store) (rest.Storage, error) {
				return resource.NewSubresourceStore(store, partial.Update[*corev1.Pod]{
					Scheme: env.Scheme, Prepare: countingChanges(prepareForResize), Validate: validateResize,
				}), nil
			}},
		}, streams),
	}
}

// selectable are the fields that lists of pods can be narrowed by.
func selectable(p *corev1.Pod) fields.Set {
	set := fields.Set{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             p.Status.PodIP,
		"status.podIPs":            p.Status.PodIP,
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
	if len(p.Status.PodIPs) > 0 {
		set["status.podIP"] = p.Status.PodIPs[0].IP
	}
	return set
}

// checkGracefulDelete decides how long a pod may take to end: not at all if no kubelet
// has it, or it is over.
func checkGracefulDelete(_ context.Context, p *corev1.Pod, o *metav1.DeleteOptions) bool {
	if o == nil {
		return false
	}
	period := ptr.Deref(p.Spec.TerminationGracePeriodSeconds, 0)
	if o.GracePeriodSeconds != nil {
		period = *o.GracePeriodSeconds
	}
	switch over := p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded; {
	case over, p.Spec.NodeName == "":
		period = 0
	case period < 0:
		period = 1
	}
	o.GracePeriodSeconds = &period
	return true
}

func warnings(_ context.Context, p, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	var said []string
	if messages := validation.IsDNS1123Label(p.Name); len(messages) > 0 {
		said = append(said, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", messages))
	}
	return append(said, podWarnings(p)...)
}

// countingChanges raises the generation if anything of the spec is left changed.
func countingChanges(prepare func(p, old *corev1.Pod)) func(p, old *corev1.Pod) {
	return func(p, old *corev1.Pod) {
		prepare(p, old)
		if !equality.Semantic.DeepEqual(p.Spec, old.Spec) {
			p.Generation = old.Generation + 1
		}
	}
}

func prepareForEphemeral(p, old *corev1.Pod) {
	asked := p.Spec.EphemeralContainers
	p.Spec, p.Status = old.Spec, old.Status
	p.Spec.EphemeralContainers = asked
	metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &old.ObjectMeta)
}
