// Package admissionregistration has the resources of the group
// admissionregistration.k8s.io/v1: webhooks and policies that take part in admission.
//
// See https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
// and https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/.
package admissionregistration
