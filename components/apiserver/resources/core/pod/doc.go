// Package pod is the Pod resource: defaults, validation, status rules and
// subresources, and what other resources need of pod templates.
package pod
