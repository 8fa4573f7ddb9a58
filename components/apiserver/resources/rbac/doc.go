// Package rbac has the resources of the group rbac.authorization.k8s.io/v1, the
// rule that nobody grants what they do not have, and the resolution of bindings to
// the rules that apply to a user.
//
// See https://kubernetes.io/docs/reference/access-authn-authz/rbac/.
package rbac
