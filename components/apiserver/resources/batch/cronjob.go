package batch

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/plumbline/plumbline/components/apiserver/resource"
	"github.com/plumbline/plumbline/components/apiserver/resources/problem"
	"github.com/plumbline/plumbline/components/apiserver/resources/table"
)

// CronJobs make Jobs on a schedule.
// See https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/.
func CronJobs() *resource.Definition[*batchv1.CronJob] {
	spec, status := batchv1.CronJobSpec{}.SwaggerDoc(), batchv1.CronJobStatus{}.SwaggerDoc()
	return &resource.Definition[*batchv1.CronJob]{
		Identity: resource.Identity{
			GroupVersion: batchv1.SchemeGroupVersion,
			Kind:         "CronJob", Name: "cronjobs", Singular: "cronjob",
			ShortNames: []string{"cj"}, Categories: []string{"all"},
		},
		New:     func() *batchv1.CronJob { return &batchv1.CronJob{} },
		NewList: func() runtime.Object { return &batchv1.CronJobList{} },
		Default: defaultCronJob,
		Off:     offFeatures("spec.jobTemplate.spec"),
		Validate: func(_ context.Context, c *batchv1.CronJob) field.ErrorList {
			errs := validateCronJobSpec(&c.Spec, nil, field.NewPath("spec"))
			// A job's name is the CronJob's and eleven characters, in 63.
			if len(c.Name) > 52 {
				errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name, "must be no more than 52 characters"))
			}
			return errs
		},
		ValidateUpdate: func(_ context.Context, c, old *batchv1.CronJob) field.ErrorList {
			return validateCronJobSpec(&c.Spec, &old.Spec, field.NewPath("spec"))
		},
		Warnings:         cronJobWarnings,
		Spec:             func(c *batchv1.CronJob) any { return &c.Spec },
		TracksGeneration: true,
		Status:           func(c *batchv1.CronJob) any { return &c.Status },
		Columns: append([]metav1.TableColumnDefinition{
			table.Name(),
			table.String("Schedule", spec["schedule"]),
			table.String("Timezone", spec["timeZone"]),
			table.Boolean("Suspend", spec["suspend"]),
			table.Integer("Active", status["active"]),
			table.String("Last Schedule", status["lastScheduleTime"]),
			table.Age(),
		}, append(table.TemplateColumns(), table.Wide(table.String("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"]))...)...),
		Cells: func(c *batchv1.CronJob) []any {
			last := table.None
			if c.Status.LastScheduleTime != nil {
				last = table.Since(*c.Status.LastScheduleTime)
			}
			job := &c.Spec.JobTemplate.Spec
			return append(append([]any{
				c.Name, c.Spec.Schedule, ptr.Deref(c.Spec.TimeZone, table.None), table.Flag(c.Spec.Suspend),
				int64(len(c.Status.Active)), last, table.Since(c.CreationTimestamp),
			}, table.ContainerCells(job.Template.Spec.Containers)...), metav1.FormatLabelSelector(job.Selector))
		},
	}
}

func defaultCronJob(c *batchv1.CronJob) {
	defaultJobTemplate(&c.Spec.JobTemplate.Spec)
	if c.Spec.ConcurrencyPolicy == "" {
		c.Spec.ConcurrencyPolicy = batchv1.AllowConcurrent
	}
	orElse(&c.Spec.Suspend, false)
	orElse(&c.Spec.SuccessfulJobsHistoryLimit, 3)
	orElse(&c.Spec.FailedJobsHistoryLimit, 1)
}

func cronJobWarnings(_ context.Context, c, old *batchv1.CronJob) []string {
	var warnings []string
	if old == nil {
		warnings = nameWarnings(c.Name)
	}
	if old == nil || c.Generation != old.Generation {
		warnings = append(warnings, specWarnings(&c.Spec.JobTemplate.Spec, field.NewPath("spec", "jobTemplate", "spec"))...)
	}
	if old != nil && strings.Contains(c.Spec.Schedule, "TZ") {
		warnings = append(warnings, "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, "+
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return warnings
}

func validateCronJobSpec(spec, old *batchv1.CronJobSpec, path *field.Path) field.ErrorList {
	var found problem.List
	if spec.Schedule == "" {
		found.Required(path.Child("schedule"), "")
	} else {
		found.Add(validateSchedule(spec, old, path.Child("schedule"))...)
	}
	found.NotNegative(path.Child("startingDeadlineSeconds"), ptr.Deref(spec.StartingDeadlineSeconds, 0))
	if spec.TimeZone != nil && (old == nil || !ptr.Equal(old.TimeZone, spec.TimeZone)) {
		if detail := timeZoneProblem(*spec.TimeZone); detail != "" {
			found.Invalid(path.Child("timeZone"), spec.TimeZone, detail)
		}
	}
	if spec.ConcurrencyPolicy == "" {
		found.Required(path.Child("concurrencyPolicy"), "")
	} else {
		problem.OneOf(&found, path.Child("concurrencyPolicy"), spec.ConcurrencyPolicy,
			batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)
	}

	job, at := &spec.JobTemplate.Spec, path.Child("jobTemplate", "spec")
	var oldJob *batchv1.JobSpec
	if old != nil {
		oldJob = &old.JobTemplate.Spec
	}
	found.Add(validateJobSpec(job, oldJob, at)...)
	if job.Selector != nil {
		found.Invalid(at.Child("selector"), job.Selector, "`selector` will be auto-generated")
	}
	if ptr.Deref(job.ManualSelector, false) {
		found.Add(field.NotSupported(at.Child("manualSelector"), job.ManualSelector, []string{"nil", "false"}))
	}
	found.NotNegative(path.Child("successfulJobsHistoryLimit"), int64(ptr.Deref(spec.SuccessfulJobsHistoryLimit, 0)))
	found.NotNegative(path.Child("failedJobsHistoryLimit"), int64(ptr.Deref(spec.FailedJobsHistoryLimit, 0)))
	return found.Errors
}

func validateSchedule(spec, old *batchv1.CronJobSpec, at *field.Path) field.ErrorList {
	var found problem.List
	if err := parseSchedule(spec.Schedule); err != nil {
		found.Invalid(at, spec.Schedule, err.Error())
	}
	if !strings.Contains(spec.Schedule, "TZ") {
		return found.Errors
	}
	// A zone inside the schedule was accepted once, so objects that have one keep it.
	if old == nil || !strings.Contains(old.Schedule, "TZ") {
		found.Invalid(at, spec.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	} else if spec.TimeZone != nil {
		found.Invalid(at, spec.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")
	}
	return found.Errors
}

// parseSchedule reads a cron line. The parser panics on some broken zones.
func parseSchedule(schedule string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	_, err = cron.ParseStandard(schedule)
	return err
}

// timeZoneProblem says what is wrong with a name of the IANA time zone database.
// See https://data.iana.org/time-zones/theory.html#naming.
func timeZoneProblem(name string) string {
	if name == "" {
		return "timeZone must be nil or non-empty string"
	}
	// Digits and + occur in old names only.
	component := regexp.MustCompile(`^[A-Za-z._0-9+][A-Za-z._0-9+-]{0,13}$`)
	for part := range strings.SplitSeq(name, "/") {
		if part == "." || part == ".." || !component.MatchString(part) {
			return "unknown time zone " + name
		}
	}
	if strings.EqualFold(name, "Local") {
		return "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
	}
	if _, err := time.LoadLocation(name); err != nil {
		return err.Error()
	}
	return ""
}
