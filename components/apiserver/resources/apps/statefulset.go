package apps

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/pod"
	"github.com/plumbline/plumbline/components/apiserver/resources/core/volume"
	"github.com/plumbline/plumbline/components/apiserver/resources/percent"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// StatefulSets keep pods with a name and storage of their own.
// See https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/.
func StatefulSets() *resource.Definition[*appsv1.StatefulSet] {
	return &resource.Definition[*appsv1.StatefulSet]{
		Identity: resource.Identity{
			GroupVersion: appsv1.SchemeGroupVersion,
			Kind:         "StatefulSet", Name: "statefulsets", Singular: "statefulset",
			ShortNames: []string{"sts"}, Categories: []string{"all"},
		},
		New:           func() *appsv1.StatefulSet { return &appsv1.StatefulSet{} },
		NewList:       func() runtime.Object { return &appsv1.StatefulSetList{} },
		Default:       defaultStatefulSet,
		Off:           pod.OffFeatures("spec.template.spec"),
		NameValidator: apivalidation.NameIsDNSLabel,
		Validate: func(_ context.Context, set *appsv1.StatefulSet) field.ErrorList {
			return validateStatefulSetSpec(&set.Spec, nil, field.NewPath("spec"))
		},
		ValidateUpdate:       validateStatefulSetUpdate,
		Warnings:             statefulSetWarnings,
		Spec:                 func(set *appsv1.StatefulSet) any { return &set.Spec },
		TracksGeneration:     true,
		Status:               func(set *appsv1.StatefulSet) any { return &set.Status },
		ValidateStatusUpdate: validateStatefulSetStatus,
		Columns: append([]metav1.TableColumnDefinition{
			table.Name(),
			table.String("Ready", "Number of the pod with ready state"),
			table.Age(),
		}, table.TemplateColumns()...),
		Cells: func(set *appsv1.StatefulSet) []any {
			return append([]any{
				set.Name,
				fmt.Sprintf("%d/%d", set.Status.ReadyReplicas, ptr.Deref(set.Spec.Replicas, 0)),
				table.Since(set.CreationTimestamp),
			}, table.ContainerCells(set.Spec.Template.Spec.Containers)...)
		},
		Scale: &resource.Scale[*appsv1.StatefulSet]{
			Replicas: func(set *appsv1.StatefulSet) *int32 { return replicasOf(&set.Spec.Replicas) },
			Current:  func(set *appsv1.StatefulSet) int32 { return set.Status.Replicas },
			Selector: func(set *appsv1.StatefulSet) (string, error) { return selectorText(set.Spec.Selector) },
		},
	}
}

func defaultStatefulSet(set *appsv1.StatefulSet) {
	spec := &set.Spec
	pod.DefaultTemplate(&spec.Template)
	for i := range spec.VolumeClaimTemplates {
		claim := &spec.VolumeClaimTemplates[i]
		claim.APIVersion, claim.Kind = "v1", "PersistentVolumeClaim"
		volume.DefaultClaim(claim)
	}
	if spec.PodManagementPolicy == "" {
		spec.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	}
	strategy := &spec.UpdateStrategy
	if strategy.Type == "" {
		strategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		orElse(&strategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	// Who names the type alone gets no rolling update parameters.
	if strategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && strategy.RollingUpdate != nil {
		orElse(&strategy.RollingUpdate.Partition, 0)
		orElse(&strategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	orElse(&spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	retention := spec.PersistentVolumeClaimRetentionPolicy
	for _, policy := range []*appsv1.PersistentVolumeClaimRetentionPolicyType{&retention.WhenDeleted, &retention.WhenScaled} {
		if *policy == "" {
			*policy = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
		}
	}
	orElse(&spec.Replicas, 1)
	orElse(&spec.RevisionHistoryLimit, 10)
}

func statefulSetWarnings(_ context.Context, set, old *appsv1.StatefulSet) []string {
	var said []string
	if old == nil || set.Generation != old.Generation {
		said = pod.TemplateWarnings(&set.Spec.Template, field.NewPath("spec", "template"))
	}
	if ptr.Deref(set.Spec.RevisionHistoryLimit, 0) < 0 {
		said = append(said, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return said
}

func validateStatefulSetSpec(spec, old *appsv1.StatefulSetSpec, path *field.Path) field.ErrorList {
	var found problem.List
	switch spec.PodManagementPolicy {
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	case "":
		found.Required(path.Child("podManagementPolicy"), "")
	default:
		found.Invalid(path.Child("podManagementPolicy"), spec.PodManagementPolicy, "must be 'OrderedReady' or 'Parallel'")
	}
	found.Add(validateStatefulSetStrategy(&spec.UpdateStrategy, path.Child("updateStrategy"))...)
	if retention := spec.PersistentVolumeClaimRetentionPolicy; retention != nil {
		at := path.Child("persistentVolumeClaimRetentionPolicy")
		found.Add(validateRetention(retention.WhenDeleted, at.Child("whenDeleted"))...)
		found.Add(validateRetention(retention.WhenScaled, at.Child("whenScaled"))...)
	}
	if old == nil {
		for i := range spec.VolumeClaimTemplates {
			at := path.Child("volumeClaimTemplates").Index(i).Child("spec")
			found.Add(volume.ValidateClaimSpec(&spec.VolumeClaimTemplates[i].Spec, at, volume.ClaimOptions{})...)
		}
	}
	found.Add(notNegative(path, optional("replicas", spec.Replicas), count{"minReadySeconds", int64(spec.MinReadySeconds)})...)
	if spec.Ordinals != nil {
		found.NotNegative(path.Child("ordinals.start"), int64(spec.Ordinals.Start))
	}
	// The service name cannot change, so an update puts up with what is stored.
	if old == nil && spec.ServiceName != "" {
		found.Messages(path.Child("serviceName"), spec.ServiceName, validation.IsDNS1123Label(spec.ServiceName))
	}

	sel := selection{owner: "StatefulSet", selector: spec.Selector, template: stampedTemplate(spec)}
	if old != nil {
		sel.old = stampedTemplate(old)
	}
	found.Add(sel.validateRequired("statefulset", path.Child("selector"))...)
	template := path.Child("template")
	if _, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
		found.Invalid(path.Child("selector"), spec.Selector, "")
	} else {
		found.Add(sel.validateMatch(template)...)
		if now := pod.ValidateTemplate(sel.template, template, pod.OptionsFor(sel.old)); len(now) > 0 && !alreadyBroken(sel) {
			found.Add(now...)
		}
	}
	found.Add(sel.validateEndless(template)...)
	return found.Errors
}

// alreadyBroken says whether the stored template would be refused today; such a
// set may still be scaled and deleted.
func alreadyBroken(sel selection) bool {
	return sel.old != nil && len(pod.ValidateTemplate(sel.old, nil, pod.OptionsFor(sel.old))) > 0
}

// stampedTemplate is the template as the controller uses it: with the claims as
// volumes, and without the host name and subdomain that each pod gets anew.
func stampedTemplate(spec *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	t := spec.Template.DeepCopy()
	t.Spec.Hostname, t.Spec.Subdomain = "", ""
	var volumes []corev1.Volume
	named := map[string]bool{}
	for _, claim := range spec.VolumeClaimTemplates {
		if named[claim.Name] {
			continue
		}
		named[claim.Name] = true
		v := corev1.Volume{Name: claim.Name}
		v.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name}
		volumes = append(volumes, v)
	}
	for _, v := range t.Spec.Volumes {
		if !named[v.Name] {
			volumes = append(volumes, v)
		}
	}
	t.Spec.Volumes = volumes
	return t
}

func validateStatefulSetStrategy(strategy *appsv1.StatefulSetUpdateStrategy, path *field.Path) field.ErrorList {
	var found problem.List
	rolling := path.Child("rollingUpdate")
	switch strategy.Type {
	case "":
		found.Required(path, "")
	case appsv1.OnDeleteStatefulSetStrategyType:
		if strategy.RollingUpdate != nil {
			found.Invalid(rolling, strategy.RollingUpdate, "only allowed for updateStrategy 'RollingUpdate'")
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if strategy.RollingUpdate == nil {
			break
		}
		found.NotNegative(rolling.Child("partition"), int64(ptr.Deref(strategy.RollingUpdate.Partition, 0)))
		if unavailable, at := strategy.RollingUpdate.MaxUnavailable, rolling.Child("maxUnavailable"); unavailable != nil {
			found.Add(percent.Validate(unavailable, at)...)
			if percent.IsZero(unavailable) {
				found.Invalid(at, *unavailable, "cannot be 0")
			}
			found.Add(percent.AtMostAll(unavailable, at)...)
		}
	default:
		found.Invalid(path, *strategy, "must be 'RollingUpdate' or 'OnDelete'")
	}
	return found.Errors
}

func validateRetention(policy appsv1.PersistentVolumeClaimRetentionPolicyType, path *field.Path) field.ErrorList {
	var found problem.List
	problem.OneOf(&found, path, policy,
		appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)
	return found.Errors
}

func validateStatefulSetUpdate(_ context.Context, set, old *appsv1.StatefulSet) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateStatefulSetSpec(&set.Spec, &old.Spec, path)
	for _, fixed := range []struct {
		field    string
		now, was any
	}{
		{"selector", set.Spec.Selector, old.Spec.Selector},
		{"volumeClaimTemplates", set.Spec.VolumeClaimTemplates, old.Spec.VolumeClaimTemplates},
		{"serviceName", set.Spec.ServiceName, old.Spec.ServiceName},
		{"podManagementPolicy", set.Spec.PodManagementPolicy, old.Spec.PodManagementPolicy},
	} {
		errs = append(errs, apivalidation.ValidateImmutableField(fixed.now, fixed.was, path.Child(fixed.field))...)
	}
	return errs
}

func validateStatefulSetStatus(_ context.Context, set, old *appsv1.StatefulSet) field.ErrorList {
	status, path := &set.Status, field.NewPath("status")
	ready := count{"readyReplicas", int64(status.ReadyReplicas)}
	current := count{"currentReplicas", int64(status.CurrentReplicas)}
	updated := count{"updatedReplicas", int64(status.UpdatedReplicas)}
	available := count{"availableReplicas", int64(status.AvailableReplicas)}
	errs := notNegative(path,
		count{"replicas", int64(status.Replicas)},
		ready, current, updated, available,
		count{"observedGeneration", status.ObservedGeneration},
		optional("collisionCount", status.CollisionCount),
	)
	errs = append(errs, atMost(status.Replicas, aboveReplicas, path, ready, current, updated, available)...)
	errs = append(errs, atMost(status.ReadyReplicas, "cannot be greater than status.readyReplicas", path, available)...)
	return append(errs, collisionsNotDecremented(status.CollisionCount, old.Status.CollisionCount)...)
}
