// Package coordination has the resources of the group coordination.k8s.io/v1:
// the leases of leaders and nodes.
package coordination

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// Leases say who holds something, and since when.
// See https://kubernetes.io/docs/concepts/architecture/leases/.
func Leases() *resource.Definition[*coordinationv1.Lease] {
	return &resource.Definition[*coordinationv1.Lease]{
		Identity: resource.Identity{
			GroupVersion: coordinationv1.SchemeGroupVersion,
			Kind:         "Lease", Name: "leases", Singular: "lease",
		},
		New:     func() *coordinationv1.Lease { return &coordinationv1.Lease{} },
		NewList: func() runtime.Object { return &coordinationv1.LeaseList{} },
		PrepareForCreate: func(_ context.Context, l *coordinationv1.Lease) {
			dropCoordination(&l.Spec, &coordinationv1.LeaseSpec{})
		},
		PrepareForUpdate: func(_ context.Context, l, old *coordinationv1.Lease) {
			dropCoordination(&l.Spec, &old.Spec)
		},
		Validate: func(_ context.Context, l *coordinationv1.Lease) field.ErrorList {
			return validateLease(&l.Spec)
		},
		ValidateUpdate: func(_ context.Context, l, _ *coordinationv1.Lease) field.ErrorList {
			return validateLease(&l.Spec)
		},
		AllowCreateOnUpdate:    true,
		RequireVersionOnUpdate: true,
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("Holder", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"]),
			table.Age(),
		},
		Cells: func(l *coordinationv1.Lease) []any {
			return []any{l.Name, ptr.Deref(l.Spec.HolderIdentity, ""), table.Since(l.CreationTimestamp)}
		},
	}
}

// dropCoordination clears the fields of coordinated leader election, which is off
// by default (KEP-4355).
func dropCoordination(spec, old *coordinationv1.LeaseSpec) {
	if old.Strategy == nil {
		spec.Strategy = nil
	}
	if old.PreferredHolder == nil {
		spec.PreferredHolder = nil
	}
}

func validateLease(spec *coordinationv1.LeaseSpec) field.ErrorList {
	var found problem.List
	path := field.NewPath("spec")
	if d := spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		found.Invalid(path.Child("leaseDurationSeconds"), *d, "must be greater than 0")
	}
	if n := spec.LeaseTransitions; n != nil && *n < 0 {
		found.Invalid(path.Child("leaseTransitions"), *n, "must be greater than or equal to 0")
	}
	strategy := ptr.Deref(spec.Strategy, "")
	if spec.Strategy != nil {
		problem.OneOf(&found, path.Child("strategy"), strategy, coordinationv1.OldestEmulationVersion)
	}
	if ptr.Deref(spec.PreferredHolder, "") != "" && strategy == "" {
		found.Forbidden(path.Child("preferredHolder"), "may only be specified if `strategy` is defined")
	}
	return found.Errors
}
