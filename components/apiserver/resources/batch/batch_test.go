package batch

import (
	"context"
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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

func newJob(change func(*batchv1.Job)) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "pi", UID: "u-1"}}
	job.Spec.Template.Spec = corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers:    []corev1.Container{{Name: "pi", Image: "perl"}},
	}
	change(job)
	defaultJob(job)
	prepareJob(context.Background(), job)
	return job
}

func TestJobDefaults(t *testing.T) {
	plain := newJob(func(*batchv1.Job) {})
	if s := plain.Spec; *s.Completions != 1 || *s.Parallelism != 1 || *s.BackoffLimit != 6 || *s.CompletionMode != batchv1.NonIndexedCompletion ||
		*s.Suspend || *s.PodReplacementPolicy != batchv1.TerminatingOrFailed {
		t.Errorf("defaults: %+v", s)
	}
	if got := plain.Spec.Selector.MatchLabels; len(got) != 1 || got[batchv1.ControllerUidLabel] != "u-1" {
		t.Errorf("generated selector: %v", got)
	}
	if got := plain.Spec.Template.Labels; len(got) != 4 || got["job-name"] != "pi" || got[batchv1.JobNameLabel] != "pi" {
		t.Errorf("generated labels: %v", got)
	}
	queue := newJob(func(j *batchv1.Job) { j.Spec.Parallelism = ptr.To[int32](3) })
	if queue.Spec.Completions != nil {
		t.Error("a work queue was given completions")
	}
	policy := newJob(func(j *batchv1.Job) {
		j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{}
		j.Spec.BackoffLimitPerIndex = ptr.To[int32](1)
	})
	if *policy.Spec.PodReplacementPolicy != batchv1.Failed || *policy.Spec.BackoffLimit < 1<<30 {
		t.Errorf("defaults beside a failure policy: %+v", policy.Spec)
	}
}

func TestJobValidation(t *testing.T) {
	indexed := func(j *batchv1.Job, completions int32) {
		j.Spec.CompletionMode, j.Spec.Completions = ptr.To(batchv1.IndexedCompletion), &completions
	}
	for name, test := range map[string]struct {
		change func(*batchv1.Job)
		want   []string
	}{
		"valid": {func(*batchv1.Job) {}, nil},
		"pods for ever": {func(j *batchv1.Job) { j.Spec.Template.Spec.RestartPolicy = "" },
			[]string{`spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`}},
		"label of another job": {func(j *batchv1.Job) { j.Spec.Template.Labels = map[string]string{"job-name": "other"} },
			[]string{`spec.template.metadata.labels[job-name]: Invalid value: {"batch.kubernetes.io/controller-uid":"u-1","batch.kubernetes.io/job-name":"pi","controller-uid":"u-1","job-name":"other"}: must be 'pi'`}},
		"selector of another job": {func(j *batchv1.Job) {
			j.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"x": "y"}}
		}, []string{
			"spec.selector: Invalid value: {\"matchLabels\":{\"batch.kubernetes.io/controller-uid\":\"u-1\",\"x\":\"y\"}}: `selector` not auto-generated",
			"spec.template.metadata.labels: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u-1\",\"batch.kubernetes.io/job-name\":\"pi\",\"controller-uid\":\"u-1\",\"job-name\":\"pi\"}: `selector` does not match template `labels`"}},
		"per index without indexes": {func(j *batchv1.Job) { j.Spec.BackoffLimitPerIndex = ptr.To[int32](1) },
			[]string{`spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode`}},
		"name too long for its indexes": {func(j *batchv1.Job) {
			j.Name = "a23456789-a23456789-a23456789-a23456789-a23456789-a23456789-12"
			indexed(j, 100)
		}, []string{`metadata.name: Invalid value: "a23456789-a23456789-a23456789-a23456789-a23456789-a23456789-12": will not able to create pod with invalid DNS label: a23456789-a23456789-a23456789-a23456789-a23456789-a23456789-12-99`}},
		"failure policy": {func(j *batchv1.Job) {
			j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action: batchv1.PodFailurePolicyActionFailIndex,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
					ContainerName: ptr.To("x"), Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{0, 3, 3, 2},
				},
			}, {}}}
		}, []string{
			`spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set`,
			`spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template`,
			`spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator`,
			`spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3`,
			`spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [0,3,3,2]: must be ordered`,
			`spec.podFailurePolicy.rules[1].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]`,
			`spec.podFailurePolicy.rules[1]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required`}},
		"success policy": {func(j *batchv1.Job) {
			indexed(j, 5)
			j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{
				{SucceededIndexes: ptr.To("0-2"), SucceededCount: ptr.To[int32](4)}, {SucceededIndexes: ptr.To("3,1")}, {},
			}}
		}, []string{
			`spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of indexes in the specified succeededIndexes field)`,
			`spec.successPolicy.rules[1].succeededIndexes: Invalid value: "3,1": error parsing succeededIndexes: non-increasing order, previous: 3, current: 1`,
			`spec.successPolicy.rules[2]: Required value: at least one of succeededCount or succeededIndexes must be specified`}},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, validateJob(context.Background(), newJob(test.change)), test.want...)
		})
	}
}

func TestSuspendedJobsMayBeMoved(t *testing.T) {
	ctx := context.Background()
	old := newJob(func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) })
	now := old.DeepCopy()
	now.Spec.Template.Spec.NodeSelector = map[string]string{"zone": "a"}
	now.Spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{}
	expect(t, validateTemplateChange(now, old, field.NewPath("spec")))
	now.Spec.Template.Spec.Containers[0].Image = "other"
	if errs := validateTemplateChange(now, old, field.NewPath("spec")); len(errs) != 1 || errs[0].Field != "spec.template.spec" {
		t.Errorf("a new image: %v", errs)
	}
	old.Status.Active = 1
	if errs := validateJobUpdate(ctx, now, old); len(errs) != 1 || errs[0].Field != "spec.template" {
		t.Errorf("a job with pods: %v", errs)
	}
}

func TestElasticIndexedJobs(t *testing.T) {
	old := newJob(func(j *batchv1.Job) {
		j.Spec.CompletionMode, j.Spec.Completions, j.Spec.Parallelism = ptr.To(batchv1.IndexedCompletion), ptr.To[int32](3), ptr.To[int32](3)
	})
	now := old.DeepCopy()
	now.Spec.Completions = ptr.To[int32](4)
	expect(t, validateJobUpdate(context.Background(), now, old), `spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism`)
	now.Spec.Parallelism = ptr.To[int32](4)
	expect(t, validateJobUpdate(context.Background(), now, old))
}

func TestJobStatusTransitions(t *testing.T) {
	begin, end := metav1.Unix(100, 0), metav1.Unix(200, 0)
	is := func(kinds ...batchv1.JobConditionType) (list []batchv1.JobCondition) {
		for _, kind := range kinds {
			list = append(list, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue})
		}
		return list
	}
	done := batchv1.JobStatus{Conditions: is(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete), StartTime: &begin, CompletionTime: &end, Succeeded: 1}
	for name, test := range map[string]struct {
		old, now batchv1.JobStatus
		want     []string
	}{
		"completes": {batchv1.JobStatus{StartTime: &begin}, done, nil},
		"completes without a word": {batchv1.JobStatus{StartTime: &begin},
			batchv1.JobStatus{StartTime: &begin, Conditions: is(batchv1.JobComplete), Active: 1}, []string{
				`status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition`,
				`status.completionTime: Required value: completionTime is required for Complete jobs`,
				`status.active: Invalid value: 1: active>0 is invalid for finished job`}},
		"rises from the dead": {done, batchv1.JobStatus{StartTime: &begin, Succeeded: 1}, []string{
			`status.conditions: Invalid value: cannot disable the terminal Complete=True condition`,
			`status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition`}},
		"counts backwards": {batchv1.JobStatus{Failed: 2, Succeeded: 2}, batchv1.JobStatus{Failed: 1, Succeeded: 1}, []string{
			`status.failed: Invalid value: 1: cannot decrease the failed counter`,
			`status.succeeded: Invalid value: 1: cannot decrease the succeeded counter`}},
		"fails without a target": {batchv1.JobStatus{StartTime: &begin}, batchv1.JobStatus{StartTime: &begin, Conditions: is(batchv1.JobFailed)},
			[]string{`status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition`}},
		"same pod twice": {batchv1.JobStatus{}, batchv1.JobStatus{UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{
			Succeeded: []types.UID{"a"}, Failed: []types.UID{"a", ""}}}, []string{
			`status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"`,
			`status.uncountedTerminatedPods.failed[1]: Invalid value: "": must not be empty`}},
	} {
		t.Run(name, func(t *testing.T) {
			old, now := newJob(func(*batchv1.Job) {}), newJob(func(*batchv1.Job) {})
			old.Status, now.Status = test.old, test.now
			expect(t, validateJobStatusUpdate(context.Background(), now, old), test.want...)
		})
	}
}

func TestIndexes(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "0": "", "1,3-5,7": "",
		"1-2-3": `the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by '-'`,
		"a":     `cannot convert string to integer for index: "a"`,
		"10":    `too large index: "10"`,
		"3-3":   `non-increasing order, previous: 3, current: 3`,
	} {
		_, err := parseIndexes(text, 10)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got the error %q, want %q", text, got, want)
		}
	}
	if n := total(validSpans("1,3-5,7", 10)); n != 5 {
		t.Errorf("counted %d indexes", n)
	}
	if first, shared := overlap(validSpans("0-2,6-9", 10), validSpans("3-4,7", 10)); !shared || first != 7 {
		t.Errorf("overlap at %d (%t), want 7", first, shared)
	}
	if _, shared := overlap(validSpans("0-2", 10), validSpans("3-4", 10)); shared {
		t.Error("lists that touch overlap")
	}
}

func TestCronJobSchedules(t *testing.T) {
	for name, test := range map[string]struct {
		schedule string
		zone     *string
		old      *batchv1.CronJobSpec
		want     []string
	}{
		"valid":           {"*/5 * * * *", ptr.To("Europe/Berlin"), nil, nil},
		"a word":          {"@hourly", nil, nil, nil},
		"missing":         {"", nil, nil, []string{`spec.schedule: Required value`}},
		"unreadable":      {"* *", nil, nil, []string{`spec.schedule: Invalid value: "* *": expected exactly 5 fields, found 2: [* *]`}},
		"zone inside":     {"TZ=UTC * * * * *", nil, nil, []string{`spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead`}},
		"zone was inside": {"TZ=UTC * * * * *", nil, &batchv1.CronJobSpec{Schedule: "TZ=UTC 1 * * * *"}, nil},
		"unknown zone":    {"@hourly", ptr.To("Nowhere/At All"), nil, []string{`spec.timeZone: Invalid value: "Nowhere/At All": unknown time zone Nowhere/At All`}},
		"this machine's":  {"@hourly", ptr.To("Local"), nil, []string{`spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones`}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: test.schedule, TimeZone: test.zone}}
			c.Spec.JobTemplate.Spec.Template = newJob(func(*batchv1.Job) {}).Spec.Template
			defaultCronJob(c)
			expect(t, validateCronJobSpec(&c.Spec, test.old, field.NewPath("spec")), test.want...)
		})
	}
}

func TestScheduleParserDoesNotPanic(t *testing.T) {
	if parseSchedule("TZ=0") == nil {
		t.Error("a zone without a schedule was read")
	}
}
