// Package batch has the resources of the group batch/v1: jobs that run to
// completion, and jobs on a schedule.
//
// See https://kubernetes.io/docs/concepts/workloads/controllers/job/.
package batch
