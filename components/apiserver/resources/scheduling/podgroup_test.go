package scheduling

import (
	"reflect"
	"strings"
	"testing"

	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func gangOf(count int32) schedulingv1beta1.PodGroupSchedulingPolicy {
	return schedulingv1beta1.PodGroupSchedulingPolicy{Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: count}}
}

func basic() schedulingv1beta1.PodGroupSchedulingPolicy {
	return schedulingv1beta1.PodGroupSchedulingPolicy{Basic: &schedulingv1beta1.BasicSchedulingPolicy{}}
}

func podGroup(spec schedulingv1beta1.PodGroupSpec) *schedulingv1beta1.PodGroup {
	group := &schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "g"}, Spec: spec}
	PodGroups().Default(group)
	return group
}

func TestPodGroups(t *testing.T) {
	var both schedulingv1beta1.PodGroupSchedulingPolicy
	both.Basic, both.Gang = basic().Basic, gangOf(1).Gang
	for name, test := range map[string]struct {
		spec schedulingv1beta1.PodGroupSpec
		want []string
	}{
		"gang":  {schedulingv1beta1.PodGroupSpec{SchedulingPolicy: gangOf(1)}, nil},
		"basic": {schedulingv1beta1.PodGroupSpec{SchedulingPolicy: basic(), Priority: ptr.To(HighestUserPriority), PriorityClassName: "high"}, nil},
		"none": {schedulingv1beta1.PodGroupSpec{},
			[]string{"spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`"}},
		"both": {schedulingv1beta1.PodGroupSpec{SchedulingPolicy: both},
			[]string{"spec.schedulingPolicy: Invalid value: \"{basic, gang}\": must specify exactly one of: `basic`, `gang`"}},
		"of no pod": {schedulingv1beta1.PodGroupSpec{SchedulingPolicy: gangOf(0)},
			[]string{"spec.schedulingPolicy.gang.minCount: Required value"}},
		"of less": {schedulingv1beta1.PodGroupSpec{SchedulingPolicy: gangOf(-1)},
			[]string{"spec.schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1"}},
		"no mode": {schedulingv1beta1.PodGroupSpec{SchedulingPolicy: basic(), DisruptionMode: &schedulingv1beta1.DisruptionMode{}},
			[]string{"spec.disruptionMode: Invalid value: \"\": must specify one of: `single`, `all`"}},
		"template": {schedulingv1beta1.PodGroupSpec{SchedulingPolicy: basic(), WorkloadRef: &schedulingv1beta1.WorkloadReference{TemplateName: "a.b"}},
			[]string{"spec.workloadRef.workloadName: Required value", "spec.workloadRef.templateName: Invalid value: \"a.b\": must not contain dots"}},
		"priority": {schedulingv1beta1.PodGroupSpec{SchedulingPolicy: basic(), Priority: ptr.To(HighestUserPriority + 1)},
			[]string{"spec.priority: Invalid value: 1000000001: must be less than or equal to 1000000000"}},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, PodGroups().Validate(t.Context(), podGroup(test.spec)), test.want...)
		})
	}
}

func TestAPodGroupsModeIsSingle(t *testing.T) {
	if mode := podGroup(schedulingv1beta1.PodGroupSpec{}).Spec.DisruptionMode; mode == nil || mode.Single == nil || mode.All != nil {
		t.Errorf("got %+v", mode)
	}
}

func TestPodGroupChanges(t *testing.T) {
	full := func() schedulingv1beta1.PodGroupSpec {
		return schedulingv1beta1.PodGroupSpec{
			SchedulingPolicy: gangOf(2), PriorityClassName: "high", Priority: ptr.To[int32](5),
			WorkloadRef: &schedulingv1beta1.WorkloadReference{WorkloadName: "w", TemplateName: "t"},
		}
	}
	for name, test := range map[string]struct {
		change func(*schedulingv1beta1.PodGroupSpec)
		want   []string
	}{
		"nothing": {func(*schedulingv1beta1.PodGroupSpec) {}, nil},
		"count":   {func(s *schedulingv1beta1.PodGroupSpec) { s.SchedulingPolicy = gangOf(3) }, nil},
		"no count": {func(s *schedulingv1beta1.PodGroupSpec) { s.SchedulingPolicy = gangOf(0) },
			[]string{"spec.schedulingPolicy.gang.minCount: Required value"}},
		"policy": {func(s *schedulingv1beta1.PodGroupSpec) { s.SchedulingPolicy = basic() },
			[]string{"spec.schedulingPolicy.basic: Invalid value: null: field is immutable", "spec.schedulingPolicy.gang: Invalid value: null: field cannot be cleared once set"}},
		"all else": {func(s *schedulingv1beta1.PodGroupSpec) {
			s.WorkloadRef, s.PriorityClassName, s.Priority = nil, "", ptr.To[int32](6)
			s.DisruptionMode = &schedulingv1beta1.DisruptionMode{All: &schedulingv1beta1.AllDisruptionMode{}}
		}, []string{
			"spec.workloadRef: Invalid value: null: field is immutable", "spec.disruptionMode: Invalid value: null: field is immutable",
			"spec.priorityClassName: Invalid value: null: field is immutable", "spec.priority: Invalid value: null: field is immutable",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			old, now := podGroup(full()), podGroup(full())
			test.change(&now.Spec)
			expect(t, PodGroups().ValidateUpdate(t.Context(), now, old), test.want...)
		})
	}
	expect(t, PodGroups().ValidateUpdate(t.Context(), podGroup(full()), podGroup(schedulingv1beta1.PodGroupSpec{SchedulingPolicy: basic(), WorkloadRef: full().WorkloadRef, PriorityClassName: "high", Priority: full().Priority})),
		"spec.schedulingPolicy.basic: Invalid value: null: field is immutable", "spec.schedulingPolicy.gang: Invalid value: null: field cannot be set once created")
}

func TestPodGroupStatus(t *testing.T) {
	group := podGroup(schedulingv1beta1.PodGroupSpec{ResourceClaims: []schedulingv1beta1.PodGroupResourceClaim{{Name: "gpu"}}})
	group.Status.ResourceClaimStatuses = []schedulingv1beta1.PodGroupResourceClaimStatus{{Name: "gpu"}, {Name: "nic"}}
	group.Status.Conditions = []metav1.Condition{{Type: "PodGroupInitiallyScheduled", Status: "Perhaps", Reason: "A", LastTransitionTime: metav1.Now()}}
	expect(t, PodGroups().ValidateStatusUpdate(t.Context(), group, group),
		`status.conditions[0].status: Unsupported value: "Perhaps": supported values: "False", "True", "Unknown"`,
		"status.resourceClaimStatuses[1].name: Invalid value: \"nic\": must match the name of an entry in `spec.resourceClaims`")
}

func TestPodGroupColumns(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason}
	}
	for _, test := range []struct {
		conditions []metav1.Condition
		want       string
	}{
		{nil, "Pending"},
		{[]metav1.Condition{condition("PodGroupInitiallyScheduled", metav1.ConditionFalse, "Unschedulable")}, "Unschedulable"},
		{[]metav1.Condition{condition("PodGroupInitiallyScheduled", metav1.ConditionTrue, "Scheduled")}, "Scheduled"},
		{[]metav1.Condition{condition("PodGroupInitiallyScheduled", metav1.ConditionTrue, "Scheduled"), condition("DisruptionTarget", metav1.ConditionTrue, "PreemptionByScheduler")}, "PreemptionByScheduler"},
	} {
		group := podGroup(schedulingv1beta1.PodGroupSpec{SchedulingPolicy: gangOf(1), WorkloadRef: &schedulingv1beta1.WorkloadReference{WorkloadName: "w"}})
		group.Status.Conditions = test.conditions
		if cells := PodGroups().Cells(group); !reflect.DeepEqual(cells[:4], []any{"g", "Gang", "w", test.want}) {
			t.Errorf("got %v, want the status %s", cells, test.want)
		}
	}
}

func template(name string) schedulingv1beta1.PodGroupTemplate {
	return schedulingv1beta1.PodGroupTemplate{Name: name, SchedulingPolicy: gangOf(2)}
}

func workload(templates ...schedulingv1beta1.PodGroupTemplate) *schedulingv1beta1.Workload {
	return &schedulingv1beta1.Workload{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "w"}, Spec: schedulingv1beta1.WorkloadSpec{PodGroupTemplates: templates},
	}
}

func TestWorkloads(t *testing.T) {
	expect(t, Workloads().Validate(t.Context(), workload(template("a"), template("b"))))
	expect(t, Workloads().Validate(t.Context(), workload()),
		"spec: Invalid value: \"\": must specify one of: `podGroupTemplates`, `compositePodGroupTemplates`")
	expect(t, Workloads().Validate(t.Context(), workload(template(""), template("a.b"))),
		"spec.podGroupTemplates[0].name: Required value", "spec.podGroupTemplates[1].name: Invalid value: \"a.b\": must not contain dots")

	nine := workload(template("a"), template("b"), template("c"), template("d"), template("e"), template("f"), template("g"), template("h"), template("i"))
	expect(t, Workloads().Validate(t.Context(), nine), "spec.podGroupTemplates: Too many: 9: must have at most 8 items")

	errs := Workloads().Validate(t.Context(), workload(template("a"), template("b"), template("a")))
	if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), "spec.podGroupTemplates[2]: Duplicate value: ") {
		t.Errorf("got %v", errs)
	}

	urgent := template("b")
	urgent.Priority = ptr.To[int32](1)
	expect(t, Workloads().Validate(t.Context(), workload(template("a"), urgent)),
		"spec: Invalid value: null: detected multiple priority configurations")

	referring := workload(template("a"))
	referring.Spec.ControllerRef = &schedulingv1beta1.TypedLocalObjectReference{APIGroup: "batch", Kind: "Job/x"}
	expect(t, Workloads().Validate(t.Context(), referring),
		`spec.controllerRef.kind: Invalid value: "Job/x": may not contain '/'`, "spec.controllerRef.name: Required value")
}

func TestWorkloadChanges(t *testing.T) {
	old := workload(template("a"), template("b"))
	old.Spec.ControllerRef = &schedulingv1beta1.TypedLocalObjectReference{Kind: "Job", Name: "j"}
	expect(t, Workloads().ValidateUpdate(t.Context(), old.DeepCopy(), old))

	grown := old.DeepCopy()
	grown.Spec.PodGroupTemplates[1].SchedulingPolicy = gangOf(5)
	expect(t, Workloads().ValidateUpdate(t.Context(), grown, old))

	changed := old.DeepCopy()
	changed.Spec.ControllerRef.Name = "k"
	changed.Spec.PodGroupTemplates[0].DisruptionMode = &schedulingv1beta1.DisruptionMode{Single: &schedulingv1beta1.SingleDisruptionMode{}}
	expect(t, Workloads().ValidateUpdate(t.Context(), changed, old),
		"spec.controllerRef: Invalid value: null: field is immutable", "spec.podGroupTemplates[0].disruptionMode: Invalid value: null: field is immutable")

	renamed := old.DeepCopy()
	renamed.Spec.PodGroupTemplates[0].Name = "c"
	expect(t, Workloads().ValidateUpdate(t.Context(), renamed, old),
		"spec.podGroupTemplates[0]: Forbidden: item may not be added", "spec.podGroupTemplates: Forbidden: item may not be removed")
}
