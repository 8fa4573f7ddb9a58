package storage

import (
	"context"
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// CSIDrivers say how Kubernetes should deal with a driver.
func CSIDrivers() *resource.Definition[*storagev1.CSIDriver] {
	docs := storagev1.CSIDriverSpec{}.SwaggerDoc()
	return &resource.Definition[*storagev1.CSIDriver]{
		Identity: resource.Identity{
			GroupVersion: storagev1.SchemeGroupVersion,
			Kind:         "CSIDriver", Name: "csidrivers", Singular: "csidriver",
			ClusterScoped: true,
		},
		New:                 func() *storagev1.CSIDriver { return &storagev1.CSIDriver{} },
		NewList:             func() runtime.Object { return &storagev1.CSIDriverList{} },
		ReturnDeletedObject: true,
		Default:             defaultDriver,
		PrepareForUpdate: func(_ context.Context, d, old *storagev1.CSIDriver) {
			// The first generation is none: only changes are counted.
			if !apiequality.Semantic.DeepEqual(d.Spec, old.Spec) {
				d.Generation = old.Generation + 1
			}
		},
		Validate: func(_ context.Context, d *storagev1.CSIDriver) field.ErrorList {
			return validateDriverSpec(&d.Spec)
		},
		ValidateUpdate: func(_ context.Context, d, old *storagev1.CSIDriver) field.ErrorList {
			found := problem.List{Errors: validateDriverSpec(&d.Spec)}
			found.Add(apivalidation.ValidateImmutableField(d.Spec.AttachRequired, old.Spec.AttachRequired, field.NewPath("spec", "attachedRequired"))...)
			found.Add(apivalidation.ValidateImmutableField(d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, field.NewPath("spec", "volumeLifecycleModes"))...)
			return found.Errors
		},
		Warnings: func(_ context.Context, d, old *storagev1.CSIDriver) []string {
			changed := old == nil || !apiequality.Semantic.DeepEqual(d.Spec.TokenRequests, old.Spec.TokenRequests)
			if !changed || len(d.Spec.TokenRequests) == 0 || d.Spec.ServiceAccountTokenInSecrets != nil {
				return nil
			}
			return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, " +
				"set to true to prevent possible logging of tokens in volume attributes"}
		},
		RequireVersionOnUpdate: true,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.Boolean("AttachRequired", docs["attachRequired"]),
			table.Boolean("PodInfoOnMount", docs["podInfoOnMount"]),
			table.Boolean("StorageCapacity", docs["storageCapacity"]),
			table.String("TokenRequests", docs["tokenRequests"]),
			table.Boolean("RequiresRepublish", docs["requiresRepublish"]),
			table.String("Modes", docs["volumeLifecycleModes"]),
			table.Age(),
		},
		Cells: driverCells,
	}
}

func defaultDriver(d *storagev1.CSIDriver) {
	spec := &d.Spec
	orElse(&spec.AttachRequired, true)
	orElse(&spec.PodInfoOnMount, false)
	orElse(&spec.StorageCapacity, false)
	orElse(&spec.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	orElse(&spec.RequiresRepublish, false)
	orElse(&spec.SELinuxMount, false)
	orElse(&spec.PreventPodSchedulingIfMissing, false)
	if len(spec.VolumeLifecycleModes) == 0 {
		spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}

func driverCells(d *storagev1.CSIDriver) []any {
	tokens := table.Unset
	if d.Spec.TokenRequests != nil {
		var audiences []string
		for _, r := range d.Spec.TokenRequests {
			audiences = append(audiences, r.Audience)
		}
		tokens = strings.Join(audiences, ",")
	}
	modes := table.None
	if len(d.Spec.VolumeLifecycleModes) > 0 {
		var names []string
		for _, m := range d.Spec.VolumeLifecycleModes {
			names = append(names, string(m))
		}
		modes = strings.Join(names, ",")
	}
	return []any{
		d.Name, ptr.Deref(d.Spec.AttachRequired, true), ptr.Deref(d.Spec.PodInfoOnMount, false),
		ptr.Deref(d.Spec.StorageCapacity, false), tokens, ptr.Deref(d.Spec.RequiresRepublish, false),
		modes, table.Since(d.CreationTimestamp),
	}
}

func validateDriverSpec(spec *storagev1.CSIDriverSpec) field.ErrorList {
	var found problem.List
	at := field.NewPath("spec")
	required := func(name string, value *bool) {
		if value == nil {
			found.Required(at.Child(name), "")
		}
	}
	required("attachedRequired", spec.AttachRequired)
	required("podInfoOnMount", spec.PodInfoOnMount)
	required("storageCapacity", spec.StorageCapacity)
	if spec.FSGroupPolicy != nil {
		problem.OneOf(&found, at.Child("fsGroupPolicy"), *spec.FSGroupPolicy, storagev1.FileFSGroupPolicy,
			storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	}
	found.Add(validateTokenRequests(spec.TokenRequests, at.Child("tokenRequests"))...)
	for _, mode := range spec.VolumeLifecycleModes {
		problem.OneOf(&found, at.Child("volumeLifecycleModes"), mode, storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)
	}
	required("seLinuxMount", spec.SELinuxMount)
	if period := spec.NodeAllocatableUpdatePeriodSeconds; period != nil && *period < 10 {
		found.Invalid(at.Child("nodeAllocatableUpdatePeriodSeconds"), *period, "must be greater than or equal to 10 seconds")
	}
	if spec.ServiceAccountTokenInSecrets != nil && len(spec.TokenRequests) == 0 {
		found.Invalid(at.Child("serviceAccountTokenInSecrets"), *spec.ServiceAccountTokenInSecrets,
			"serviceAccountTokenInSecrets is set but no tokenRequests are specified")
	}
	required("preventPodSchedulingIfMissing", spec.PreventPodSchedulingIfMissing)
	return found.Errors
}

func validateTokenRequests(requests []storagev1.TokenRequest, path *field.Path) field.ErrorList {
	var found problem.List
	audiences := sets.New[string]()
	for i, r := range requests {
		at := path.Index(i)
		if audiences.Has(r.Audience) {
			found.Duplicate(at.Child("audience"), r.Audience)
			continue
		}
		audiences.Insert(r.Audience)
		if r.ExpirationSeconds == nil {
			continue
		}
		if seconds := *r.ExpirationSeconds; seconds < 600 {
			found.Invalid(at.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes")
		} else if seconds > 1<<32 {
			found.Invalid(at.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds")
		}
	}
	return found.Errors
}
