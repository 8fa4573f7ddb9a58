package policy

import (
	"context"
	"slices"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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

func TestBudgets(t *testing.T) {
	for name, test := range map[string]struct {
		spec policyv1.PodDisruptionBudgetSpec
		want []string
	}{
		"share":   {policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromString("50%"))}, nil},
		"nothing": {policyv1.PodDisruptionBudgetSpec{}, nil},
		"both": {policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(1))},
			[]string{`spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and maxUnavailable cannot be both set`}},
		"too much":  {policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromString("101%"))}, []string{`spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%`}},
		"too small": {policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(-1))}, []string{`spec.minAvailable: Invalid value: -1: must be greater than or equal to 0`}},
		"no share": {policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromString("half"))},
			[]string{`spec.minAvailable: Invalid value: "half": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`}},
		"eviction": {policyv1.PodDisruptionBudgetSpec{UnhealthyPodEvictionPolicy: ptr.To(policyv1.UnhealthyPodEvictionPolicyType("Never"))},
			[]string{`spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"`}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, validateBudget(&test.spec, nil), test.want...) })
	}
}

func TestBudgetStatus(t *testing.T) {
	b := &policyv1.PodDisruptionBudget{Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: -1}}
	expect(t, PodDisruptionBudgets().ValidateStatusUpdate(context.Background(), b, b),
		`status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0`)
}

func TestVersionMarker(t *testing.T) {
	marker := metav1.LabelSelectorRequirement{Key: versionMarker, Operator: metav1.LabelSelectorOpExists}
	alone := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{marker}}
	if dropVersionMarker(alone); len(alone.MatchExpressions) != 1 {
		t.Error("the selector that selects nothing was changed")
	}
	beside := &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}, MatchExpressions: []metav1.LabelSelectorRequirement{marker}}
	if dropVersionMarker(beside); len(beside.MatchExpressions) != 0 {
		t.Error("the marker stayed beside other terms")
	}
	dropVersionMarker(nil)
}
