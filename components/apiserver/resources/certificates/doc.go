// Package certificates has the resources of the group certificates.k8s.io/v1:
// requests for certificates, those of pods too, and bundles of trust anchors.
//
// See https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/.
package certificates
