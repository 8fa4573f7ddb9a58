// Package networking has the resources of the group networking.k8s.io/v1: ways
// into the cluster, the traffic that pods accept, and the addresses of services.
//
// See https://kubernetes.io/docs/concepts/services-networking/.
package networking
