package scheduling

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

func TestPriorityClasses(t *testing.T) {
	ctx, def := context.Background(), PriorityClasses()
	for name, test := range map[string]struct {
		class schedulingv1.PriorityClass
		want  []string
	}{
		"highest": {schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Value: HighestUserPriority}, nil},
		"too high": {schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Value: HighestUserPriority + 1},
			[]string{`value: Forbidden: maximum allowed value of a user defined priority is 1000000000`}},
		"reserved": {schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "system-a"}},
			[]string{`metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-a is not a known system priority class`}},
		"system's with another value": {schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "system-node-critical"}, Value: 1},
			[]string{`metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000`}},
		"preemption": {schedulingv1.PriorityClass{PreemptionPolicy: ptr.To(corev1.PreemptionPolicy("Sometimes"))},
			[]string{`preemptionPolicy: Unsupported value: "Sometimes": supported values: "PreemptLowerPriority", "Never"`}},
	} {
		t.Run(name, func(t *testing.T) {
			def.Default(&test.class)
			expect(t, def.Validate(ctx, &test.class), test.want...)
		})
	}
}

func TestSystemClassesAreValid(t *testing.T) {
	for _, class := range SystemPriorityClasses() {
		expect(t, PriorityClasses().Validate(context.Background(), class))
	}
}

func TestPriorityClassesAreFixed(t *testing.T) {
	old := &schedulingv1.PriorityClass{Value: 1, PreemptionPolicy: ptr.To(corev1.PreemptNever)}
	now := &schedulingv1.PriorityClass{Value: 2, PreemptionPolicy: ptr.To(corev1.PreemptLowerPriority)}
	expect(t, PriorityClasses().ValidateUpdate(context.Background(), now, old),
		`value: Forbidden: may not be changed in an update.`,
		`preemptionPolicy: Invalid value: "PreemptLowerPriority": field is immutable`)
}
