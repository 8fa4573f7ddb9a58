package dra

import (
	"context"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// ResourceClaims ask for devices, and say which were given.
func ResourceClaims() *resource.Definition[*resourcev1.ResourceClaim] {
	rights := &rights{}
	return &resource.Definition[*resourcev1.ResourceClaim]{
		Identity: resource.Identity{
			GroupVersion: resourcev1.SchemeGroupVersion,
			Kind:         "ResourceClaim", Name: "resourceclaims", Singular: "resourceclaim",
		},
		New:                 func() *resourcev1.ResourceClaim { return &resourcev1.ResourceClaim{} },
		NewList:             func() runtime.Object { return &resourcev1.ResourceClaimList{} },
		ReturnDeletedObject: true,
		Default: func(c *resourcev1.ResourceClaim) {
			defaultRequests(&c.Spec.Devices)
			if c.Status.Allocation != nil {
				for _, result := range c.Status.Allocation.Devices.Results {
					defaultTolerations(result.Tolerations)
				}
			}
		},
		PrepareForCreate: func(_ context.Context, c *resourcev1.ResourceClaim) { dropOffFields(&c.Spec.Devices) },
		PrepareForUpdate: func(_ context.Context, c, _ *resourcev1.ResourceClaim) { dropOffFields(&c.Spec.Devices) },
		Validate: func(ctx context.Context, c *resourcev1.ResourceClaim) field.ErrorList {
			return append(rights.checkAdmin(ctx, c.Spec.Devices.Requests, c.Namespace),
				validateClaim(&c.Spec.Devices, field.NewPath("spec", "devices"))...)
		},
		ValidateUpdate: func(_ context.Context, c, old *resourcev1.ResourceClaim) field.ErrorList {
			return apivalidation.ValidateImmutableField(c.Spec, old.Spec, field.NewPath("spec"))
		},
		Spec:         func(c *resourcev1.ResourceClaim) any { return &c.Spec },
		Status:       func(c *resourcev1.ResourceClaim) any { return &c.Status },
		StatusResets: []resource.MetadataField{resource.AllMetadata},
		PrepareForStatusUpdate: func(_ context.Context, c, old *resourcev1.ResourceClaim) {
			dropDeallocated(&c.Status, &old.Status)
		},
		ValidateStatusUpdate: func(ctx context.Context, c, old *resourcev1.ResourceClaim) field.ErrorList {
			return append(rights.checkStatus(ctx, c, old), validateClaimStatus(c, old)...)
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name(),
			table.String("State", "A summary of the current state (allocated, pending, reserved, etc.)."),
			table.Age(),
		},
		Cells: func(c *resourcev1.ResourceClaim) []any {
			return []any{c.Name, claimState(c), table.Since(c.CreationTimestamp)}
		},
		Attach: rights.attach,
	}
}

func claimState(c *resourcev1.ResourceClaim) string {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation != nil && len(c.Status.ReservedFor) > 0:
		states = append(states, "allocated", "reserved")
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
	case c.DeletionTimestamp == nil:
		states = append(states, "pending")
	}
	return strings.Join(states, ",")
}
