package coordination

import (
	"context"
	"slices"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
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

func TestLeases(t *testing.T) {
	expect(t, validateLease(&coordinationv1.LeaseSpec{LeaseDurationSeconds: ptr.To[int32](0), LeaseTransitions: ptr.To[int32](-1), PreferredHolder: ptr.To("x")}),
		`spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0`,
		`spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0`,
		"spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined")
	lease := &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{Strategy: ptr.To(coordinationv1.OldestEmulationVersion), PreferredHolder: ptr.To("x")}}
	if Leases().PrepareForCreate(context.Background(), lease); lease.Spec.Strategy != nil || lease.Spec.PreferredHolder != nil {
		t.Errorf("fields of a feature that is off were kept: %+v", lease.Spec)
	}
}
