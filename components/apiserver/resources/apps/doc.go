// Package apps has the resources of the group apps/v1: the workloads that keep
// pods running, and the revisions of their templates.
//
// See https://kubernetes.io/docs/concepts/workloads/controllers/.
package apps
